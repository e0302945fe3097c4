//! Takes connections off the listeners, within limits, and never ends because of one that failed.
//!
//! Never here: a listener's making (`bind`), or what is said on a connection.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::time::{Backoff, timer};

use super::tls;
use crate::acceptor::connection::places::{Places, Refused};
use crate::acceptor::peer::share_of;
use crate::acceptor::thread::shard::{Role, Shard};

/// Accepts until the stop is requested.
pub(in crate::acceptor) async fn accept(
    shard: Rc<Shard>,
    listener: TcpListener,
    role: Role,
    tls: Option<tls::ChooseTls>,
    places: Places,
) {
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
                start(&shard, stream, peer, role, tls.clone(), &places);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Out of descriptors or memory: what is open must end before anything can be accepted.
                places.relieve(Instant::now());
                let delay = backoff.next_delay();
                tracing::warn!(%error, ?delay, "cannot accept connections for the moment");
                timer::sleep(delay).await;
            }
        }
    }
}

fn start(
    shard: &Rc<Shard>,
    stream: TcpStream,
    peer: SocketAddr,
    role: Role,
    tls: Option<tls::ChooseTls>,
    places: &Places,
) {
    let client = share_of(peer, &shard.server.trusted);
    let admission = match places.enter(client, Instant::now()) {
        Ok(admission) => admission,
        Err(Refused::AddressLimit) => return shard.metrics.connection_refused("address-limit"),
        Err(Refused::Full) => return tls::refuse(shard, client),
    };
    let Ok(local) = stream.local_addr() else { return };
    // Without it, small answers wait for acknowledgements; a refusal costs only speed.
    let _ = stream.set_nodelay(true);
    let open = tls::Open { shard: Rc::clone(shard), stream, peer, local, role, admission };
    shard.stop.spawn_local("connection", open.serve(tls));
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
