//! Takes connections off the listeners, within limits, and never ends because of one that failed.
//!
//! Never here: a listener's making (`bind`), or what is said on a connection.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use crate::backoff::Backoff;
use crate::metrics::OpenConnection;
use crate::timer;

use super::peer::canonical;
use super::shard::{Role, Shard};
use super::tls;

/// How many connections there may be, over all threads.
pub(super) struct Gate {
    places: Arc<Semaphore>,
    per_address: Option<usize>,
    /// Only with a limit per address. One lock for all threads, held for one look-up per connection.
    addresses: Arc<Addresses>,
}

impl Gate {
    pub(super) fn new(connections: usize, per_address: Option<usize>) -> Self {
        Self { places: Arc::new(Semaphore::new(connections)), per_address, addresses: Arc::default() }
    }

    fn count(&self, address: IpAddr) -> Option<AddressCount> {
        let Some(most) = self.per_address else { return Some(AddressCount(None)) };
        let mut counts = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(AddressCount(Some((Arc::clone(&self.addresses), address))))
    }
}

struct AddressCount(Option<(Arc<Addresses>, IpAddr)>);

/// How many connections each address has.
type Addresses = Mutex<HashMap<IpAddr, usize>>;

impl Drop for AddressCount {
    fn drop(&mut self) {
        let Some((counts, address)) = self.0.take() else { return };
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

/// What an open connection holds until its last byte.
pub(super) struct Admission {
    _place: OwnedSemaphorePermit,
    _address: AddressCount,
    _counted: OpenConnection,
}

/// Accepts until the stop is requested.
pub(super) async fn accept(
    shard: Rc<Shard>,
    listener: TcpListener,
    role: Role,
    tls: Option<TlsAcceptor>,
    gate: Arc<Gate>,
) {
    let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(1));
    let mut pulse = shard.pulses.join("accept");
    loop {
        let next = tokio::select! {
            biased;
            () = shard.stop.requested() => return pulse.retire(),
            () = pulse.beat() => continue,
            next = admit(&listener, &gate) => next,
        };
        match next {
            Ok((stream, peer, place)) => {
                backoff.reset();
                start(&shard, stream, peer, role, tls.clone(), place, &gate);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Out of descriptors or memory: what is open must end before anything can be accepted.
                let delay = backoff.next_delay();
                tracing::warn!(%error, ?delay, "cannot accept connections for the moment");
                timer::sleep(delay).await;
            }
        }
    }
}

/// A place first, then a connection: those without a place wait in the kernel's queue and are not lost.
async fn admit(
    listener: &TcpListener,
    gate: &Gate,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(&gate.places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

fn start(
    shard: &Rc<Shard>,
    stream: TcpStream,
    peer: SocketAddr,
    role: Role,
    tls: Option<TlsAcceptor>,
    place: OwnedSemaphorePermit,
    gate: &Gate,
) {
    let Some(address) = gate.count(canonical(peer.ip())) else {
        shard.metrics.connection_refused("address-limit");
        return;
    };
    let Ok(local) = stream.local_addr() else { return };
    // Without it, small answers wait for acknowledgements; a refusal costs only speed.
    let _ = stream.set_nodelay(true);
    let admission =
        Admission { _place: place, _address: address, _counted: shard.metrics.connection_opened() };
    let open = tls::Open { shard: Rc::clone(shard), stream, peer, local, role, admission };
    shard.stop.spawn_local("connection", open.serve(tls));
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
