//! Heads over HTTP/2 that cost little on the wire and much behind it, answers that nobody takes, and streams that the
//! client has the server reset.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::others::{Other, tcp_from};
use super::{END_STREAM_AND_HEADERS, Frames, raw};
use crate::support::Setup;

const END_OF_HEADERS: u8 = 4;

/// `GET /` and `GET /view` in HPACK, which leave the table of fields as it is.
const GET: &[u8] = b"\x82\x87\x84\x01\x09localhost";
const GET_VIEW: &[u8] = b"\x82\x87\x04\x05/view\x01\x09localhost";

/// A field in HPACK that goes into the table of those to come (RFC 7541 §6.2.1).
fn indexed(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut field = name.to_vec();
    match value.len() {
        length @ 0..127 => field.push(length as u8),
        length => {
            let mut rest = length - 127;
            field.push(127);
            while rest > 127 {
                field.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            field.push(rest as u8);
        }
    }
    [&field, value].concat()
}

/// The field that came into the table last, by one byte.
const AGAIN: u8 = 0xbe;

#[tokio::test]
async fn thousands_of_cookie_crumbs_are_refused_and_a_hundred_are_one_cookie() {
    let server = Setup::scripted().words(&["w:2"]).tls().start().await;
    let before = server.peak_memory();
    let crumb = indexed(b"\x60", b"a");
    // Far too many end the connection, too.
    for (crumbs, served, goes_on) in
        [(15_000, false, false), (5_000, false, false), (800, false, true), (90, true, true)]
    {
        for _ in 0..20 {
            let mut frames = Frames::connect(&server).await;
            let block = [GET, &crumb, &vec![AGAIN; crumbs - 1]].concat();
            frames.send(1, END_STREAM_AND_HEADERS, 1, &block).await.unwrap();
            assert_eq!(frames.is_served(1).await, served, "{crumbs} crumbs");
            if !goes_on {
                continue;
            }
            // The table of fields is as both sides believe.
            let block = [GET, &[AGAIN]].concat();
            frames.send(1, END_STREAM_AND_HEADERS, 3, &block).await.unwrap();
            assert!(frames.is_served(3).await, "behind {crumbs} crumbs");
        }
    }
    let grown = server.peak_memory() - before;
    println!("http2 | cookie crumbs | {} MiB more memory", grown >> 20);
    assert!(grown < 32 << 20, "{grown}");
    let views = server.meeting.views();
    let most = views.iter().map(|view| view.field("cookie").unwrap_or_default().len()).max();
    assert_eq!(most, Some(90 * 3 - 2), "one field, and nothing of more than a hundred");
    assert!(views.iter().all(|view| view.all("cookie").len() <= 1));
    server.meeting.assert_no_violations();
}

/// Each request has 28,000 bytes of fields in 7 bytes, and an answer for which the client leaves no window: what is
/// held for it is bounded, and others are answered.
#[tokio::test]
async fn small_heads_that_become_large_and_answers_without_a_window_take_bounded_memory() {
    let server = Setup::scripted().words(&["w:2"]).tls().start().await;
    let before = server.peak_memory();
    let beside = Other::start(&server, 9);
    let path = b"\x82\x87\x04\x11/big?bytes=300000\x01\x09localhost";
    let first = [&path[..], &indexed(b"\x40\x01a", &[b'a'; 4000])].concat();
    let more = [&path[..], &[AGAIN; 7]].concat();
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut frames = Frames::over(tcp_from(2, server.port()).await.unwrap()).await;
        // SETTINGS_INITIAL_WINDOW_SIZE: 0.
        frames.send(4, 0, 0, &[0, 4, 0, 0, 0, 0]).await.unwrap();
        for number in 0..100 {
            let block = if number == 0 { &first } else { &more };
            let sent = frames.send(1, END_STREAM_AND_HEADERS, 2 * number + 1, block).await;
            if sent.is_err() {
                break;
            }
        }
        held.push(frames);
    }
    let answered = beside.answered();
    while beside.answered() < answered + 50 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let during = beside.end().await;
    let grown = server.peak_memory() - before;
    println!("http2 | 2000 stalled streams | {} MiB more memory | during: {during}", grown >> 20);
    assert_eq!(during.bad, [""; 0]);
    assert!(grown < 192 << 20, "{grown}");
}

/// The variant of rapid resets in which the server does the resetting (CVE-2025-8671): each request is followed by a
/// frame that makes the stream an error.
#[tokio::test]
async fn a_client_that_has_its_streams_reset_is_ended_and_others_are_served() {
    let server = Setup::scripted().words(&["w:2"]).tls().start().await;
    let beside = Other::start(&server, 9);
    type FrameBehind<'a> = &'a dyn Fn(u32) -> Vec<u8>;
    let cases: [(&str, u8, FrameBehind<'_>); 4] = [
        ("WINDOW_UPDATE of nothing", END_STREAM_AND_HEADERS, &|stream| raw(8, 0, stream, &[0; 4])),
        ("a window beyond 31 bits", END_STREAM_AND_HEADERS, &|stream| {
            raw(8, 0, stream, &[0x7f, 0xff, 0xff, 0xff])
        }),
        ("DATA behind the end", END_STREAM_AND_HEADERS, &|stream| raw(0, 1, stream, b"x")),
        ("a second head", END_OF_HEADERS, &|stream| raw(1, END_OF_HEADERS, stream, GET_VIEW)),
    ];
    for (what, flags, behind) in cases {
        let passed = || server.meeting.targets().iter().filter(|target| *target == "/view").count();
        let before = passed();
        let mut frames = Frames::over(tcp_from(2, server.port()).await.unwrap()).await;
        let mut sent = 0;
        for stream in (1..10_000).step_by(2) {
            let bytes = [raw(1, flags, stream, GET_VIEW), behind(stream)].concat();
            if frames.0.write_all(&bytes).await.is_err() {
                break;
            }
            sent += 1;
        }
        let _ = frames.0.flush().await;
        frames.rest().await;
        let passed = passed() - before;
        println!("http2 | {what} | {sent} streams sent, {passed} requests passed on");
        assert!(passed < 500, "{what}: {passed}");
    }
    let during = beside.end().await;
    assert_eq!(during.bad, [""; 0], "{during}");
    server.meeting.assert_no_violations();
}
