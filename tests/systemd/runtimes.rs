//! The runtimes that a Debian has, each as a worker unit in the sandbox.

crate::on_both! {
    of_the_system_run_as_units
}

mod cases {
    use crate::app::SERVICE;
    use crate::machine::Machine;

    pub(super) fn of_the_system_run_as_units(m: Machine) {
        m.ok("apt-get install -y /root/rip-server.deb; mkdir -p /srv/rip/labs/api");
        m.write("/etc/rip-server/labs-api.toml", "[app]\nworkers = 1\n");
        let wsgi = "def application(environ, start_response):\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [b'by gunicorn']\n";
        let asgi = "async def app(scope, receive, send):\n    if scope['type'] != 'http':\n        return\n    \
            await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-type', b'text/plain')]})\n    \
            await send({'type': 'http.response.body', 'body': b'by uvicorn'})\n";
        let rack = "run ->(_) { [200, {'content-type' => 'text/plain'}, ['by puma']] }\n";
        let handler = "export default () => new Response('by node');\n";
        let server = "const http = require('http');\nhttp.createServer((_, a) => a.end('by node itself')).listen({ fd: 3 });\n";
        // To itself, as gunicorn 20 does; to its own files, as tar and cp do; to anybody else.
        let ids = "import os\ndef attempt(what):\n    try:\n        what()\n        return 'yes'\n    except OSError as error:\n        return str(error.errno)\n\
            def application(environ, start_response):\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    u, g = os.getuid(), os.getgid()\n    \
            open('/tmp/own', 'w').close()\n    \
            tried = [lambda: os.setuid(u), lambda: os.setgid(g), lambda: os.setresuid(u, u, u), lambda: os.chown('/tmp/own', u, g),\n        \
            lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]), lambda: os.chown('/tmp/own', 0, 0), lambda: os.chroot('/tmp')]\n    \
            return [' '.join(attempt(what) for what in tried).encode()]\n";
        for (file, text, answer) in [
            ("wsgi.py", wsgi, "by gunicorn"),
            ("asgi.py", asgi, "by uvicorn"),
            ("config.ru", rack, "by puma"),
            ("index.mjs", handler, "by node"),
            ("server.js", server, "by node itself"),
            ("app.py", ids, "yes yes yes yes 1 1 1 1 1"),
        ] {
            m.ok("rm -rf /srv/rip/labs/api/*");
            m.write(&format!("/srv/rip/labs/api/{file}"), text);
            m.ok(&format!("systemctl start {SERVICE}"));
            let served = m.get("/");
            // Some come in chunks.
            m.holds(
                &format!("{file} serves as a unit: {}", served.body.trim()),
                served.status == 200 && served.body.contains(answer),
            );
            m.same("of its own", m.worker_units().len(), 1);
            m.ok(&format!("systemctl stop {SERVICE}"));
        }
        its_own_gunicorn(&m);
    }

    /// As a Procfile has it, with a worker class that the server knows nothing of.
    fn its_own_gunicorn(m: &Machine) {
        m.ok("rm -rf /srv/rip/labs/api/*");
        let tells = "def application(environ, start_response):\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
            return [('asked by ' + environ['REMOTE_ADDR']).encode()]\n";
        m.write("/srv/rip/labs/api/tells.py", tells);
        m.write("/srv/rip/labs/api/Procfile", "web: gunicorn --worker-class sync tells:application\n");
        m.write("/srv/rip/labs/api/rip.toml", "listen = \"fd\"\n");
        m.ok(&format!("systemctl start {SERVICE}"));
        let served = m.get("/");
        m.holds(
            &format!("gunicorn of a Procfile knows the client: {}", served.body.trim()),
            served.body.contains("asked by 127.0.0.1"),
        );
        m.ok(&format!("systemctl stop {SERVICE}"));
    }
}
