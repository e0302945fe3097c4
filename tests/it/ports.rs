//! Workers that listen on TCP: whose socket answers, where it listens, what is said when it is another's.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;

use crate::support::{Server, Setup, until};

/// A worker that has a port and leaves it to whoever wants it.
const IDLE: &str =
    "open('port', 'w').write(os.environ['PORT'])\nsys.stdout.flush()\nthreading.Event().wait()\n";
/// A program that says that it is ready, too.
const SAYS_READY: &str = "open('port', 'w').write(os.environ['PORT'])\n\
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])\n\
    threading.Event().wait()\n";
/// A program that listens where nobody told it to.
const ELSEWHERE: &str = "httpd = http.server.HTTPServer(('127.0.0.1', 0), Hello)\n\
    open('port', 'w').write(str(httpd.server_port))\nhttpd.serve_forever()\n";
/// A program that listens on all addresses.
const ON_ALL: &str = "http.server.HTTPServer(('0.0.0.0', int(os.environ['PORT'])), Hello).serve_forever()\n";
/// A program whose child listens, in a process group of its own.
const BY_A_CHILD: &str = "if os.fork():\n    os.wait()\nos.setpgid(0, 0)\n\
    http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), Hello).serve_forever()\n";

#[tokio::test]
async fn whoever_else_answers_on_a_workers_port_is_not_served_as_the_app() {
    for script in [IDLE, SAYS_READY] {
        let app = app("port", script, "");
        let server = Setup::app(app.path()).words(&["w:1"]).without_workers().start().await;
        let port = port_of(app.path()).await;
        let stranger = Stranger::listen(port);

        let told = format!("port {port} belongs to ");
        until("it is told", || async { server.output().contains(&told) }).await;
        let own = format!("(process {})", std::process::id());
        server.output().says(&own).await;
        // The probe may ask; what it hears makes nobody ready.
        until("asked again or not", || async { script == SAYS_READY || stranger.asked() > 2 }).await;
        assert_eq!(ready(&server).await, 0);
    }
}

#[tokio::test]
async fn a_program_that_listens_elsewhere_is_told_where_it_should() {
    for (listen, fix) in [
        ("port", "use $PORT"),
        ("fd", "not on the socket it inherits as descriptor 3"),
        ("path", "use $RIP_SOCKET"),
    ] {
        let app = app(listen, ELSEWHERE, "timeouts.start = \"12s\"");
        let server = Setup::app(app.path()).words(&["w:1"]).without_workers().start().await;
        let port = port_of(app.path()).await;
        let told = format!("listens on TCP {port}, not on ");
        until("it is told", || async { server.output().contains(&told) }).await;
        let line = server.output().lines().into_iter().find(|line| line.contains(&told)).unwrap();
        assert!(line.contains(fix), "{line}");
        // Long before it is given up, and once more then.
        assert!(!server.output().contains("was not ready within"), "{}", server.output());
        until("it is rejected", || async { server.output().contains("was not ready within") }).await;
        let lines = server.output().lines();
        let rejected = lines.iter().find(|line| line.contains("was not ready within")).unwrap();
        assert!(rejected.contains(&told), "{rejected}");
        assert_eq!(ready(&server).await, 0);
    }
}

#[tokio::test]
async fn a_program_that_listens_on_all_addresses_is_served_and_told_how_to_bind() {
    let app = app("port", ON_ALL, "");
    let server = Setup::app(app.path()).words(&["w:2"]).start().await;
    assert_eq!(server.get("/").await.text(), "hello\n");
    let told = "past the server's TLS and limits: bind to $HOST (127.0.0.1)";
    server.output().says(told).await;
    assert_eq!(server.output().count(told), 1, "once, though there are two workers: {}", server.output());
}

#[tokio::test]
async fn a_child_of_the_worker_in_a_group_of_its_own_is_the_worker_too() {
    let app = app("port", BY_A_CHILD, "");
    let mut server = Setup::app(app.path()).words(&["w:1"]).start().await;
    assert_eq!(server.get("/").await.text(), "hello\n");
    assert!(!server.output().contains("belongs to"), "{}", server.output());
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await.code(), Some(0));
}

/// Somebody who listens on a worker's port and answers.
struct Stranger {
    asked: Arc<AtomicUsize>,
}

impl Stranger {
    fn listen(port: u16) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let (listener, count) = (TcpListener::bind(("127.0.0.1", port)).unwrap(), Arc::clone(&asked));
        std::thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::Relaxed);
                let _ = client.read(&mut [0; 4096]);
                let _ = client
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nstranger");
            }
        });
        Self { asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn ready(server: &Server) -> usize {
    server.status().await.apps[0].workers.ready
}

/// The port that the script has written down.
async fn port_of(app: &Path) -> u16 {
    let read = || fs::read_to_string(app.join("port")).ok()?.parse().ok();
    until("the worker runs", || async { read().is_some() }).await;
    read().unwrap()
}

fn app(listen: &str, script: &str, rules: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let hello = "import http.server, os, socket, sys, threading\n\
        class Hello(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        self.send_response(200)\n\
        \x20       self.send_header('Content-Length', '6')\n        self.end_headers()\n        self.wfile.write(b'hello\\n')\n\
        \x20   def log_message(self, *words):\n        pass\n";
    fs::write(folder.path().join("main.py"), format!("{hello}{script}")).unwrap();
    let own =
        format!("command = [\"python3\", \"main.py\"]\nlisten = \"{listen}\"\nreload = \"none\"\n{rules}\n");
    fs::write(folder.path().join("rip.toml"), own).unwrap();
    folder
}
