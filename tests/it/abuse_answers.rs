//! Clients that ask for answers and do not read them, or read them very slowly: what they can make the server hold, and
//! what becomes of others meanwhile.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::DirEntry;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use crate::support::{Server, Setup, soon, tls, until};

const MIB: u64 = 1 << 20;

/// A connection from an address of its own; 127.0.0.1 is that of the clients who mean no good.
async fn socket(server: &Server, from: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    // The client reads little, and the kernel takes no more for it.
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(([127, 0, 0, from], 0).into()).unwrap();
    socket.connect(([127, 0, 0, 1], server.port()).into()).await.unwrap()
}

/// An HTTP/2 connection that sends frames and reads nothing.
struct Deaf(TlsStream<TcpStream>);

impl Deaf {
    /// Asks for `path` so many times, and lets the server send `window` bytes of each answer.
    async fn ask(server: &Server, from: u8, window: u32, path: &str, times: u32) -> Self {
        let stream = tls::over(socket(server, from).await, "localhost", &["h2"]).await.unwrap();
        let mut deaf = Self(stream);
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(4, 0, 0, &[&[0, 4], &window.to_be_bytes()[..]].concat()));
        // Of the connection as a whole: all there is.
        bytes.extend(frame(8, 0, 0, &(0x7fff_ffff_u32 - 65_535).to_be_bytes()));
        for number in 0..times {
            // `:method: GET`, `:scheme: https`, `:path`, `:authority: localhost`, in HPACK.
            let block = [b"\x82\x87\x04", &[path.len() as u8][..], path.as_bytes(), b"\x41\x09localhost"];
            bytes.extend(frame(1, 5, 2 * number + 1, &block.concat()));
        }
        deaf.0.write_all(&bytes).await.unwrap();
        deaf.0.flush().await.unwrap();
        deaf
    }

    /// Lets the server send so many bytes more of each of so many answers.
    async fn widen(&mut self, bytes: u32, times: u32) {
        let frames: Vec<u8> =
            (0..times).flat_map(|number| frame(8, 0, 2 * number + 1, &bytes.to_be_bytes())).collect();
        self.0.write_all(&frames).await.unwrap();
        self.0.flush().await.unwrap();
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// An HTTP/1 connection that asks for `path` and reads nothing.
async fn ask_and_leave_unread(server: &Server, path: &str) -> TcpStream {
    let mut stream = socket(server, 1).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The server's memory, in bytes.
fn memory(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// The disk that the server's spool files take, in bytes.
fn disk(server: &Server) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().flatten();
    let spool = files.filter(|file| {
        std::fs::read_link(file.path()).is_ok_and(|path| path.to_string_lossy().contains("/state/spool/"))
    });
    spool.filter_map(|file| std::fs::metadata(file.path()).ok()).map(|file| file.blocks() * 512).sum()
}

/// How often the limit was reached.
async fn reached(server: &Server, limit: &str) -> u64 {
    let page = server.control("GET", "/metrics", "").await.unwrap();
    let name = format!("rip_limits_reached_total{{limit=\"{limit}\"}} ");
    page.text().lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or_default()
}

/// The times that another client's requests took, all of which must be answered.
async fn others(server: &Server, count: usize) -> Times {
    let mut times = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        let stream = socket(server, 2).await;
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let mut answer = Vec::new();
        if server.is_tls() {
            let mut stream = tls::over(stream, "localhost", &["http/1.1"]).await.unwrap();
            stream.write_all(request).await.unwrap();
            // The connection's end may come without a closing message.
            let _ = soon("another client's answer", stream.read_to_end(&mut answer)).await;
        } else {
            let mut stream = stream;
            stream.write_all(request).await.unwrap();
            soon("another client's answer", stream.read_to_end(&mut answer)).await.unwrap();
        }
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello from the worker\n"),
            "{answer}"
        );
        times.push(start.elapsed());
    }
    times.sort();
    Times(times)
}

struct Times(Vec<Duration>);

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |part: usize| self.0[(self.0.len() - 1) * part / 100];
        write!(f, "p50 {:?}, p99 {:?}", at(50), at(99))
    }
}

/// The most memory and disk that are held while a test waits, and those at the end of the wait.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    memory: u64,
    disk: u64,
}

/// Measures while another client asks, until the workers have no request in hand, or the client that reads nothing has
/// met the limit.
async fn measure(what: &str, server: &Server, before: u64, quiet: &Times) -> Held {
    let mut held = Held::default();
    let mut during = None;
    let settled = async {
        let mut same = 0;
        let mut last = Held::default();
        while same < 10 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = Held { memory: memory(server).saturating_sub(before), disk: disk(server) };
            held = Held { memory: held.memory.max(now.memory), disk: held.disk.max(now.disk) };
            same = if now.disk == last.disk && now.memory.abs_diff(last.memory) < MIB { same + 1 } else { 0 };
            last = now;
        }
    };
    let asking = async { during = Some(others(server, 40).await) };
    soon("it settles", async { tokio::join!(settled, asking) }).await;
    let (memory, disk) = (held.memory / MIB, held.disk / MIB);
    eprintln!(
        "{what}: {memory} MiB more memory, {disk} MiB of disk; another client quiet {quiet}, during {}",
        during.unwrap()
    );
    held
}

#[tokio::test]
async fn a_connection_that_takes_nothing_of_a_hundred_answers_has_a_share_of_memory_and_no_more() {
    let server = Setup::scripted().tls().words(&["w:2"]).start().await;
    let quiet = others(&server, 40).await;
    let before = memory(&server);
    let _deaf = Deaf::ask(&server, 1, 0, "/big?bytes=4000000", 100).await;
    let held = measure("100 × 4 MB, window 0", &server, before, &quiet).await;
    assert!(held.memory < 100 * MIB, "{held:?}");
    assert!(reached(&server, "reply-room").await > 0);
}

#[tokio::test]
async fn ten_connections_of_one_client_share_what_one_would_have() {
    let server = Setup::scripted().tls().words(&["w:2"]).server("limits.reply_room = \"32M\"").start().await;
    let quiet = others(&server, 40).await;
    let before = memory(&server);
    let mut all = Vec::new();
    for _ in 0..10 {
        all.push(Deaf::ask(&server, 1, 0, "/big?bytes=1000000", 40).await);
    }
    let held = measure("10 connections × 40 × 1 MB, window 0", &server, before, &quiet).await;
    assert!(held.memory < 60 * MIB, "{held:?}");
}

#[tokio::test]
async fn many_connections_that_take_nothing_of_few_small_answers_have_a_share_too() {
    let server = Setup::scripted().tls().words(&["w:2"]).server("limits.reply_room = \"16M\"").start().await;
    let quiet = others(&server, 40).await;
    let before = memory(&server);
    let mut all = Vec::new();
    for _ in 0..300 {
        // None of them is crowded, and no answer is long.
        all.push(Deaf::ask(&server, 1, 0, "/big?bytes=30000", 16).await);
    }
    until("the share is used up", || async { reached(&server, "reply-room").await > 0 }).await;
    let held = measure("300 connections × 16 × 30 kB, window 0", &server, before, &quiet).await;
    assert!(held.memory < 75 * MIB, "{held:?}");
}

#[tokio::test]
async fn spool_files_have_a_total_and_whoever_has_used_up_its_share_waits_without_a_worker() {
    let limits = "limits.reply_room = \"4M\"\nlimits.spool = \"64M\"";
    let server = Setup::scripted().tls().words(&["w:2"]).server(limits).start().await;
    let quiet = others(&server, 40).await;
    let before = memory(&server);
    let _deaf = Deaf::ask(&server, 1, 0, "/big?bytes=3000000", 100).await;
    let held = measure("100 × 3 MB, window 0, little room", &server, before, &quiet).await;
    assert!(held.memory < 30 * MIB, "{held:?}");
    assert!((16 * MIB..=33 * MIB).contains(&held.disk), "half of it: {held:?}");
    assert!(reached(&server, "reply-spool").await > 0);
    assert_eq!(server.status().await.apps[0].queued, 0, "its other requests wait elsewhere");
    server.output().says("used up the spool files").await;
}

#[tokio::test]
async fn many_clients_of_one_address_that_read_slowly_take_little_memory() {
    let limits = "limits.reply_room = \"16M\"\nlimits.spool = \"256M\"";
    let server = Setup::scripted().words(&["w:2"]).server(limits).start().await;
    let quiet = others(&server, 40).await;
    let before = memory(&server);
    let asking = (0..300).map(|_| ask_and_leave_unread(&server, "/big?bytes=8000000"));
    let _unread = futures_util::future::join_all(asking).await;
    let held = measure("300 connections × 8 MB", &server, before, &quiet).await;
    assert!(held.memory < 60 * MIB, "{held:?}");
    assert!(held.disk <= 130 * MIB, "{held:?}");
}

#[tokio::test]
async fn a_worker_does_not_wait_for_a_client_that_reads_nothing_while_others_wait_for_it() {
    let limits = "limits.reply_memory = \"64K\"\nlimits.reply_spool = \"1M\"\nlimits.handshake = \"4s\"";
    let server = Setup::scripted().tls().server(limits).start().await;
    let deaf = Deaf::ask(&server, 1, 0, "/big?bytes=30000000", 1).await;
    until("the worker has it", || async { server.status().await.apps[0].in_flight == 1 }).await;
    let times = others(&server, 1).await;
    eprintln!("a worker held back: {times}");
    assert_eq!(reached(&server, "slow-reader").await, 1);
    server.output().says("an answer is cut: its client reads too slowly").await;
    drop(deaf);
    // Nobody waits for it now: it waits for its client.
    let mut deaf = Deaf::ask(&server, 1, 0, "/big?bytes=3000000", 1).await;
    until("the worker has it", || async { server.status().await.apps[0].in_flight == 1 }).await;
    // Longer than a client has that others wait for.
    server.outlast_heads(1).await;
    assert_eq!(server.status().await.apps[0].in_flight, 1);
    deaf.widen(4_000_000, 1).await;
    let reading = async {
        let mut read = 0;
        let mut bytes = vec![0; 1 << 16];
        while read < 3_000_000 {
            read += deaf.0.read(&mut bytes).await.unwrap();
        }
    };
    soon("its client gets all of it", reading).await;
}

#[tokio::test]
async fn a_client_holds_only_some_of_the_workers_by_answers_that_it_does_not_read() {
    let limits = "limits.reply_memory = \"64K\"\nlimits.reply_spool = \"1M\"";
    let server = Setup::scripted().tls().words(&["w:4"]).server(limits).start().await;
    let mut deaf = Deaf::ask(&server, 1, 65_535, "/big?bytes=30000000", 8).await;
    until("all workers have one", || async { server.status().await.apps[0].in_flight == 4 }).await;
    let asking = async {
        let times = others(&server, 5).await;
        eprintln!("all workers held back: {times}");
    };
    // The client takes a little all the time.
    let trickling = async {
        loop {
            deaf.widen(1000, 8).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        () = asking => {}
        () = trickling => unreachable!(),
    }
    assert!(reached(&server, "slow-reader").await >= 2);
}

#[tokio::test]
async fn who_takes_a_byte_now_and_then_is_cut_when_memory_and_disk_are_short() {
    let limits = "limits.reply_room = \"1M\"\nlimits.spool = \"16M\"";
    let server = Setup::scripted().tls().words(&["w:2"]).server(limits).start().await;
    let mut all = Vec::new();
    for from in 3..11 {
        all.push(Deaf::ask(&server, from, 0, "/big?bytes=3000000", 4).await);
    }
    let trickling = async {
        loop {
            for deaf in &mut all {
                // The connection of a deaf client may be over.
                deaf.widen(1, 4).await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = until("some are cut", || async { reached(&server, "slow-reader").await >= 2 }) => {}
        () = trickling => unreachable!(),
    }
    assert!(others(&server, 5).await.0.len() == 5);
}

#[tokio::test]
async fn memory_comes_back_after_each_burst() {
    let server = Setup::scripted().tls().words(&["w:2"]).start().await;
    others(&server, 100).await;
    let before = memory(&server);
    let mut after = Vec::new();
    for _ in 0..3 {
        let mut all = Vec::new();
        for _ in 0..10 {
            all.push(Deaf::ask(&server, 1, 0, "/big?bytes=400000", 20).await);
        }
        until("all are answered", || async {
            server.meeting.targets().len() % 200 == 100 && server.status().await.apps[0].in_flight == 0
        })
        .await;
        after.push(memory(&server) / MIB);
    }
    let rest = || memory(&server);
    // Giving memory back may take longer than other things that tests wait for.
    let waiting = async {
        while rest() > before / 2 * 3 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let came_back = tokio::time::timeout(Duration::from_secs(60), waiting).await.is_ok();
    eprintln!("{} MiB before, {after:?} after bursts, {} at rest", before / MIB, rest() / MIB);
    assert!(came_back);
}

#[tokio::test]
async fn idle_connections_cost_no_cpu() {
    let server = Setup::scripted().start().await;
    let alone = wakeups(&server).await.min(wakeups(&server).await);
    let mut idle = Vec::new();
    for _ in 0..1000 {
        let mut conn = server.connect().await;
        assert_eq!(conn.get("/code?code=200").await.status, 200);
        idle.push(conn);
    }
    // The threads rest after a second; a busy machine takes longer to finish its work from before.
    let mut calmest = u64::MAX;
    for _ in 0..10 {
        calmest = calmest.min(wakeups(&server).await);
        if calmest <= alone + FEW {
            break;
        }
    }
    eprintln!("1000 idle connections: {calmest} wake-ups in {WINDOW:?}, {alone} without them");
    assert!(calmest <= alone + FEW, "{calmest} wake-ups in {WINDOW:?}, {alone} without connections");
}

/// How long wake-ups are counted.
const WINDOW: Duration = Duration::from_secs(3);
/// Far less than if each connection had something to do even twice a minute.
const FEW: u64 = 50;

/// How often the threads of the server wake up within [`WINDOW`]: after each time that one has gone to sleep by itself.
/// Other work of the machine makes no difference to the count.
async fn wakeups(server: &Server) -> u64 {
    let before = sleeps(server);
    tokio::time::sleep(WINDOW).await;
    let since = |(thread, count)| count - before.get(&thread).copied().unwrap_or_default();
    sleeps(server).into_iter().map(since).sum()
}

/// How often each thread of the server has gone to sleep by itself so far; see `/proc/pid/status` in proc(5).
fn sleeps(server: &Server) -> BTreeMap<OsString, u64> {
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().flatten();
    let of_thread = |thread: DirEntry| {
        // The thread may have ended meanwhile.
        let status = std::fs::read_to_string(thread.path().join("status")).ok()?;
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        Some((thread.file_name(), count.trim().parse().unwrap()))
    };
    threads.filter_map(of_thread).collect()
}
