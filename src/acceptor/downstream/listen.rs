//! Accepts connections within limits, and never ends because one of them failed.
//!
//! Never here: a listener's making (`bind`), or what is said on a connection.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::time::{Backoff, timer};

use super::entrance::Entrance;
use super::{proxied, tls};
use crate::acceptor::thread::shard::Shard;

/// Accepts until the stop is requested.
pub(in crate::acceptor) async fn accept(shard: Rc<Shard>, listener: TcpListener, entrance: Entrance) {
    let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(1));
    let mut heartbeat = shard.heartbeats.join("accept");
    loop {
        let next = tokio::select! {
            biased;
            () = shard.stop.requested() => return heartbeat.retire(),
            () = heartbeat.beat() => continue,
            next = listener.accept() => next,
        };
        match next {
            Ok((stream, peer)) => {
                backoff.reset();
                start(&shard, stream, peer, &entrance);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // The process is out of descriptors or memory: open connections must end before another can be
                // accepted.
                entrance.places.relieve(Instant::now());
                let delay = backoff.next_delay();
                tracing::warn!(%error, ?delay, "cannot accept connections for the moment");
                timer::sleep(delay).await;
            }
        }
    }
}

fn start(shard: &Rc<Shard>, stream: TcpStream, peer: SocketAddr, entrance: &Entrance) {
    if entrance.proxied {
        let Some(local) = prepared(&stream) else { return };
        let serving = proxied::serve(Rc::clone(shard), stream, peer, local, entrance.clone());
        shard.stop.spawn_local("connection", serving);
        return;
    }
    let Some(admission) = entrance.admit(shard, peer) else { return };
    let Some(local) = prepared(&stream) else { return };
    let (role, handshake) = (entrance.role, shard.server.limits.handshake);
    let open = tls::Open { shard: Rc::clone(shard), stream, peer, local, role, admission, handshake };
    shard.stop.spawn_local("connection", open.serve(entrance.tls.clone()));
}

/// The address that the connection came to; `None` when it has broken already.
fn prepared(stream: &TcpStream) -> Option<SocketAddr> {
    // Without this option small answers wait for acknowledgements; an error costs only speed.
    let _ = stream.set_nodelay(true);
    stream.local_addr().ok()
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
