//! The lines that people read: access records, colours where they belong, lines of workers.

use std::io::{BufRead, BufReader as Lines, pipe};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::ctl::{CTL, in_home};
use crate::support::{Server, Setup, has, soon, until};

#[tokio::test]
async fn a_record_is_a_line_for_people_without_any_colour_where_no_terminal_is() {
    let server = Setup::scripted().lines().start().await;
    assert_eq!(server.get("/code?code=404").await.status, 404);
    let id =
        server.ask("GET", "/", &[("Host", "nobody.example")], b"").await.field("x-request-id").to_owned();

    let line = line_of(&server, "/code?code=404").await;
    let fields: Vec<_> = line.split(' ').collect();
    let [date, time, app, total, in_worker, method, path, status, kind, length, request] = fields[..] else {
        panic!("not eleven fields: {line}")
    };
    assert!(is_like(date, "0000-00-00"), "{line}");
    assert!(is_like(&time[..13], "00:00:00.000+") || is_like(&time[..13], "00:00:00.000-"), "{line}");
    assert!(is_like(&time[13..], "00:00"), "{line}");
    assert_eq!((app, method, path), ("scripted", "GET", "/code?code=404"), "{line}");
    assert_eq!((status, kind, length), ("404", "text/plain", "9"), "{line}");
    for taken in [total, in_worker] {
        assert!(taken.ends_with('s') && taken.starts_with(|c: char| c.is_ascii_digit()), "{line}");
    }
    assert_eq!(request.len(), 20, "{line}");

    // Nobody's host: no app, no worker, and the reason before the id.
    let line = line_of(&server, &id).await;
    assert!(line.ends_with(&format!(" unknown-host {id}")), "{line}");
    assert!(line.contains(" - GET / 404 "), "{line}");

    assert!(!server.output().contains("\u{1b}"), "{}", server.output());
    assert!(server.output().json().is_empty(), "{}", server.output());
}

#[tokio::test]
async fn the_config_file_says_how_much_is_recorded() {
    let at = async |level: &str| {
        let server = Setup::scripted().lines().server(&format!("log.level = \"{level}\"")).start().await;
        assert_eq!(server.get("/").await.status, 200);
        server
    };
    at("info").await.output().says("INFO").await;
    let quiet = at("error").await;
    assert!(!quiet.output().contains("INFO"), "{}", quiet.output());
}

#[tokio::test]
async fn colours_are_shown_on_a_terminal_by_status() {
    let server = Setup::scripted().terminal().variable("NO_COLOR", "").start().await;
    for (code, colour) in [(200, "32"), (304, "32"), (404, "33"), (500, "31")] {
        server.get(&format!("/code?code={code}")).await;
        let line = line_of(&server, &format!("/code?code={code} ")).await;
        assert!(line.contains(&format!(" \u{1b}[{colour}m{code}\u{1b}[0m ")), "{line:?}");
    }
    let started = server.output().lines().into_iter().find(|line| line.contains("starting")).unwrap();
    assert!(started.contains("\u{1b}["), "{started:?}");
}

#[tokio::test]
async fn no_colours_are_shown_on_a_terminal_to_whoever_wants_none() {
    let server = Setup::scripted().terminal().variable("NO_COLOR", "1").start().await;
    server.get("/code?code=500").await;
    let line = line_of(&server, "/code?code=500 ").await;
    assert!(line.contains(" GET /code?code=500 500 text/plain "), "{line:?}");
    assert!(!server.output().contains("\u{1b}"), "{}", server.output());
}

#[tokio::test]
async fn every_request_has_its_record_when_the_server_has_ended() {
    for look in [Setup::scripted(), Setup::scripted().lines()] {
        let mut server = look.start().await;
        let mut clients = Vec::new();
        for _ in 0..8 {
            clients.push(server.connect().await);
        }
        for number in 0..400 {
            let client = number % clients.len();
            assert_eq!(clients[client].get("/counted").await.status, 404);
        }
        clients[0].send_get("/gate?name=last").await;
        server.meeting.reached("last").await;
        server.signal(Signal::TERM);
        // The others leave first: when this one has its answer, nothing is left to wait for.
        for client in &mut clients[1..] {
            assert_eq!(client.rest().await, b"");
        }
        server.meeting.open("last");
        assert_eq!(clients[0].reply("GET").await.status, 200);
        assert_eq!(server.ended().await.code(), Some(0));
        let written = |path| server.output().lines().iter().filter(|line| line.contains(path)).count();
        until("all are read", || async { written("/counted") >= 400 && written("/gate") == 1 }).await;
        assert_eq!(written("/counted"), 400);
    }
}

#[tokio::test]
async fn no_request_waits_for_whoever_reads_the_records() {
    let (reader, writer) = pipe().unwrap();
    let mut server = Setup::scripted().records_to(writer).start().await;
    let path = format!("/?{}", "a".repeat(8000));
    let mut client = server.connect().await;
    let mut sent = 0;
    while dropped(&server).await == 0 {
        for _ in 0..100 {
            assert_eq!(client.get(&path).await.status, 200);
        }
        sent += 100;
        assert!(sent < 20_000, "all of it is kept");
    }
    let read = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&read);
    let reading = std::thread::spawn(move || {
        for _ in Lines::new(reader).lines() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    until("each is written or counted", || async {
        read.load(Ordering::Relaxed) + dropped(&server).await == sent
    })
    .await;
    server.output().says("access records were dropped").await;
    // Records that come after that are written as ever.
    assert_eq!(client.get("/").await.status, 200);
    let lost = dropped(&server).await;
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await.code(), Some(0));
    reading.join().unwrap();
    assert_eq!(read.load(Ordering::Relaxed), sent + 1 - lost);
}

#[tokio::test]
async fn a_reader_of_records_that_has_gone_harms_nobody() {
    let (reader, writer) = pipe().unwrap();
    let mut server = Setup::scripted().records_to(writer).start().await;
    drop(reader);
    assert_eq!(server.get("/").await.status, 200);
    until("it is counted", || async { dropped(&server).await == 1 }).await;
    assert_eq!(server.get("/").await.status, 200);
    server.output().says("access records are lost").await;
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await.code(), Some(0));
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_reader_that_does_not_read() {
    let (_reader, writer) = pipe().unwrap();
    let mut server = Setup::scripted().records_to(writer).start().await;
    let path = format!("/?{}", "a".repeat(8000));
    for _ in 0..20 {
        assert_eq!(server.get(&path).await.status, 200);
    }
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await.code(), Some(0));
    server.output().says("the last access records are lost").await;
}

#[tokio::test]
async fn logs_are_followed_line_by_line_until_the_server_ends() {
    let mut server = Setup::scripted().start().await;
    server.get("/say?line=before").await;
    until("it is kept", || async { server.ctl(&["logs"]).await.out.contains("before") }).await;
    let mut command = in_home(server.root(), CTL);
    command.arg("--socket").arg(server.control_socket()).args(["logs", "scripted", "-f", "-n", "1"]);
    let mut following = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut next = async || soon("a line", lines.next_line()).await.unwrap();
    assert!(next().await.unwrap().ends_with(" scripted/1 before"));
    for said in ["one", "two"] {
        server.get(&format!("/say?line={said}")).await;
        assert!(next().await.unwrap().ends_with(&format!(" scripted/1 {said}")));
    }
    server.signal(Signal::TERM);
    assert_eq!(next().await, None);
    assert_eq!(soon("it ends", following.wait()).await.unwrap().code(), Some(0));
    assert_eq!(server.ended().await.code(), Some(0));
}

#[tokio::test]
async fn the_last_lines_are_those_that_came_last_though_the_clock_was_set_back() {
    if !has("cc", "gcc") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("clock.c"), CLOCK).unwrap();
    let mut compiler = std::process::Command::new("cc");
    let compiled = compiler.args(["-shared", "-fPIC", "-o", &path("clock.so"), &path("clock.c")]).status();
    assert!(compiled.unwrap().success());
    let setup = Setup::scripted().variable("LD_PRELOAD", &path("clock.so"));
    let server = setup.variable("CLOCK_BACK", &path("back")).start().await;
    let said = async |line: &str| {
        server.get(&format!("/say?line={line}")).await;
        until("the line is kept", || async { server.ctl(&["logs"]).await.out.contains(line) }).await;
        server.ctl(&["logs", "-n", "1"]).await.expect(0).out
    };
    let before = said("before").await;
    std::fs::write(path("back"), "").unwrap();
    let after = said("after").await;
    assert!(before.ends_with(" before\n") && after.ends_with(" after\n"), "{before}{after}");
    assert!(after[..19] < before[..19], "the clock was set back: {before}{after}");
}

/// Sets the clock that people read an hour back while the file is there that `CLOCK_BACK` names.
const CLOCK: &str = "
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    const char *back = getenv(\"CLOCK_BACK\");
    if (clock == CLOCK_REALTIME && back && !access(back, F_OK)) time->tv_sec -= 3600;
    return result;
}
";

/// The first line with this text, once it is written.
async fn line_of(server: &Server, text: &str) -> String {
    until(&format!("a line with {text}"), || async { server.output().contains(text) }).await;
    server.output().lines().into_iter().find(|line| line.contains(text)).unwrap()
}

/// How many access records were dropped so far.
async fn dropped(server: &Server) -> usize {
    let page = server.ctl(&["metrics"]).await.expect(0).out;
    let line = page.lines().find_map(|line| line.strip_prefix("rip_access_records_dropped_total "));
    line.unwrap().parse().unwrap()
}

/// Whether the text has digits where the shape has zeros, and is the shape elsewhere.
fn is_like(text: &str, shape: &str) -> bool {
    let fits = |(c, s): (char, char)| if s == '0' { c.is_ascii_digit() } else { c == s };
    text.len() == shape.len() && text.chars().zip(shape.chars()).all(fits)
}
