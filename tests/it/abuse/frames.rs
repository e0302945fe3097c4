//! HTTP/2 frames that cost the server something and carry nothing.

use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::others::{Other, tcp_from};
use super::{END_STREAM_AND_HEADERS, Frames, GET_ROOT, raw};
use crate::support::{Setup, soon};

const END_OF_HEADERS: u8 = 4;

/// The code of the GOAWAY among what the server sent.
fn goaway(seen: &[u8]) -> Option<u32> {
    let mut rest = seen;
    while let Some((head, behind)) = rest.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (payload, next) = behind.split_at_checked(length)?;
        if head[3] == 7 {
            return Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        rest = next;
    }
    None
}

/// Sends the same frame again and again until the server ends the connection; what it has said, `None` when it goes on
/// for 100,000 frames.
async fn flood(mut frames: Frames, frame: &[u8]) -> Option<Vec<u8>> {
    let piece = frame.repeat(100);
    let (mut reader, mut writer) = tokio::io::split(&mut frames.0);
    let mut seen = Vec::new();
    let sends = async {
        for _ in 0..1000 {
            if writer.write_all(&piece).await.is_err() || writer.flush().await.is_err() {
                // The reader tells.
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        biased;
        _ = reader.read_to_end(&mut seen) => {}
        () = sends => {
            // The connection may have been closed already: a failed read is no answer.
            timeout(Duration::from_secs(3), reader.read_to_end(&mut seen)).await.ok()?.ok();
        }
    }
    Some(seen)
}

#[tokio::test]
async fn a_flood_of_frames_that_carry_nothing_ends_the_connection() {
    let server = Setup::scripted().words(&["w:2"]).tls().start().await;
    for (what, frame) in [
        ("PING", raw(6, 0, 0, &[1; 8])),
        ("PING that is an answer", raw(6, 1, 0, &[1; 8])),
        ("SETTINGS", raw(4, 0, 0, &[])),
        ("SETTINGS with a value", raw(4, 0, 0, &[0, 4, 0, 1, 0, 0])),
        ("PRIORITY", raw(2, 0, 1, &[0, 0, 0, 0, 1])),
        ("WINDOW_UPDATE of one byte", raw(8, 0, 0, &[0, 0, 0, 1])),
        ("WINDOW_UPDATE of a stream", raw(8, 0, 1, &[0, 0, 0, 1])),
        ("empty DATA", raw(0, 0, 1, &[])),
        ("DATA of one byte", raw(0, 0, 1, b"x")),
        ("an unknown frame", raw(0x42, 0, 0, &[])),
    ] {
        let mut frames = Frames::connect(&server).await;
        let post = b"\x83\x87\x84\x41\x09localhost";
        frames.send(1, END_OF_HEADERS, 1, post).await.unwrap();
        let seen = flood(frames, &frame).await;
        let code = seen.as_deref().and_then(goaway);
        println!("frames | {what} | ended: {}, GOAWAY {code:?}", seen.is_some());
        assert!(seen.is_some(), "{what}: the server goes on");
        assert!(code.is_none_or(|code| code == 0xb), "{what}: {code:?}");
    }
    server.output().says("too many HTTP/2 frames that carry nothing").await;
    // Of empty DATA the library behind has a limit of its own.
    let page = server.control("GET", "/metrics", "").await.unwrap();
    assert!(page.text().contains("rip_limits_reached_total{limit=\"frames\"}"), "{}", page.text());
    assert_eq!(server.get("/").await.status, 200);
}

#[tokio::test]
async fn a_client_that_sends_too_many_frames_is_told_to_be_calm() {
    let server = Setup::scripted().words(&["w:2"]).tls().start().await;
    let mut frames = Frames::connect(&server).await;
    frames.send(1, END_STREAM_AND_HEADERS, 1, GET_ROOT).await.unwrap();
    assert!(frames.is_served(1).await);
    for _ in 0..1100 {
        if frames.send(6, 0, 0, &[2; 8]).await.is_err() {
            break;
        }
    }
    // A PING's answer pays for a part of it.
    for _ in 0..500 {
        if frames.send(6, 0, 0, &[2; 8]).await.is_err() {
            break;
        }
    }
    assert_eq!(goaway(&frames.rest().await), Some(0xb));
}

#[tokio::test]
async fn connections_of_a_client_share_what_they_may_send_beyond_a_little() {
    let server = Setup::scripted().words(&["w:2"]).tls().start().await;
    // Fewer than one connection may send, each time.
    let priorities = raw(2, 0, 1, &[0, 0, 0, 0, 1]).repeat(900);
    let goes_on = async |client| {
        let stream = tcp_from(client, server.port()).await.unwrap();
        let mut frames = Frames::over(stream).await;
        frames.0.write_all(&priorities).await.unwrap();
        frames.send(1, END_STREAM_AND_HEADERS, 1, GET_ROOT).await.unwrap();
        frames.is_served(1).await.then_some(frames)
    };
    let mut held = Vec::new();
    while let Some(frames) = goes_on(2).await {
        held.push(frames);
        assert!(held.len() < 200, "there is no end to it");
    }
    println!("frames | 900 PRIORITY a connection | the share is used up by {} connections", held.len());
    assert!(held.len() >= 10, "as many as ten connections may send");
    let another = goes_on(3).await.expect("another client has a share of its own");
    let first = &mut held[0];
    first.send(1, END_STREAM_AND_HEADERS, 3, GET_ROOT).await.unwrap();
    assert!(first.is_served(3).await, "requests are no such frames");
    drop(another);
    // An ordinary connection needs nothing of the share.
    let mut frames = Frames::over(tcp_from(2, server.port()).await.unwrap()).await;
    frames.send(1, END_STREAM_AND_HEADERS, 1, GET_ROOT).await.unwrap();
    assert!(frames.is_served(1).await);
}

#[tokio::test]
async fn others_are_answered_beside_floods_of_frames() {
    let server = Setup::scripted().words(&["w:2"]).tls().start().await;
    let quiet = Other::alone(&server, 9, Duration::from_secs(2)).await;
    let beside = Other::start(&server, 9);
    let mut ended = 0;
    let ping = raw(6, 0, 0, &[1; 8]);
    while ended < 3 || beside.answered() < 20 {
        let frames = Frames::connect(&server).await;
        ended += usize::from(flood(frames, &ping).await.is_some());
    }
    let during = beside.end().await;
    println!("frames | PING floods, {ended} connections ended | quiet: {quiet} | during: {during}");
    assert_eq!(during.bad, [""; 0]);
}

#[tokio::test]
async fn ordinary_clients_never_meet_the_limit() {
    let server = Setup::scripted().words(&["w:2"]).tls().start().await;
    // Each request with a priority, an update of each window and a ping, as hardly anybody sends them.
    let mut frames = Frames::connect(&server).await;
    for number in 0..1500 {
        let stream = number * 2 + 1;
        frames.send(1, END_STREAM_AND_HEADERS, stream, GET_ROOT).await.unwrap();
        frames.send(2, 0, stream, &[0, 0, 0, 0, 1]).await.unwrap();
        frames.send(8, 0, 0, &[0, 0, 0, 20]).await.unwrap();
        frames.send(6, 0, 0, &[3; 8]).await.unwrap();
        assert!(frames.is_served(stream).await, "request {number}");
    }
    // A long answer of small pieces, and a body of small pieces.
    let mut http2 = server.http2().await;
    let request = Request::get("https://localhost/chunks?n=3000").body(Full::default()).unwrap();
    let reply = http2.send(request).await.unwrap();
    assert_eq!(reply.status(), 200);
    let body = soon("all pieces", reply.into_body().collect()).await.unwrap().to_bytes();
    assert!(body.ends_with(b"chunk 2999\n"));
    assert_eq!(http2.get("/").await.status, 200);
}
