//! How large the head and the trailers of a worker's answer may be: to the byte, however they come.

use crate::support::{Setup, has};

/// The sizes in which a worker writes, in one piece and in several.
const PIECES: [usize; 4] = [1 << 20, 40_000, 4096, 1000];

#[tokio::test]
async fn a_head_of_64_kib_passes_and_one_byte_more_is_502() {
    for setup in [Setup::scripted(), Setup::scripted().port()] {
        let server = setup.start().await;
        for piece in PIECES {
            let largest = server.get(&format!("/large-head?bytes=65536&piece={piece}")).await;
            assert_eq!((largest.status, largest.text()), (200, "ok"), "{piece}");
            assert!(largest.field("x-long").len() > 65_000);
            for bytes in [65_537, 66_000, 100_000, 200_000, 600_000] {
                let larger = server.get(&format!("/large-head?bytes={bytes}&piece={piece}")).await;
                assert_eq!((larger.status, larger.reason()), (502, "bad-answer"), "{bytes} by {piece}");
            }
        }
        assert_eq!(server.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn trailers_of_16_kib_pass_and_one_byte_more_breaks_the_answer_off() {
    let server = Setup::scripted().start().await;
    for piece in PIECES {
        for (bytes, passes) in [(16_384, true), (16_385, false), (17_000, false), (60_000, false)] {
            let mut conn = server.connect().await;
            let path = format!("/large-head?trailers&bytes={bytes}&piece={piece}");
            conn.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\n\r\n")).await;
            let reply = conn.try_reply("GET").await;
            assert_eq!(reply.is_ok(), passes, "{bytes} by {piece}: {reply:?}");
            if let Ok(reply) = reply {
                assert_eq!((reply.text(), reply.trailers["x-long"].len()), ("ok", bytes - 12));
            }
        }
    }
}

#[tokio::test]
async fn a_head_of_an_http_2_worker_may_be_as_large() {
    if !has("node", "nodejs") {
        return;
    }
    let server = Setup::scripted().h2c().start().await;
    for bytes in [10_000, 20_000, 60_000] {
        let reply = server.get(&format!("/large-head?bytes={bytes}")).await;
        assert_eq!((reply.status, reply.text()), (200, "ok"), "{bytes}");
        assert_eq!(reply.field("x-long").len(), bytes);
    }
}
