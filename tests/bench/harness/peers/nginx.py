"""nginx: its config. It has no queue for workers that are taken, so it has no part in scenario `i`."""

from ..ground import find, free_port
from ..shape import PATIENCE
from .peer import ACCESS, MANY, Peer


class Nginx(Peer):
    name = "nginx"

    def start(self, stack, shape):
        folder, kept = self.place(stack)
        [socket] = self.start_workers(stack, folder, shape)
        self.make_files(folder, shape)
        port = free_port()
        config = kept / "nginx.conf"
        config.write_text(self.config(folder, kept, socket, port, shape))
        command = [find("nginx"), "-p", str(folder), "-e", str(kept / "error.log"), "-c", str(config)]
        return self.run(stack, command, folder, kept, port, shape)

    def config(self, folder, kept, socket, port, shape):
        cert = f"ssl_certificate {self.base.cert}; ssl_certificate_key {self.base.key}"
        scratch = "\n    ".join(f"{kind}_temp_path {folder}/{kind};" for kind in KINDS)
        zipped = "gzip on; gzip_types text/plain;" if shape.feature == "compress" else ""
        files = f"location /files/ {{ internal; alias {folder}/files/; }}" if shape.feature == "accel" else ""
        to_php = f"fastcgi_pass worker; fastcgi_keep_conn on; include {FASTCGI_PARAMS}; "
        to_php += f"fastcgi_param SCRIPT_FILENAME {folder}/index.php;"
        passed = to_php if shape.feature == "php" else TO_WORKER
        return f"""# Written anew by tests/bench/run.
daemon off;
worker_processes {self.base.threads(shape)};
pid {folder}/pid;
error_log {kept}/error.log;
events {{ worker_connections {8192 + 2 * shape.connections}; }}
http {{
    access_log {folder / ACCESS if shape.log else "off"};
    {scratch}
    keepalive_requests {MANY};
    keepalive_timeout {PATIENCE}s;
    client_max_body_size 100m;
    ssl_protocols TLSv1.2 TLSv1.3;
    upstream worker {{
        server unix:{socket};
        keepalive {shape.streams};
        keepalive_requests {MANY};
    }}
    server {{
        listen 127.0.0.1:{port}{f" ssl http2; {cert}" if shape.tls else ""};
        location = /server {{ default_type text/plain; return 200 "ok"; }}
        {zipped}
        {files}
        location / {{
            {passed}
        }}
    }}
}}
"""


FASTCGI_PARAMS = "/etc/nginx/fastcgi_params"
TO_WORKER = """proxy_pass http://worker;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;"""
KINDS = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
