//! Clients that send slowly, or much at a time, or never end: what they hold, and what others get meanwhile.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::{Conn, Server, Setup, has, soon, tls, until};

/// Told clients are clients of their own.
fn setup() -> Setup {
    Setup::scripted().server("trusted_proxies = [\"127.0.0.1\"]")
}

/// The beginning of a request of the client `10.0.0.N`.
fn post(client: u8, path: &str, fields: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 10.0.0.{client}\r\n{fields}\r\n")
}

/// The times that another client waits for an answer, so many of them.
async fn others(server: &Server, count: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for number in 0..count {
        let begun = Instant::now();
        let fields = [("X-Forwarded-For", "10.9.9.9")];
        let reply = server.ask("GET", "/?other", &fields, b"").await;
        assert_eq!(reply.status, 200, "{number}: {}", reply.reason());
        times.push(begun.elapsed());
    }
    times.sort();
    times
}

fn tell(case: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    println!("{case}: others p50 {:?}, p99 {:?}", at(50), at(99));
}

async fn reached(server: &Server, limit: &str) -> u64 {
    sample(server, &format!("rip_limits_reached_total{{limit=\"{limit}\"}}")).await.unwrap_or(0)
}

async fn sample(server: &Server, name: &str) -> Option<u64> {
    let page = server.control("GET", "/metrics", "").await.unwrap();
    page.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// The amount that is held of a limit, and its total.
async fn held_of(server: &Server, limit: &str) -> (u64, u64) {
    let level = async |what| sample(server, &format!("rip_limit_{what}{{limit=\"{limit}\"}}")).await.unwrap();
    (level("held").await, level("max").await)
}

#[tokio::test]
async fn what_a_client_says_its_body_is_makes_it_hold_no_worker() {
    let server = setup().words(&["w:2"]).start().await;
    tell("quiet", others(&server, 30).await);
    let mut held = Vec::new();
    for kind in ["application/grpc", "application/grpc+proto", "application/grpc-web", "Application/GRPC"] {
        for framing in ["Content-Length: 100000", "Transfer-Encoding: chunked"] {
            let mut conn = server.connect().await;
            conn.send(post(1, "/echo", &format!("Content-Type: {kind}\r\n{framing}\r\n")) + "1\r\nx\r\n")
                .await;
            held.push(conn);
        }
    }
    tell("8 bodies of gRPC that trickle", others(&server, 30).await);
    assert!(!server.meeting.targets().iter().any(|target| target == "/echo"), "no worker has any of them");
}

/// Sends a byte again and again until it is answered; the answer.
async fn trickle(mut conn: Conn) -> String {
    loop {
        if conn.try_send("1\r\nx\r\n").await.is_err() {
            break;
        }
        if let Ok(byte) = tokio::time::timeout(Duration::from_millis(200), conn.exactly(1)).await {
            let first = byte.unwrap_or_default();
            return String::from_utf8_lossy(&[first, conn.rest().await].concat()).into_owned();
        }
    }
    String::from_utf8_lossy(&conn.rest().await).into_owned()
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

/// The time that one [`Server::outlast_heads`] takes.
const SHORT_HEADS: &str = "limits.head = \"2s\"";

/// Sends a piece of so many bytes four times a second, for longer than the 5 s that a client may be waited for; how
/// many bytes these were.
async fn steadily(server: &Server, conn: &mut Conn, bytes: usize) -> usize {
    let piece = format!("{bytes:x}\r\n{}\r\n", "x".repeat(bytes));
    let mut sent = 0;
    let mut beat = tokio::time::interval(Duration::from_millis(250));
    let mut over = std::pin::pin!(server.outlast_heads(3));
    loop {
        tokio::select! {
            biased;
            () = &mut over => return sent,
            _ = beat.tick() => conn.send(&piece).await,
        }
        sent += bytes;
    }
}

#[tokio::test]
async fn a_client_that_makes_a_worker_wait_gives_it_up_to_who_waits_for_one() {
    let rules = "stream = [\"/pieces\", \"/duplex\"]";
    let server = setup().server(SHORT_HEADS).words(&["w:2"]).rules(rules).start().await;
    let before = server.worker_pids().await;
    for (round, paths) in [["/pieces", "/duplex"], ["/duplex", "/pieces"]].into_iter().enumerate() {
        let mut slow = Vec::new();
        for (number, path) in paths.into_iter().enumerate() {
            let mut conn = server.connect().await;
            let path = format!("{path}?name={round}");
            conn.send(post(1, &path, CHUNKED)).await;
            until("a worker has it", async || server.meeting.targets().contains(&path)).await;
            until("so many are held", async || server.status().await.apps[0].in_flight == number + 1).await;
            if path.starts_with("/duplex") {
                assert_eq!(conn.head().await.status, 200);
                assert_eq!(conn.chunk().await.unwrap(), b"begun\n");
            }
            slow.push(Box::pin(trickle(conn)));
            // The first has made its worker wait for longer.
            server.outlast_heads(1 - number).await;
        }
        let slow = futures_util::future::select_all(slow);
        let ((answer, first, others_left), times) = tokio::join!(slow, others(&server, 20));
        tell("two streams that trickle hold two workers", times);
        assert_eq!(first, 0, "who has held it longest");
        match round {
            0 => assert!(
                answer.starts_with("HTTP/1.1 408 ") && answer.contains("x-rip-reason: too-slow"),
                "{answer}"
            ),
            _ => assert!(!answer.ends_with("0\r\n\r\n"), "what is cut has no end: {answer}"),
        }
        assert_eq!(reached(&server, "slow-stream").await, round as u64 + 1, "one is enough");
        drop(others_left);
        until("the workers are free", async || server.status().await.apps[0].in_flight == 0).await;
    }
    assert_eq!(server.worker_pids().await, before, "they live");
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn a_slow_stream_goes_on_while_nobody_waits_and_a_fast_one_even_then() {
    let server = setup().server(SHORT_HEADS).rules("stream = [\"/pieces\"]").start().await;
    let mut conn = server.connect().await;
    conn.send(post(1, "/pieces?name=slow", CHUNKED)).await;
    let sent = steadily(&server, &mut conn, 1).await;
    conn.send("0\r\n\r\n").await;
    assert_eq!(conn.reply("POST").await.text(), sent.to_string());

    conn.send(post(1, "/pieces?name=fast", CHUNKED)).await;
    until("the worker has it", async || server.meeting.targets().len() == 2).await;
    let uploads = async {
        let sent = steadily(&server, &mut conn, 32 << 10).await;
        conn.send("0\r\n\r\n").await;
        (conn.reply("POST").await, sent)
    };
    let ((reply, sent), _) = tokio::join!(uploads, others(&server, 1));
    assert_eq!(reply.text(), sent.to_string());
    assert_eq!(reached(&server, "slow-stream").await, 0);
}

#[tokio::test]
async fn a_silent_stream_of_a_worker_that_speaks_http_2_gives_its_place_up_one_at_a_time() {
    if !has("node", "nodejs") {
        return;
    }
    let server = setup().server(SHORT_HEADS).h2c().words(&["w:1", "c:2"]).start().await;
    let before = server.worker_pids().await;
    let mut streams = Vec::new();
    for client in 1..=2 {
        let mut conn = server.connect().await;
        conn.send(post(client, "/duplex", CHUNKED)).await;
        assert_eq!(conn.head().await.status, 200);
        assert_eq!(conn.chunk().await.unwrap(), b"begun");
        streams.push(conn);
        // The first one is silent for longer.
        server.outlast_heads(1).await;
    }
    // Both are, for longer than they may while others wait.
    server.outlast_heads(3).await;
    for conn in &mut streams {
        // Nobody has waited.
        conn.send("4\r\nmore\r\n").await;
        assert_eq!(conn.chunk().await.unwrap(), b"more");
    }
    tell("two silent streams hold two places", others(&server, 5).await);
    let [first, second] = &mut streams[..] else { unreachable!() };
    let cut = soon("the longest is cut", first.rest()).await;
    assert!(!cut.ends_with(b"0\r\n\r\n"), "{cut:?}");
    second.send("5\r\nstill\r\n").await;
    assert_eq!(second.chunk().await.unwrap(), b"still", "one place was enough");
    assert_eq!(server.worker_pids().await, before);
    assert_eq!(server.record("/duplex").await["reason"], "too-slow");
    assert_eq!(reached(&server, "slow-stream").await, 1);
}

#[tokio::test]
async fn a_client_that_never_sends_its_body_to_such_a_worker_is_told_so() {
    if !has("node", "nodejs") {
        return;
    }
    let server = setup().h2c().words(&["w:1", "c:1"]).start().await;
    let before = server.worker_pids().await;
    let mut conn = server.connect().await;
    conn.send(post(1, "/echo", CHUNKED)).await;
    until("it has its place", async || server.status().await.apps[0].in_flight == 1).await;
    others(&server, 3).await;
    let reply = conn.reply("POST").await;
    assert_eq!((reply.status, reply.reason()), (408, "too-slow"));
    assert_eq!(server.worker_pids().await, before);
}

/// A body that begins and never ends.
struct Unended(Option<Bytes>);

impl Body for Unended {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        self.0.take().map_or(Poll::Pending, |bytes| Poll::Ready(Some(Ok(Frame::data(bytes)))))
    }
}

/// Connections over HTTP/2, each with so many requests of the client `10.0.0.N` whose bodies never end.
struct Flood {
    tasks: Vec<JoinHandle<()>>,
    asked: Vec<JoinHandle<hyper::Result<Response<Incoming>>>>,
}

impl Flood {
    async fn start(server: &Server, client: u8, count: usize, path: &str, sent: usize, said: usize) -> Self {
        let mut flood = Self { tasks: Vec::new(), asked: Vec::new() };
        let bytes = Bytes::from(vec![b'x'; sent]);
        let mut sender: Option<SendRequest<Unended>> = None;
        for number in 0..count {
            if number % 100 == 0 {
                let stream = tls::connect(server.port(), "localhost", &["h2"]).await.unwrap();
                let (new, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
                #[expect(clippy::disallowed_methods, reason = "aborted when the flood is dropped")]
                flood.tasks.push(tokio::spawn(async move { drop(connection.await) }));
                sender = Some(new);
            }
            let request = Request::post(format!("https://localhost{path}"))
                .header("x-forwarded-for", format!("10.0.0.{client}"))
                .header("content-length", said);
            let body = Unended((sent > 0).then(|| bytes.clone()));
            let asked = sender.as_mut().unwrap().send_request(request.body(body).unwrap());
            #[expect(clippy::disallowed_methods, reason = "aborted when the flood is dropped")]
            flood.asked.push(tokio::spawn(asked));
        }
        flood
    }

    /// The first so many answers, as [`answered`](Self::answered) says them.
    async fn answers(&mut self, count: usize) -> Vec<(u16, String)> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(self.answered().await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        all
    }

    /// Statuses and reasons of those that were answered since the last call.
    async fn answered(&mut self) -> Vec<(u16, String)> {
        let done: Vec<_> = self.asked.extract_if(.., |answer| answer.is_finished()).collect();
        let heads = join_all(done).await.into_iter().map(|head| head.unwrap().unwrap());
        heads
            .map(|head| {
                let reason = head.headers().get("x-rip-reason").and_then(|reason| reason.to_str().ok());
                (head.status().as_u16(), reason.unwrap_or("-").to_owned())
            })
            .collect()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.asked.iter().for_each(JoinHandle::abort);
    }
}

/// Files without a name that the server has open: how many, and the bytes that they take of the disk.
fn spooled(server: &Server) -> (usize, u64) {
    use std::os::unix::fs::MetadataExt;

    let folder = format!("/proc/{}/fd", server.pid());
    let files = std::fs::read_dir(folder).unwrap().filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = std::fs::read_link(&path).ok()?;
        let unnamed = name.to_str()?.ends_with(" (deleted)") && name.to_str()?.contains("/spool/");
        unnamed.then(|| std::fs::metadata(&path).map_or(0, |file| file.blocks() * 512))
    });
    let sizes: Vec<u64> = files.collect();
    (sizes.len(), sizes.iter().sum())
}

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn bodies_that_never_end_take_a_share_of_the_memory_and_of_the_disk() {
    let server = setup().tls().start().await;
    let before = server.peak_memory();
    let mut flood = Flood::start(&server, 1, 2500, "/echo", 60_000, 60_001).await;
    let all_read = async || {
        // The last ones go into files.
        spooled(&server).0 >= 1900
    };
    until("all have come", all_read).await;
    tell("2500 bodies of 60 kB without an end", others(&server, 30).await);
    let body = vec![b'y'; 60_000];
    let fields = [("X-Forwarded-For", "10.9.9.9")];
    assert_eq!(server.ask("POST", "/echo", &fields, &body).await.body, body);
    let (files, disk) = spooled(&server);
    let grown = server.peak_memory() - before;
    println!("2500 x 60 kB: memory {} MiB, {files} files, disk {} MiB", grown / MIB, disk / MIB);
    // 32 MiB of bodies, and what streams and files on their way take besides; uncounted they were 210 MiB.
    assert!(grown < 160 * MIB, "{grown}");
    assert!(reached(&server, "body-memory").await > 0);
    assert_eq!(flood.answered().await, [], "none is refused");
    drop(flood);
    until("the files are gone", async || spooled(&server).0 == 0).await;
}

#[tokio::test]
async fn uploads_of_one_client_leave_half_of_the_spool_to_others() {
    let server = setup().server("limits.spool = \"16M\"\nlimits.body_room = \"off\"").start().await;
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut conn = server.connect().await;
        conn.send(post(1, "/echo", "Content-Length: 100000000\r\n")).await;
        // Refused in the middle, perhaps.
        let _ = conn.try_send(vec![b'x'; MIB as usize]).await;
        held.push(conn);
    }
    let refused = async || reached(&server, "spool").await >= 12;
    until("what is above the share is refused", refused).await;
    let (files, disk) = spooled(&server);
    println!("20 uploads of 1 MiB with 16 MiB of spool: {files} files, {} MiB", disk / MIB);
    assert!(disk <= 8 * MIB, "{disk}");
    let (shown, most) = held_of(&server, "spool").await;
    assert!((1..=8 * MIB).contains(&shown) && most == 16 * MIB, "{shown} of {most}");
    let replies = held.iter_mut().map(|conn| Box::pin(conn.reply("POST")));
    let (reply, ..) = futures_util::future::select_all(replies).await;
    assert_eq!((reply.status, reply.reason(), reply.field("retry-after")), (503, "spool", "1"));
    let fields = [("X-Forwarded-For", "10.9.9.9")];
    let body = vec![b'y'; 3 * MIB as usize];
    assert!(server.ask("POST", "/echo", &fields, &body).await.body == body, "others have room");
    drop(held);
    until("the files are gone", async || spooled(&server).0 == 0).await;
    assert!(server.ask("POST", "/echo", &[("X-Forwarded-For", "10.0.0.1")], &body).await.body == body);
}

#[tokio::test]
async fn what_is_held_of_each_limit_is_shown_beside_how_much_there_is() {
    let limits = "limits.max_connections = 3000\nlimits.spool = \"16M\"\nlimits.body_room = \"8M\"\n\
                  limits.reply_room = \"4M\"\napp.max_queue = 7";
    let server = setup().server(limits).rules("tunnels = 5").start().await;
    let all = [
        ("body-memory", 64 * MIB),
        ("body-room", 8 * MIB),
        ("connections", 3000),
        ("reply-room", 4 * MIB),
        ("reply-spool", 16 * MIB),
        ("spool", 16 * MIB),
        ("unread-bodies", 128 * MIB),
        ("uploads", 6000),
    ];
    for (limit, most) in all {
        assert_eq!(held_of(&server, limit).await, (0, most), "{limit}");
    }
    assert_eq!(sample(&server, "rip_queue_length_max{app=\"scripted\"}").await, Some(7));
    assert_eq!(sample(&server, "rip_tunnels_max{app=\"scripted\"}").await, Some(5));
    let mut conn = server.connect().await;
    conn.send(post(1, "/echo", "Content-Length: 100000\r\n")).await;
    conn.send(vec![b'x'; 90_000]).await;
    for (limit, least) in [("connections", 1), ("uploads", 1), ("body-memory", 65_536), ("body-room", 10_000)]
    {
        until(limit, async || held_of(&server, limit).await.0 >= least).await;
    }
    conn.send(vec![b'x'; 10_000]).await;
    assert_eq!(conn.reply("POST").await.status, 200);
    drop(conn);
    for (limit, _) in all {
        until(limit, async || held_of(&server, limit).await.0 == 0).await;
    }
}

#[tokio::test]
async fn who_comes_late_gets_room_of_the_slowest_upload_of_who_has_most() {
    // Room for eight files, none in memory.
    let limits = "limits.spool = \"4M\"\nlimits.body_memory = \"16K\"\nlimits.body_room = \"off\"";
    let server = setup().server(limits).server(SHORT_HEADS).start().await;
    let mut held = Vec::new();
    for (number, client) in [1, 1, 1, 1, 2, 2, 3, 4].into_iter().enumerate() {
        let mut conn = server.connect().await;
        conn.send(post(client, "/echo", "Content-Length: 400000\r\n")).await;
        // The third is the slowest.
        conn.send(vec![b'x'; if number == 2 { 150_000 } else { 300_000 }]).await;
        until("it has a file", async || spooled(&server).0 == number + 1).await;
        held.push(conn);
    }
    // So long that what each has sent shows how fast it is.
    server.outlast_heads(1).await;
    let fields = [("X-Forwarded-For", "10.9.9.9")];
    let body = vec![b'y'; 300_000];
    assert!(server.ask("POST", "/echo", &fields, &body).await.body == body, "it is not refused");
    let reply = held[2].reply("POST").await;
    assert_eq!((reply.status, reply.reason()), (408, "too-slow"));
    server.output().says("\"limit\":\"spool\"").await;
    for (number, conn) in held.iter_mut().enumerate().filter(|(number, _)| *number != 2) {
        conn.send(vec![b'x'; 100_000]).await;
        assert_eq!(conn.reply("POST").await.body.len(), 400_000, "{number} is whole");
    }
}

#[tokio::test]
async fn while_spool_files_are_short_slow_uploads_are_ended() {
    let limits = "limits.spool = \"2M\"\nlimits.body_memory = \"16K\"\nlimits.body_room = \"off\"";
    let server = setup().server(limits).start().await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut conn = server.connect().await;
        conn.send(post(1, "/echo", CHUNKED) + "4e20\r\n" + &"x".repeat(20_000) + "\r\n").await;
        held.push(conn);
    }
    until("both have files", async || spooled(&server).0 == 2).await;
    // Above limits.body_rate, below what little room asks for.
    let slow = async |mut conn: Conn| {
        loop {
            if conn.try_send(format!("3e8\r\n{}\r\n", "x".repeat(1000))).await.is_err() {
                return conn.reply("POST").await;
            }
            if let Ok(byte) = tokio::time::timeout(Duration::from_millis(500), conn.exactly(1)).await {
                assert_eq!(byte.unwrap(), b"H");
                let rest = String::from_utf8_lossy(&conn.rest().await).into_owned();
                assert!(rest.starts_with("TTP/1.1 408 "), "{rest}");
                return server.get("/").await;
            }
        }
    };
    let (replies, _) = soon("both are ended", async {
        tokio::join!(join_all(held.into_iter().map(slow)), others(&server, 5))
    })
    .await;
    assert_eq!(replies.len(), 2);
    until("the files are gone", async || spooled(&server).0 == 0).await;
}

#[tokio::test]
async fn one_client_has_half_of_the_uploads_that_there_may_be() {
    let server = setup().server("limits.max_connections = 100\nlimits.body_rate = 0").tls().start().await;
    let mut flood = Flood::start(&server, 1, 600, "/echo", 1, 2).await;
    let refused = soon("what is above the share is refused", flood.answers(88)).await;
    assert_eq!(refused, vec![(503, "too-many-uploads".to_owned()); 88]);
    tell("512 uploads that never end", others(&server, 30).await);
    let fields = [("X-Forwarded-For", "10.9.9.9")];
    assert_eq!(server.ask("POST", "/echo", &fields, b"mine").await.text(), "mine");
}

#[tokio::test]
async fn what_lies_unread_of_one_client_while_it_waits_is_bounded() {
    let rules = "stream = [\"/digest\"]\ntimeouts.queue = \"60s\"";
    let server = setup().tls().rules(rules).start().await;
    let mut stranger = server.connect().await;
    stranger.send_get("/gate?name=g").await;
    server.meeting.reached("g").await;
    let mut flood = Flood::start(&server, 1, 300, "/digest", 0, 1_000_000).await;
    let refused = soon("what is above the share is refused", flood.answers(44)).await;
    assert_eq!(refused, vec![(503, "queue-full".to_owned()); 44]);
    assert_eq!(server.status().await.apps[0].queued, 256);
    let mut other = Flood::start(&server, 2, 5, "/digest", 0, 1_000_000).await;
    until("another one's wait", async || server.status().await.apps[0].queued == 261).await;
    assert_eq!(other.answered().await, []);
    assert_eq!((reached(&server, "unread-bodies").await, reached(&server, "queue").await), (44, 0));
    drop((flood, other));
    until("nobody waits", async || server.status().await.apps[0].queued == 0).await;
    server.meeting.open("g");
    assert_eq!(stranger.reply("GET").await.status, 200);
}
