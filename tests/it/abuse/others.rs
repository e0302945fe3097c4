//! Clients at addresses of their own, and one that asks again and again beside whatever is done to the server.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::support::{Conn, Server, tls};

/// A connection from 127.0.0.`client`.
pub(super) async fn tcp_from(client: u8, port: u16) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, client], 0).into())?;
    socket.connect(([127, 0, 0, 1], port).into()).await
}

/// The same, over TLS where the server speaks it.
pub(super) async fn conn_from(client: u8, port: u16, over_tls: bool) -> io::Result<Conn> {
    let stream = tcp_from(client, port).await?;
    if !over_tls {
        return Ok(Conn::over_tcp(stream));
    }
    Ok(Conn::over_tls(tls::over(stream, "localhost", &["http/1.1"]).await?))
}

/// `GET /` on a connection of its own; its status.
pub(super) async fn ask_from(client: u8, port: u16, over_tls: bool) -> io::Result<u16> {
    let mut conn = conn_from(client, port, over_tls).await?;
    conn.try_send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    Ok(conn.try_reply("GET").await?.status)
}

/// A client that means no harm: it asks on a connection of its own, waits a little, and asks again.
pub(super) struct Other {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    task: JoinSet<Answers>,
}

/// The answers that another client got.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) good: usize,
    pub(super) bad: Vec<String>,
    times: Vec<Duration>,
}

impl Other {
    pub(super) fn start(server: &Server, client: u8) -> Self {
        let (port, over_tls, stop) = (server.port(), server.is_tls(), Arc::new(AtomicBool::new(false)));
        let mut task = JoinSet::new();
        let answered = Arc::new(AtomicUsize::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&answered));
        task.spawn(async move {
            let mut answers = Answers::default();
            while !stopped.load(Ordering::SeqCst) {
                let begun = Instant::now();
                match timeout(PATIENCE, ask_from(client, port, over_tls)).await {
                    Ok(Ok(200)) => answers.good += 1,
                    Ok(Ok(status)) => answers.bad.push(status.to_string()),
                    Ok(Err(error)) => answers.bad.push(error.to_string()),
                    Err(_) => answers.bad.push("no answer".into()),
                }
                answers.times.push(begun.elapsed());
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            answers
        });
        Self { stop, answered, task }
    }

    /// For so long, with nothing beside it.
    pub(super) async fn alone(server: &Server, client: u8, length: Duration) -> Answers {
        let other = Self::start(server, client);
        tokio::time::sleep(length).await;
        other.end().await
    }

    /// How often it was answered so far, or not in time.
    pub(super) fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    pub(super) async fn end(mut self) -> Answers {
        self.stop.store(true, Ordering::SeqCst);
        self.task.join_next().await.unwrap().unwrap()
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut times = self.times.clone();
        times.sort_unstable();
        let of = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1)));
        let millis = |share| of(share).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0);
        write!(
            f,
            "{} of {} answered, p50 {:.1} ms, p99 {:.1} ms",
            self.good,
            times.len(),
            millis(50),
            millis(99)
        )
    }
}

/// Less than a request may wait in the queue.
const PATIENCE: Duration = Duration::from_secs(8);
