//! PHP apps as worker units, and files that the server sends in place of workers, with what the sandbox leaves of both.

crate::on_both! {
    scripts_and_files_of_a_php_app
    a_pool_of_php_fpm
    an_app_of_symfony
    files_that_workers_name_and_files_beside_an_app
}

mod cases {
    use std::path::Path;
    use std::process::Command;

    use crate::app::SERVICE;
    use crate::http;
    use crate::machine::Machine;

    const FOLDER: &str = "/srv/rip/labs/api";

    /// A script that tells what it can do in the sandbox, a word each.
    const TELL: &str = "<?php\nerror_log('a complaint of ' . $_SERVER['REQUEST_URI']);\n\
        $state = getenv('STATE_DIRECTORY');\n\
        $told = ['version 1', PHP_SAPI, $_SERVER['SCRIPT_NAME'], $_SERVER['PATH_INFO'] ?? '-', posix() ? 'no root' : 'root',\n\
        str_starts_with(session_save_path(), $state) && is_writable(session_save_path()) ? 'sessions' : 'no sessions',\n\
        is_writable(ini_get('opcache.file_cache')) ? 'cache' : 'no cache',\n\
        @file_put_contents(__DIR__ . '/made', 'x') === false ? 'read-only' : 'writable',\n\
        file_put_contents(sys_get_temp_dir() . '/made', 'x') === 1 ? 'temporary' : 'no temporary'];\n\
        function posix() { return !is_readable('/etc/shadow'); }\n\
        session_start();\nheader('Content-Type: text/plain');\necho implode(', ', $told);\n";

    fn told(script: &str, info: &str) -> String {
        format!("version 1, cgi-fcgi, {script}, {info}, no root, sessions, cache, read-only, temporary")
    }

    pub(super) fn scripts_and_files_of_a_php_app(m: Machine) {
        m.ok("apt-get install -y /root/rip-server.deb");
        m.write("/etc/rip-server/labs-api.toml", "[app]\nworkers = 2\n");
        for (file, text) in [
            ("index.php", TELL),
            ("tools/index.php", TELL),
            ("style.css", "p {}"),
            (".env", "SECRET=1"),
            ("index.php.bak", TELL),
            ("staff.htpasswd", "anna:x"),
        ] {
            m.write(&format!("{FOLDER}/{file}"), text);
        }
        m.ok(&format!("systemctl start {SERVICE}"));
        for (path, script, info) in [
            ("/", "/index.php", "-"),
            ("/tools/", "/tools/index.php", "-"),
            ("/index.php/blog", "/index.php", "/blog"),
            ("/blog/2026", "/index.php", "-"),
        ] {
            let served = m.get(path);
            let is_it = served.status == 200 && served.body.contains(&told(script, info));
            m.holds(&format!("a script answers for {path}: {}", served.body.trim()), is_it);
        }
        m.same("as many workers as told", m.worker_units().len(), 2);
        let style = m.get("/style.css");
        m.same("a file is sent", (style.status, &*style.body), (200, "p {}"));
        for path in ["/.env", "/index.php.bak", "/staff.htpasswd", "/style.css/x.php", "/index.php%00.css"] {
            let served = m.get(path);
            m.holds(
                &format!("{path} is {}", served.status),
                matches!(served.status, 400 | 404)
                    && !served.body.contains("<?php")
                    && !served.body.contains("anna"),
            );
        }
        m.until("what a script complains of is in the logs of the app", || {
            m.ok("rip-serverctl logs api").contains("a complaint of /blog/2026")
        });
        let said = m.ok("journalctl -q --no-pager -o json RIP_APP=api TARGET=app");
        m.holds("and in the journal by the app's name", said.contains("a complaint of /blog/2026"));
        m.holds(
            "without lines of the server itself",
            !m.ok("rip-serverctl logs").contains("generation serves"),
        );

        m.write(&format!("{FOLDER}/index.php"), TELL.replace("version 1", "version 2"));
        m.ok(&format!("systemctl reload {SERVICE}"));
        m.until("a deploy brings the new script", || m.get("/").body.contains("version 2"));
        let lost = m.within(async || {
            let mut lost = 0;
            for _ in 0..200 {
                let served = http::https(443, "localhost", "/").await;
                lost += u32::from(!served.is_ok_and(|served| served.body.starts_with("version 2, cgi-fcgi")));
            }
            lost
        });
        m.same("and every request is answered", lost, 0);
        m.ok(&format!("systemctl restart {SERVICE}"));
        m.same("also behind a restart", m.get("/").status, 200);
        m.ok(&format!("systemctl stop {SERVICE}"));
    }

    pub(super) fn a_pool_of_php_fpm(m: Machine) {
        m.ok("apt-get install -y /root/rip-server.deb; systemctl disable --now 'php*-fpm' || true");
        let meets = "<?php\nerror_log('a complaint of ' . $_SERVER['REQUEST_URI']);\n$in = sys_get_temp_dir() . '/in.';\n\
            if ($_SERVER['QUERY_STRING'] === 'wait') {\n    touch($in . getmypid());\n    \
            for ($n = 0; $n < 2000 && count(glob($in . '*')) < 3; $n++) { usleep(5000); }\n}\n\
            $shared = function_exists('opcache_get_status') && (opcache_get_status(false)['opcache_statistics']['num_cached_scripts'] ?? 0) > 0;\n\
            header('Content-Type: text/plain');\n\
            echo implode(', ', ['version 1', PHP_SAPI, count(glob($in . '*')), $shared ? 'shared' : 'alone', is_readable('/etc/shadow') ? 'root' : 'no root']);\n";
        m.write(&format!("{FOLDER}/index.php"), meets);
        m.write("/etc/rip-server/labs-api.toml", "[app]\nconcurrency = 3\n");
        m.ok(&format!("systemctl start {SERVICE}"));
        m.same("one worker", m.worker_units().len(), 1);
        // opcache takes no file that was written within the last two seconds.
        m.until("compiled scripts are in memory", || m.get("/").body.contains("shared"));
        let served = m.within(async || {
            let ask = || http::https(443, "localhost", "/?wait");
            let (a, b, c) = tokio::join!(ask(), ask(), ask());
            [a, b, c].map(|served| served.unwrap().body)
        });
        for body in &served {
            m.holds(
                &format!("it answers three requests at a time: {}", body.trim()),
                body.contains("version 1, fpm-fcgi, 3, shared, no root"),
            );
        }
        m.until("what a script complains of is in the logs of the app", || {
            m.ok("rip-serverctl logs api").contains("a complaint of /?wait")
        });
        m.write(&format!("{FOLDER}/index.php"), meets.replace("version 1", "version 2"));
        m.ok(&format!("systemctl reload {SERVICE}"));
        m.until("a deploy brings the new script", || m.get("/").body.contains("version 2, fpm-fcgi"));
        m.until("and the pool before it ends", || m.worker_units().len() == 1);
        m.ok(&format!("systemctl restart {SERVICE}"));
        m.same("the pool is taken over behind a restart", m.get("/").status, 200);
        m.ok(&format!("systemctl stop {SERVICE}"));
    }

    /// The sample, with the libraries of the machine that the tests run on.
    pub(super) fn an_app_of_symfony(m: Machine) {
        const LIBRARIES: &str = "/usr/share/php";
        if !Path::new(LIBRARIES).join("Symfony/Bundle/TwigBundle/autoload.php").is_file() {
            return crate::skip("Symfony is not installed: tests/setup does it");
        }
        m.ok(&format!("apt-get install -y /root/rip-server.deb; mkdir -p {FOLDER}"));
        let copy = |from: &Path, to: &str| {
            let copied = Command::new("cp").arg("-a").arg(from).arg(m.path(to)).status();
            assert!(copied.unwrap().success());
        };
        for library in ["Psr", "Symfony", "Twig"] {
            copy(&Path::new(LIBRARIES).join(library), LIBRARIES);
        }
        copy(Path::new("tests/apps/symfony/."), FOLDER);
        m.write(&format!("{FOLDER}/VERSION"), "v1");
        m.write("/etc/rip-server/labs-api.toml", "[app]\nworkers = 2\n");
        m.ok(&format!("systemctl start {SERVICE}"));
        let home = m.get("/");
        m.holds("a page with absolute links", home.body.contains("visit 1, at https://localhost/<"));
        m.holds("and a cookie for HTTPS alone", home.head.to_lowercase().contains("; secure; httponly"));
        m.holds("a route of the app", m.get("/version").body == "v1");
        m.same("a file", &*m.get("/style.css").body, "body { color: black; }\n");
        for path in ["/src/Kernel.php", "/autoload.php", "/rip.toml", "/../autoload.php"] {
            let served = m.get(path);
            m.holds(&format!("{path} is {}", served.status), matches!(served.status, 400 | 404));
        }
        let compiled = m.ok("find /var/cache -name 'App_KernelProdContainer.php'");
        m.holds("what Symfony compiles is in the app's cache folder", compiled.contains("/symfony-"));
        let written = m.ok(&format!("find {FOLDER} -newer {FOLDER}/VERSION -type f"));
        m.same("and nothing in the app's own", written.trim(), "");
        m.write(&format!("{FOLDER}/VERSION"), "v2");
        m.ok(&format!("systemctl reload {SERVICE}"));
        let lost = m.within(async || {
            let mut lost = 0;
            for _ in 0..100 {
                let served = http::https(443, "localhost", "/version").await;
                lost += u32::from(!served.is_ok_and(|served| served.body == "v2"));
            }
            lost
        });
        m.same("every request behind a deploy is answered", lost, 0);
        m.ok(&format!("systemctl stop {SERVICE}"));
    }

    pub(super) fn files_that_workers_name_and_files_beside_an_app(m: Machine) {
        m.ok("apt-get install -y /root/rip-server.deb");
        m.write("/etc/rip-server/labs-api.toml", "[app]\nworkers = 1\n");
        let app = "def application(environ, start_response):\n    path = environ['PATH_INFO']\n    fields = [('Content-Type', 'text/plain')]\n    \
            if path.startswith('/get/'):\n        fields.append(('X-Accel-Redirect', '/protected/' + path[5:]))\n    \
            if path.startswith('/send/'):\n        fields.append(('X-Sendfile', '/srv/rip/labs/api/files/' + path[6:]))\n    \
            start_response('200 OK', fields)\n    return [b'by the app']\n";
        for (file, text) in [
            ("wsgi.py", app),
            (
                "rip.toml",
                "accel = [{ path = \"/protected\", root = \"files\" }]\nstatic = [{ path = \"/assets\", root = \"assets\" }]\n",
            ),
            ("files/a.txt", "a file"),
            ("files/deep/b.txt", "a deep file"),
            ("files/mine.txt", "for root alone"),
            ("assets/a.css", "p {}"),
            ("secret.txt", "a secret"),
        ] {
            m.write(&format!("{FOLDER}/{file}"), text);
        }
        m.ok(&format!(
            "chmod 600 {FOLDER}/files/mine.txt; ln -s /etc/passwd {FOLDER}/files/passwd; ln -s ../secret.txt {FOLDER}/files/out; \
             systemctl start {SERVICE}"
        ));
        m.holds("the app serves", m.get("/").body.contains("by the app"));
        for (path, body) in
            [("/get/a.txt", "a file"), ("/get/deep/b.txt", "a deep file"), ("/send/a.txt", "a file")]
        {
            let served = m.get(path);
            m.same(
                &format!("{path} is the file that the worker names"),
                (served.status, &*served.body),
                (200, body),
            );
        }
        let direct = m.get("/protected/a.txt");
        m.holds("nobody asks for such a file by its own path", direct.body.contains("by the app"));
        for path in [
            "/get/../secret.txt",
            "/get/mine.txt",
            "/get/none.txt",
            "/get/passwd",
            "/get/out",
            "/send/../secret.txt",
        ] {
            let served = m.get(path);
            m.holds(
                &format!("{path} is {}, and no file", served.status),
                served.status >= 400 && !["secret", "root"].iter().any(|word| served.body.contains(word)),
            );
        }
        m.ok(&format!("kill -STOP {}", m.worker_pids()[0]));
        let style = m.get("/assets/a.css");
        m.same("a file beside the app needs no worker", (style.status, &*style.body), (200, "p {}"));
        m.ok(&format!("kill -CONT {}", m.worker_pids()[0]));
        m.same("the app serves on", m.get("/").status, 200);
        m.ok(&format!("systemctl stop {SERVICE}"));
    }
}
