//! Requests over HTTP/2 through deploys and the end of a server: each is answered, or the client is told that nobody
//! has looked at it (RFC 9113 §6.8, §8.7), so that it may send it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use h2::client::SendRequest;
use http::Request;
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::abuse::{END_STREAM_AND_HEADERS, Frames, GET_ROOT};
use crate::support::{Server, Setup, soon, tls, until};

/// The results of requests.
#[derive(Debug, Default)]
struct Outcomes {
    answered: usize,
    /// Above the last stream of a GOAWAY, or refused: to be sent again.
    refused: usize,
    lost: Vec<String>,
}

/// Clients that ask again and again, many at a time, over connections that they open anew for as long as they can.
struct Clients {
    tasks: JoinSet<Outcomes>,
    answered: Arc<AtomicUsize>,
}

impl Clients {
    fn start(server: &Server, count: usize) -> Self {
        let (port, answered) = (server.port(), Arc::<AtomicUsize>::default());
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            tasks.spawn(ask_on_and_on(port, Arc::clone(&answered)));
        }
        Self { tasks, answered }
    }

    async fn answer(&self, more: usize) {
        let wanted = self.answered.load(Ordering::SeqCst) + more;
        until("requests are answered", || async { self.answered.load(Ordering::SeqCst) >= wanted }).await;
    }

    /// The sum, when nobody can connect any more.
    async fn end(mut self) -> Outcomes {
        let mut all = Outcomes::default();
        while let Some(one) = soon("the clients' end", self.tasks.join_next()).await {
            let one = one.unwrap();
            all.answered += one.answered;
            all.refused += one.refused;
            all.lost.extend(one.lost);
        }
        all
    }
}

async fn ask_on_and_on(port: u16, answered: Arc<AtomicUsize>) -> Outcomes {
    let mut all = Outcomes::default();
    loop {
        let Ok(stream) = tls::connect(port, "localhost", &["h2"]).await else { return all };
        let Ok((sender, connection)) = h2::client::handshake(stream).await else { return all };
        let mut connection = std::pin::pin!(connection);
        let mut asking = JoinSet::new();
        for number in 0..16 {
            asking.spawn(ask_while_open(sender.clone(), number, Arc::clone(&answered)));
        }
        drop(sender);
        let mut open = true;
        loop {
            tokio::select! {
                _ = &mut connection, if open => open = false,
                done = asking.join_next() => match done {
                    None => break,
                    Some(one) => {
                        let one = one.unwrap();
                        all.answered += one.answered;
                        all.refused += one.refused;
                        all.lost.extend(one.lost);
                    }
                },
            }
        }
    }
}

/// Until the connection takes no more requests.
async fn ask_while_open(
    sender: SendRequest<bytes::Bytes>,
    number: usize,
    answered: Arc<AtomicUsize>,
) -> Outcomes {
    let mut outcomes = Outcomes::default();
    loop {
        // A request that cannot be sent is not lost.
        let Ok(mut ready) = sender.clone().ready().await else { return outcomes };
        let path = ["/", "/slow?ms=5", "/chunks?n=3", "/"][number % 4];
        let request = Request::get(format!("https://localhost{path}")).body(()).unwrap();
        let Ok((answer, _)) = ready.send_request(request, true) else { return outcomes };
        match taken(answer).await {
            Ok(200) => {
                outcomes.answered += 1;
                answered.fetch_add(1, Ordering::SeqCst);
            }
            Ok(status) => outcomes.lost.push(status.to_string()),
            Err(error) => {
                let refused = error.is_remote()
                    && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM));
                if refused {
                    outcomes.refused += 1;
                } else {
                    outcomes.lost.push(format!("{path}: {error:?}"));
                }
                return outcomes;
            }
        }
    }
}

/// The status, once all of the answer has come.
async fn taken(answer: h2::client::ResponseFuture) -> Result<u16, h2::Error> {
    let answer = answer.await?;
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    while let Some(data) = body.data().await {
        let _ = body.flow_control().release_capacity(data?.len());
    }
    Ok(status)
}

#[tokio::test]
async fn no_request_is_lost_when_a_server_ends() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Setup::scripted().words(&["w:4"]).tls().start().await;
        let clients = Clients::start(&server, 4);
        clients.answer(300).await;
        server.signal(signal);
        assert_eq!(server.ended().await.code(), Some(0));
        let all = clients.end().await;
        println!("{signal:?}: {} answered, {} refused", all.answered, all.refused);
        assert_eq!(all.lost, [""; 0]);
    }
}

#[tokio::test]
async fn no_request_is_lost_or_refused_by_deploys_and_reloads() {
    let mut server = Setup::scripted().words(&["w:2"]).tls().start().await;
    let clients = Clients::start(&server, 2);
    for _ in 0..2 {
        clients.answer(100).await;
        server.ctl(&["deploy", "scripted"]).await.expect(0);
        clients.answer(100).await;
        server.signal(Signal::HUP);
    }
    clients.answer(200).await;
    let before = clients.answered.load(Ordering::SeqCst);
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await.code(), Some(0));
    let all = clients.end().await;
    println!("deploys: {before} answered before the end, {} in all, {} refused", all.answered, all.refused);
    assert_eq!(all.lost, [""; 0]);
}

/// A client so far away that it does not answer in time which requests it has sent: the last that was taken is named
/// before the connection ends.
#[tokio::test]
async fn a_client_that_is_far_away_is_told_which_requests_were_taken() {
    let mut server = Setup::scripted().tls().start().await;
    let mut frames = Frames::connect(&server).await;
    for stream in [1, 3, 5] {
        frames.send(1, END_STREAM_AND_HEADERS, stream, GET_ROOT).await.unwrap();
        assert!(frames.is_served(stream).await);
    }
    server.signal(Signal::TERM);
    let mut named = Vec::new();
    let seen = frames.rest().await;
    let mut rest = &seen[..];
    while let Some((head, behind)) = rest.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, next)) = behind.split_at_checked(length) else { break };
        if head[3] == 7 {
            let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
            named.push((number(0), number(4)));
        }
        rest = next;
    }
    // The first says that the end is near, the last which requests are to be sent again elsewhere.
    assert_eq!(named, [((1 << 31) - 1, 0), (5, 0)]);
    assert_eq!(server.ended().await.code(), Some(0));
}
