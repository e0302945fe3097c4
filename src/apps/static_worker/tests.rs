//! The static worker as a client sees it, over a real socket.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

/// A folder, and a worker that serves it over a real socket.
struct Bench {
    home: TempDir,
    stop: Option<oneshot::Sender<()>>,
    worker: JoinHandle<Result<(), StaticError>>,
}

impl Bench {
    async fn start(options: impl FnOnce(&Path) -> StaticOptions, files: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("site");
        fs::create_dir(&root).unwrap();
        for (name, text) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let listener = UnixListener::bind(home.path().join("w.sock")).unwrap();
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = oneshot::channel();
        let serving = serve(
            listener,
            options(&root),
            async move {
                stopped.await.ok();
            },
            move || ready.send(()).unwrap(),
        );
        let worker = tokio::task::spawn_local(serving);
        is_ready.await.unwrap();
        Self { home, stop: Some(stop), worker }
    }

    fn root(&self) -> PathBuf {
        self.home.path().join("site")
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.home.path().join("w.sock")).await.unwrap()
    }

    async fn get(&self, path: &str, headers: Headers<'_>) -> StaticAnswer {
        self.ask("GET", path, headers).await
    }

    async fn ask(&self, method: &str, path: &str, headers: Headers<'_>) -> StaticAnswer {
        let mut stream = self.connect().await;
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        StaticAnswer::parse(&bytes)
    }
}

type Headers<'a> = &'a [(&'a str, &'a str)];

#[derive(Debug)]
struct StaticAnswer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl StaticAnswer {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pair =
            |line: &str| line.split_once(": ").map(|(name, value)| (name.into(), value.into())).unwrap();
        Self { status, headers: lines.map(pair).collect(), body: body.into() }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value)
    }
}

fn plain(root: &Path) -> StaticOptions {
    StaticOptions::new(root)
}

/// Runs a test on a thread that can have the worker's own tasks.
async fn local(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_file_is_answered_with_its_type_length_and_tag() {
    local(async {
        let bench = Bench::start(plain, &[("a.txt", "hello"), ("grüße x.html", "<p>")]).await;

        let text = bench.get("/a.txt", &[]).await;
        let page = bench.get("/gr%C3%BC%C3%9Fe%20x.html?v=1", &[]).await;
        let head = bench.ask("HEAD", "/a.txt", &[]).await;

        assert_eq!((text.status, text.body.as_str()), (200, "hello"));
        assert_eq!(
            (text.header("content-type"), text.header("content-length")),
            ("text/plain; charset=utf-8", "5")
        );
        assert!(text.header("etag").starts_with('"'), "{text:?}");
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
        assert_eq!((head.status, head.header("content-length"), head.body.as_str()), (200, "5", ""));
    })
    .await;
}

#[tokio::test]
async fn an_unchanged_file_is_not_sent_again() {
    local(async {
        let bench = Bench::start(plain, &[("a.txt", "hello")]).await;
        let first = bench.get("/a.txt", &[]).await;
        let weak = format!("W/{}", first.header("etag"));

        let by_tag = bench.get("/a.txt", &[("if-none-match", first.header("etag"))]).await;
        let by_weak_tag = bench.get("/a.txt", &[("if-none-match", &weak)]).await;
        let by_date = bench.get("/a.txt", &[("if-modified-since", first.header("last-modified"))]).await;
        let other = bench.get("/a.txt", &[("if-none-match", "\"x\"")]).await;
        fs::write(bench.root().join("a.txt"), "hello again").unwrap();
        let changed = bench.get("/a.txt", &[("if-none-match", first.header("etag"))]).await;

        let statuses = [by_tag.status, by_weak_tag.status, by_date.status, other.status, changed.status];
        assert_eq!(statuses, [304, 304, 304, 200, 200]);
        assert_eq!(by_tag.header("etag"), first.header("etag"));
        for answer in [&first, &by_tag, &by_weak_tag, &by_date] {
            assert_eq!(answer.header("vary"), "accept-encoding", "{answer:?}");
            let promised = if answer.status == 304 { "1" } else { "" };
            assert_eq!(answer.header("rip-no-body"), promised, "{answer:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_range_is_cut_out_while_the_file_is_the_one_meant() {
    local(async {
        let bench = Bench::start(plain, &[("a.txt", "0123456789")]).await;
        let whole = bench.get("/a.txt", &[]).await;
        let (tag, date) = (whole.header("etag"), whole.header("last-modified"));
        let table: [(Headers<'_>, u16, &str); 13] = [
            (&[("range", "bytes=0-3")], 206, "0123"),
            (&[("range", "bytes=7-")], 206, "789"),
            (&[("range", "bytes=-2")], 206, "89"),
            (&[("range", "bytes=20-")], 416, ""),
            (&[("range", "bytes=10-")], 416, ""),
            (&[("range", "bytes=-0")], 416, ""),
            (&[("range", "bytes=-11")], 200, "0123456789"),
            (&[("range", "bytes=0-1,4-5")], 200, "0123456789"),
            (&[("range", "lines=0-1")], 200, "0123456789"),
            (&[("range", "bytes=0-3"), ("if-range", tag)], 206, "0123"),
            (&[("range", "bytes=0-3"), ("if-range", date)], 206, "0123"),
            (&[("range", "bytes=0-3"), ("if-range", "\"other\"")], 200, "0123456789"),
            (&[("range", "bytes=0-3"), ("if-range", "Thu, 01 Jan 1970 00:00:00 GMT")], 200, "0123456789"),
        ];
        for (headers, status, body) in table {
            let answer = bench.get("/a.txt", headers).await;
            assert_eq!((answer.status, answer.body.as_str()), (status, body), "{headers:?}");
        }
        fs::write(bench.root().join("empty.txt"), "").unwrap();
        for (range, status, said) in [
            ("bytes=0-", 200, ""),
            ("bytes=0-9", 200, ""),
            ("bytes=-5", 200, ""),
            ("bytes=5-", 416, "bytes */0"),
        ] {
            let answer = bench.get("/empty.txt", &[("range", range)]).await;
            assert_eq!((answer.status, answer.header("content-range")), (status, said), "{range}");
            assert_eq!((answer.header("content-length"), answer.body.as_str()), ("0", ""), "{range}");
        }
        let cut = bench.get("/a.txt", &[("range", "bytes=2-4")]).await;
        assert_eq!((cut.header("content-range"), cut.header("content-length")), ("bytes 2-4/10", "3"));
    })
    .await;
}

#[tokio::test]
async fn a_compressed_neighbour_is_sent_to_those_who_take_it() {
    local(async {
        let files =
            [("a.js", "plain"), ("a.js.br", "brotli"), ("a.js.gz", "gzip"), ("b.js", "b"), ("b.js.zst", "z")];
        let bench = Bench::start(plain, &files).await;
        let table = [
            ("/a.js", "", "plain", ""),
            ("/a.js", "gzip", "gzip", "gzip"),
            ("/a.js", "gzip, br", "brotli", "br"),
            ("/a.js", "br;q=0, gzip", "gzip", "gzip"),
            ("/b.js", "zstd, gzip, br", "z", "zstd"),
            ("/b.js", "gzip", "b", ""),
        ];
        for (path, accepted, body, encoding) in table {
            let answer = bench.get(path, &[("accept-encoding", accepted)]).await;
            let got = (answer.body.as_str(), answer.header("content-encoding"), answer.header("vary"));
            assert_eq!(got, (body, encoding, "accept-encoding"), "{path} {accepted}");
            assert!(answer.header("content-type").starts_with("text/javascript"), "{answer:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_folder_is_its_index_and_is_never_listed() {
    local(async {
        let files =
            [("index.html", "root"), ("docs/index.html", "docs"), ("img/a.png", "png"), ("file", "f")];
        let bench = Bench::start(plain, &files).await;
        let table = [
            ("/", 200, "root"),
            ("/docs/", 200, "docs"),
            ("/img/", 404, "Not found\n"),
            ("/img", 404, "Not found\n"),
            ("/file/", 404, "Not found\n"),
            ("/file/x", 404, "Not found\n"),
            ("//docs", 404, "Not found\n"),
        ];
        for (path, status, body) in table {
            let answer = bench.get(path, &[]).await;
            assert_eq!((answer.status, answer.body.as_str()), (status, body), "{path}");
        }
        let redirect = bench.get("/docs?a=b", &[]).await;
        assert_eq!((redirect.status, redirect.header("location")), (301, "/docs/?a=b"));
        let below = bench.get("/docs", &[("x-forwarded-prefix", "/manual")]).await;
        assert_eq!((below.status, below.header("location")), (301, "/manual/docs/"));
    })
    .await;
}

#[tokio::test]
async fn another_index_and_a_page_for_unknown_pages() {
    local(async {
        let options = |root: &Path| StaticOptions {
            index: "home.htm".into(),
            spa: Some("app/shell.html".into()),
            ..StaticOptions::new(root)
        };
        let files = [("home.htm", "home"), ("app/shell.html", "shell"), ("index.html", "i")];
        let bench = Bench::start(options, &files).await;
        let html = ("accept", "text/html,application/xhtml+xml");

        let home = bench.get("/", &[html]).await;
        let unknown = bench.get("/orders/17", &[html]).await;
        let picture = bench.get("/orders/17.png", &[("accept", "image/png")]).await;
        let hidden = bench.get("/.env", &[html]).await;

        assert_eq!((home.status, home.body.as_str()), (200, "home"));
        assert_eq!((unknown.status, unknown.body.as_str()), (200, "shell"));
        assert_eq!(unknown.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(picture.status, 404);
        assert_eq!(hidden.body, "shell");
    })
    .await;
}

#[tokio::test]
async fn nothing_outside_the_root_and_nothing_hidden_is_served() {
    local(async {
        let files = [
            (".env", "SECRET"),
            (".git/config", "SECRET"),
            ("rip.toml", "SECRET"),
            (".well-known/a", "fine"),
            ("in/a", "fine"),
        ];
        let bench = Bench::start(plain, &files).await;
        fs::write(bench.home.path().join("secret"), "SECRET").unwrap();
        symlink("../secret", bench.root().join("relative")).unwrap();
        symlink(bench.home.path().join("secret"), bench.root().join("absolute")).unwrap();
        symlink("..", bench.root().join("parent")).unwrap();
        symlink("/proc/self/root/etc/passwd", bench.root().join("magic")).unwrap();
        symlink("loop", bench.root().join("loop")).unwrap();
        symlink("in/a", bench.root().join("inside")).unwrap();
        symlink(".env", bench.root().join("env.txt")).unwrap();
        symlink("../rip.toml", bench.root().join("in/own")).unwrap();
        symlink("../.git", bench.root().join("in/repository")).unwrap();
        symlink("in/repository", bench.root().join("twice")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            bench.root().join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let long = format!("/{}", "a".repeat(300));
        let refused = [
            "/../secret",
            "/in/../../secret",
            "/%2e%2e/secret",
            "/..%2fsecret",
            "/in/%2e%2e/%2e%2e/secret",
            "/..%5csecret",
            "/relative",
            "/absolute",
            "/parent/secret",
            "/magic",
            "/loop",
            "/pipe",
            "/.env",
            "/.git/config",
            "/in/.env",
            "/rip.toml",
            "/env.txt",
            "/in/own",
            "/in/repository/config",
            "/twice/config",
            "/in%00/a",
            "/%00",
            long.as_str(),
        ];
        for path in refused {
            let answer = bench.get(path, &[]).await;
            assert_eq!((answer.status, answer.body.as_str()), (404, "Not found\n"), "{path}");
        }
        for path in ["/inside", "/.well-known/a", "/in/a"] {
            assert_eq!(bench.get(path, &[]).await.body, "fine", "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn another_method_is_refused_and_the_allowed_are_named() {
    local(async {
        let bench = Bench::start(plain, &[("a", "")]).await;
        let answer = bench.ask("POST", "/a", &[("content-length", "0")]).await;
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"));
    })
    .await;
}

#[tokio::test]
async fn a_root_that_is_replaced_is_served_anew() {
    local(async {
        let bench = Bench::start(plain, &[("index.html", "old")]).await;
        fs::remove_dir_all(bench.root()).unwrap();
        let gone = bench.get("/", &[]).await;
        fs::create_dir(bench.root()).unwrap();
        fs::write(bench.root().join("index.html"), "new").unwrap();
        assert_eq!((gone.status, bench.get("/", &[]).await.body.as_str()), (404, "new"));
    })
    .await;
}

#[tokio::test]
async fn a_stop_finishes_the_answer_in_hand() {
    local(async {
        let size = 8 << 20;
        let mut bench = Bench::start(plain, &[("big", &"x".repeat(size))]).await;
        let mut busy = bench.connect().await;
        let mut idle = bench.connect().await;
        busy.write_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut start = [0; 15];
        busy.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200 OK");

        bench.stop.take().unwrap().send(()).unwrap();
        let mut rest = Vec::new();
        busy.read_to_end(&mut rest).await.unwrap();
        idle.read_to_end(&mut Vec::new()).await.unwrap();

        assert!(rest.len() > size, "{} bytes of {size}", rest.len());
        bench.worker.await.unwrap().unwrap();
        assert!(UnixStream::connect(bench.home.path().join("w.sock")).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_root_that_is_not_there_is_an_error_before_ready() {
    let home = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(home.path().join("w.sock")).unwrap();
    let options = StaticOptions::new(home.path().join("none"));

    let error = serve(listener, options, std::future::pending(), || panic!("ready")).await.unwrap_err();

    let expected =
        format!("cannot serve `{}/none`: No such file or directory (os error 2)", home.path().display());
    assert_eq!(error.to_string(), expected);
}
