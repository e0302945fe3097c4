//! A folder of files served by the built-in static worker, as caches and those who go on loading see it.

use crate::support::{Server, Setup};

async fn start() -> Server {
    let folder = tempfile::Builder::new().prefix("rip").tempdir().unwrap();
    let site = folder.path().join("site");
    std::fs::create_dir(&site).unwrap();
    for (name, text) in [("index.html", "<p>hello"), ("a.txt", "0123456789"), ("empty.txt", "")] {
        std::fs::write(site.join(name), text).unwrap();
    }
    Setup::app(site).start_in(folder).await
}

#[tokio::test]
async fn an_unchanged_file_says_what_its_answer_depends_on() {
    let server = start().await;
    let first = server.get("/a.txt").await;
    assert_eq!((first.status, first.field("vary")), (200, "accept-encoding"));
    for (name, value) in
        [("If-None-Match", first.field("etag")), ("If-Modified-Since", first.field("last-modified"))]
    {
        let same = server.ask("GET", "/a.txt", &[(name, value)], b"").await;
        assert_eq!((same.status, same.field("vary")), (304, "accept-encoding"), "{name}");
        assert_eq!(same.field("etag"), first.field("etag"), "{name}");
        assert_eq!(same.field("rip-no-body"), "", "what workers say to the server is not for clients");
    }
}

#[tokio::test]
async fn a_range_of_an_empty_file_is_all_of_it() {
    let server = start().await;
    for (range, status, said) in [
        ("bytes=0-", 200, ""),
        ("bytes=0-0", 200, ""),
        ("bytes=0-99", 200, ""),
        ("bytes=-1", 200, ""),
        ("bytes=1-", 416, "bytes */0"),
        ("bytes=-0", 416, "bytes */0"),
    ] {
        for method in ["GET", "HEAD"] {
            let reply = server.ask(method, "/empty.txt", &[("Range", range)], b"").await;
            assert_eq!((reply.status, reply.field("content-range")), (status, said), "{method} {range}");
            assert_eq!(reply.text(), "", "{method} {range}");
        }
    }
    let longer = server.ask("GET", "/a.txt", &[("Range", "bytes=-99")], b"").await;
    assert_eq!(
        (longer.status, longer.text()),
        (200, "0123456789"),
        "a suffix longer than the file is the file"
    );
}
