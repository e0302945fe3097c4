//! Another program is asked whether a request may pass: what it gets, what becomes of its answers, and that nobody is
//! let in without one.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::client::Http2;
use crate::support::ctl::rip_server;
use crate::support::{Server, Setup, folder_with, until};

/// A program that answers by the path of the request that it is asked about.
struct Judge {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Judge {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        #[allow(clippy::disallowed_methods, reason = "a test has no group of tasks")]
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = String::new();
                while !head.contains("\r\n\r\n") {
                    let mut bytes = [0; 4096];
                    let Ok(read @ 1..) = stream.read(&mut bytes).await else { break };
                    head += &String::from_utf8_lossy(&bytes[..read]);
                }
                let answer = answer(&head);
                seen.lock().unwrap().push(head);
                stream.write_all(answer.as_bytes()).await.unwrap_or_default();
            }
        });
        Self { port, heads, task }
    }

    fn rules(&self) -> String {
        format!(
            "auth = {{ url = \"http://127.0.0.1:{}/verify?a=b\", copy = [\"Remote-User\", \"X-Groups\", \"Authorization\"] }}\n\
             [route.\"/view/open\"]\nauth = false\n",
            self.port
        )
    }

    fn last(&self) -> String {
        self.heads.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

fn answer(head: &str) -> String {
    let of = |name: &str| {
        head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
    };
    let large = "x".repeat(100_000);
    match of("x-forwarded-uri:").split('?').nth(1).unwrap_or_default() {
        "login" => "HTTP/1.1 302 Found\r\nLocation: https://sso.example/?rd=1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
                    X-Secret: inner\r\nContent-Length: 5\r\n\r\nlogin"
            .into(),
        "deny" => "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\n<b>no</b>".into(),
        "who" => "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n".into(),
        "bug" => "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".into(),
        "lost" => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into(),
        "nowhere" => "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n".into(),
        "garbage" => "{}".into(),
        "cut" => "HTTP/1.1 403 Forbidden\r\nContent-Length: 50\r\n\r\nhalf".into(),
        "large" => format!("HTTP/1.1 403 Forbidden\r\nContent-Length: 100000\r\n\r\n{large}"),
        "plain" => "HTTP/1.1 204 No Content\r\n\r\n".into(),
        _ => "HTTP/1.1 200 OK\r\nRemote-User: anna\r\nX-Groups: a\r\nX-Groups: b\r\nX-Other: c\r\n\
              Authorization: Bearer inner\r\nContent-Length: 2\r\n\r\nok"
            .into(),
    }
}

async fn start(judge: &Judge, setup: Setup) -> Server {
    setup.rules(&judge.rules()).start().await
}

/// Fields of a client that tries to say who it is and what it asks for, and a few that any client sends.
pub(crate) const OF_A_LIAR: [(&str, &str); 11] = [
    ("Cookie", "session=1"),
    ("Authorization", "Basic x"),
    ("Remote-User", "root"),
    ("Remote_User", "root"),
    ("X-Groups", "admin"),
    ("X-Forwarded-Uri", "/evil"),
    ("X-Forwarded-Method", "PUT"),
    ("X-Original-URL", "http://evil/"),
    ("Range", "bytes=0-1"),
    ("X-Custom", "kept"),
    ("Connection", "X-Groups, Remote-User"),
];

#[tokio::test]
async fn it_is_told_of_the_request_and_the_worker_of_what_it_says() {
    let judge = Judge::start().await;
    let server = start(&judge, Setup::scripted()).await;
    let seen = server.ask("POST", "/view/x%20y?z=1", &OF_A_LIAR, b"body").await.view();
    assert_eq!(seen.field("remote-user"), Some("anna"));
    assert_eq!(seen.field("x-groups"), Some("a, b"));
    assert_eq!(seen.field("authorization"), Some("Bearer inner"));
    assert_eq!((seen.field("x-other"), seen.field("cookie")), (None, Some("session=1")));
    assert_eq!(seen.length, 4);

    let told = judge.last().to_lowercase();
    let host = format!("host: 127.0.0.1:{}\r\n", judge.port);
    for line in [
        "get /verify?a=b http/1.1\r\n",
        &host,
        "\r\nx-forwarded-method: post\r\n",
        "\r\nx-forwarded-uri: /view/x%20y?z=1\r\n",
        "\r\nx-forwarded-host: localhost\r\n",
        "\r\nx-forwarded-proto: http\r\n",
        "\r\nx-forwarded-for: 127.0.0.1\r\n",
        "\r\nx-original-url: http://localhost/view/x%20y?z=1\r\n",
        "\r\ncookie: session=1\r\n",
        "\r\nx-custom: kept\r\n",
    ] {
        assert!(told.contains(line), "{line:?}: {told}");
    }
    for not in
        ["root", "admin", "evil", "\r\nx-forwarded-method: put", "range", "content-length", "connection:"]
    {
        assert!(!told.contains(not), "{not}: {told}");
    }
    let seen = server.ask("GET", "/view?plain", &OF_A_LIAR, b"").await.view();
    assert_eq!((seen.field("remote-user"), seen.field("x-groups")), (None, None), "said by nobody");
    let asked = judge.heads.lock().unwrap().len();
    assert_eq!(server.get("/view/open").await.status, 200);
    assert_eq!(judge.heads.lock().unwrap().len(), asked, "nobody is asked about an open path");
}

#[tokio::test]
async fn a_client_that_is_not_let_in_gets_the_answer_and_the_worker_nothing() {
    let judge = Judge::start().await;
    for setup in [Setup::scripted(), Setup::scripted().tls()] {
        let server = start(&judge, setup).await;
        let login = server.get("/view?login").await;
        assert_eq!((login.status, login.text(), login.reason()), (302, "login", ""));
        assert_eq!(login.field("location"), "https://sso.example/?rd=1");
        let cookies: Vec<_> = login.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        assert_eq!(login.field("x-secret"), "");
        let denied = server.get("/view?deny").await;
        assert_eq!(
            (denied.status, denied.text(), denied.field("content-type")),
            (403, "<b>no</b>", "text/html")
        );
        let who = server.get("/view?who").await;
        assert_eq!((who.status, who.field("www-authenticate")), (401, "Bearer"));
        for path in ["bug", "lost", "nowhere", "garbage", "cut", "large"] {
            let reply = server.get(&format!("/view?{path}")).await;
            assert_eq!((reply.status, reply.reason()), (503, "auth-failed"), "{path}");
        }
        if server.is_tls() {
            let reply = Http2::connect(server.port(), "localhost").await.get("/view?deny").await;
            assert_eq!((reply.status, reply.text()), (403, "<b>no</b>"));
        }
        let head = server.ask("HEAD", "/view?deny", &[], b"").await;
        assert_eq!((head.status, head.text()), (403, ""));
        let mut conn = server.connect().await;
        let head = "POST /view?deny HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n";
        conn.send(head).await;
        assert_eq!(conn.reply("POST").await.status, 403, "before the body");
        let upgrade = [("Connection", "upgrade"), ("Upgrade", "echo")];
        assert_eq!(server.ask("GET", "/upgrade?deny", &upgrade, b"").await.status, 403);
        assert_eq!(server.meeting.targets(), Vec::<String>::new());
    }
    let port = judge.port;
    judge.task.abort();
    assert!(judge.task.await.unwrap_err().is_cancelled());
    let rules = format!("auth = {{ url = \"http://127.0.0.1:{port}/\" }}\n");
    let server = Setup::scripted().rules(&rules).start().await;
    let reply = server.get("/view").await;
    assert_eq!((reply.status, reply.reason()), (503, "auth-failed"), "the program is away");
    let told = "the program that is asked cannot be reached";
    until("it is told", async || server.output().contains(told)).await;
}

#[tokio::test]
async fn wrong_settings_are_one_clear_error_each() {
    for (rules, error) in [
        ("auth = { url = \"https://a\" }", "an address such as http://127.0.0.1:4180/verify"),
        ("auth = { url = \"http://a\", users = \"x\" }", "exclude each other"),
        ("auth = { url = \"http://a\", copy = [\"Host\"] }", "other fields: Host is the server's own"),
        ("auth = { url = \"http://a\", realm = \"x\" }", "no `realm` beside `url`"),
    ] {
        let folder = folder_with(&[("app/rip.toml", rules), ("app/index.html", "hello")]);
        let ran = rip_server(folder.path(), &["check", "app"]).await;
        assert!(ran.code != 0 && ran.err.contains(error), "{rules}: {ran:?}");
        assert_eq!(ran.err.trim_end().lines().count(), 1, "{ran:?}");
    }
}
