//! Makes of an accepted connection one that speaks HTTP: the TLS handshake, and which HTTP.
//!
//! Never here: certificates (a rustls resolver brings them).

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::{Acceptor, ClientHello};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::challenges;
use crate::name::{ClientNet, HostName};
use crate::spec::ClientCerts;
use crate::time::timer;

use super::http1::serve_http1;
use super::http2::serve_http2;
use crate::acceptor::body::buffer::UNRESERVED;
use crate::acceptor::connection::client_cert::ShownClientCert;
use crate::acceptor::connection::client_socket::ClientSocket;
use crate::acceptor::connection::client_stream::{ClientStream, Transport};
use crate::acceptor::connection::conn_state::ConnState;
use crate::acceptor::connection::deadlines::LINGER;
use crate::acceptor::connection::head_memory::HeadMemory;
use crate::acceptor::connection::place_state::PlaceState;
use crate::acceptor::connection::places::Admission;
use crate::acceptor::limit::Limit;
use crate::acceptor::peer::Peer;
use crate::acceptor::thread::last_route::LastRoute;
use crate::acceptor::thread::shard::{Connection, Role, Shard};

/// Chooses how a handshake goes on, by the client's first message and the address that it came to; `None`: the client
/// asks for a name that is none of this server's.
pub(crate) type ChooseTls = Arc<dyn Fn(&ClientHello<'_>, IpAddr) -> Option<TlsChoice> + Send + Sync>;

/// How a handshake goes on.
pub(crate) struct TlsChoice {
    /// The TLS settings of the host that the client names.
    pub(crate) config: Arc<ServerConfig>,
    /// The certificates that the client is asked for; `None`: none.
    pub(crate) client: Option<ClientCertCheck>,
}

/// How the client certificates of one handshake are asked for and judged.
pub(crate) struct ClientCertCheck {
    /// The settings of the host that the handshake names.
    pub(crate) asked: ClientCerts,
    /// Says why a chain is not believed; the client's own certificate comes first in the chain.
    pub(crate) judge: JudgeClientCert,
}

/// See [`ClientCertCheck::judge`].
pub(crate) type JudgeClientCert = Box<dyn Fn(&[CertificateDer<'_>]) -> Result<(), String> + Send + Sync>;

pub(in crate::acceptor) struct Open {
    pub(in crate::acceptor) shard: Rc<Shard>,
    pub(in crate::acceptor) stream: TcpStream,
    pub(in crate::acceptor) peer: SocketAddr,
    pub(in crate::acceptor) local: SocketAddr,
    pub(in crate::acceptor) role: Role,
    pub(in crate::acceptor) admission: Admission,
    /// The time for the TLS handshake.
    pub(in crate::acceptor) handshake: Duration,
}

impl Open {
    /// Serves the connection to its end, over TLS when `tls` is there.
    pub(in crate::acceptor) async fn serve(self, tls: Option<ChooseTls>) {
        let Self { shard, stream, peer, local, role, mut admission, handshake } = self;
        let _told =
            MadeRoomNotice { shard: Rc::clone(&shard), place_state: Arc::clone(admission.place_state()) };
        admission.place_state().wakes_this_task().await;
        if !admission.place_state().is_placed() && !Box::pin(wait_for_place(&shard, &admission)).await {
            return refuse(&shard, admission.place_state().client());
        }
        admission.count(shard.metrics.connection_opened());
        let socket = ClientSocket::new(stream);
        let (transport, sni, http2, client_cert) = match tls {
            None => (Transport::Plain(socket), None, false, None),
            Some(tls) => {
                // The future is boxed, as that of HTTP/2 below is, because a connection keeps the room of its task for
                // as long as it lives.
                let place_state = admission.place_state();
                let shaken =
                    Box::pin(shake(&shard, socket, (peer, local), tls, place_state, handshake)).await;
                let Some(Shaken { stream, client_cert }) = shaken else { return };
                let (_, session) = stream.get_ref();
                let sni = session.server_name().and_then(|name| HostName::parse(name).ok());
                let http2 = match session.alpn_protocol() {
                    // The authority has seen what it wanted to see (RFC 8737 §3).
                    Some(challenges::ALPN) => return,
                    protocol => protocol == Some(b"h2"),
                };
                (Transport::Tls(stream), sni, http2, client_cert)
            }
        };
        let now = Instant::now();
        let head_memory = HeadMemory::new(shard.server.heads.reserve(admission.place_state().client()));
        let state = ConnState::new(http2, now, admission, head_memory);
        let stream = ClientStream::new(transport, Arc::clone(&state));
        let peer = Peer::new(peer);
        let (requests, last) = (Cell::new(0), LastRoute::default());
        let conn = Rc::new(Connection { shard, role, peer, local, sni, client_cert, state, requests, last });
        if http2 { Box::pin(serve_http2(conn, stream)).await } else { serve_http1(conn, stream).await }
    }
}

/// Notes at a connection's end whether it made room for another one. A guard, because a future of its own would hold
/// all parts of a connection twice.
struct MadeRoomNotice {
    shard: Rc<Shard>,
    place_state: Arc<PlaceState>,
}

impl Drop for MadeRoomNotice {
    fn drop(&mut self) {
        if self.place_state.is_asked() {
            self.shard.server.limit_log.reached(Limit::Connections, self.place_state.client());
        }
    }
}

/// Waits for a place; false when there is none in time, or the server ends.
async fn wait_for_place(shard: &Shard, admission: &Admission) -> bool {
    let begun = Instant::now();
    let mut asks = timer::interval(ASK_EVERY);
    asks.tick().await;
    loop {
        tokio::select! {
            biased;
            () = admission.place_state().placed() => return true,
            // A client that has connected already is still served, if that goes quickly.
            () = shard.stop.requested() => {
                return timer::timeout(2 * LINGER, admission.place_state().placed()).await.is_ok();
            }
            now = asks.tick() => {
                let waited = now.saturating_duration_since(begun);
                if waited >= shard.server.limits.head {
                    return false;
                }
                admission.ask_again(now, waited > 2 * ASK_EVERY);
            }
        }
    }
}

/// Notes that a connection is closed because there is no place for it.
pub(in crate::acceptor) fn refuse(shard: &Shard, client: Option<ClientNet>) {
    shard.metrics.connection_refused("connections");
    shard.server.limit_log.reached(Limit::Connections, client);
}

/// A connection whose handshake is over.
struct Shaken {
    stream: Box<TlsStream<ClientSocket>>,
    client_cert: Option<Box<ShownClientCert>>,
}

/// Shakes hands with the settings that the client's first message asks for.
async fn accept(socket: ClientSocket, local: IpAddr, choose: ChooseTls) -> io::Result<Shaken> {
    let mut begun = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
    let Some(TlsChoice { config, client }) = choose(&begun.client_hello(), local) else {
        begun.io.write_all(&UNRECOGNIZED_NAME).await?;
        begun.io.shutdown().await?;
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name in it is none of this server's"));
    };
    let mut stream = Box::new(begun.into_stream(config).await?);
    stream.get_mut().1.set_buffer_limit(Some(SEND_AHEAD));
    let client_cert = client.map(|ClientCertCheck { asked, judge }| {
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        Box::new(ShownClientCert::new(asked, chain, judge(chain)))
    });
    Ok(Shaken { stream, client_cert })
}

/// The shaken connection; `None` when the handshake failed or took too long, or the server ends.
async fn shake(
    shard: &Shard,
    socket: ClientSocket,
    (peer, local): (SocketAddr, SocketAddr),
    tls: ChooseTls,
    place_state: &PlaceState,
    limit: Duration,
) -> Option<Shaken> {
    let received = socket.received();
    let mut accepting = pin!(accept(socket, local.ip(), tls));
    let mut memory = HeadMemory::new(shard.server.heads.reserve(place_state.client()));
    // A large handshake that has no end yet is counted as heads are.
    let mut counted = pin!(poll_fn(|cx| {
        let shaken = accepting.as_mut().poll(cx);
        if shaken.is_pending() && !memory.holds(received.load(Ordering::Relaxed)) {
            shard.server.limit_log.reached(Limit::Heads, place_state.client());
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        shaken
    }));
    let crowded = || shard.server.limit_log.reached(Limit::Handshakes, place_state.client());
    let shaking = shard.handshakes.in_turn(place_state.client(), counted.as_mut(), crowded);
    let shaken = tokio::select! {
        biased;
        () = place_state.asked() => return None,
        shaken = timer::timeout(limit, shaking) => shaken,
        // A client that has connected already is still served, if that goes quickly.
        () = async {
            shard.stop.requested().await;
            timer::sleep(LINGER).await;
        } => return None,
    };
    match shaken {
        Ok(Ok(shaken)) => {
            shard.metrics.tls_handshake("ok");
            Some(shaken)
        }
        Ok(Err(error)) => {
            // Scanners cause this all day: a counter is enough.
            let is_of_client_cert =
                error.get_ref().and_then(|error| error.downcast_ref()).is_some_and(is_of_client_cert);
            shard.metrics.tls_handshake(if is_of_client_cert { "client-cert" } else { "failed" });
            tracing::debug!(%peer, %error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            shard.metrics.tls_handshake("timeout");
            None
        }
    }
}

/// Whether a handshake failed because the client had no certificate that is believed.
fn is_of_client_cert(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_))
}

/// A fatal alert of TLS 1.2, which TLS 1.3 sends in the same bytes (RFC 8446 §5.1, §6, RFC 6066 §3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// The interval in which a connection that waits for a place has others asked for theirs: they may have come to rest.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// The bytes of an answer that are encrypted ahead of the socket; large answers have more (`ahead`).
const SEND_AHEAD: usize = UNRESERVED;
