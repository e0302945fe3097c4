//! From an accepted connection to one that speaks HTTP: the TLS handshake, and which HTTP.
//!
//! Never here: certificates (a rustls resolver brings them).

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::name::HostName;
use crate::timer;

use super::buffer::UNRESERVED;
use super::client_socket::ClientSocket;
use super::client_stream::{ClientStream, Transport};
use super::connection::LINGER;
use super::http1::serve_http1;
use super::http2::serve_http2;
use super::last_route::LastRoute;
use super::listen::Admission;
use super::peer::Peer;
use super::shard::{Connection, Role, Shard};
use super::wire::Wire;

/// An accepted connection.
pub(super) struct Open {
    pub(super) shard: Rc<Shard>,
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) role: Role,
    pub(super) admission: Admission,
}

impl Open {
    /// Serves it to its end, over TLS when there is an acceptor for it.
    pub(super) async fn serve(self, tls: Option<TlsAcceptor>) {
        let Self { shard, stream, peer, local, role, admission } = self;
        let socket = ClientSocket::new(stream);
        let (transport, sni, http2) = match tls {
            None => (Transport::Plain(socket), None, false),
            Some(tls) => {
                // Boxed, as is HTTP/2 below: a connection keeps the room of its task for as long as it lives.
                let Some(stream) = Box::pin(shake(&shard, socket, peer, tls)).await else { return };
                let (_, session) = stream.get_ref();
                let sni = session.server_name().and_then(|name| HostName::parse(name).ok());
                let http2 = session.alpn_protocol() == Some(b"h2");
                (Transport::Tls(stream), sni, http2)
            }
        };
        let now = Instant::now();
        let wire = Wire::new(http2, now, admission);
        let stream = ClientStream::new(transport, Arc::clone(&wire));
        let peer = Peer::new(peer);
        let (requests, last) = (Cell::new(0), LastRoute::default());
        let conn = Rc::new(Connection { shard, role, peer, local, sni, wire, requests, last });
        if http2 { Box::pin(serve_http2(conn, stream)).await } else { serve_http1(conn, stream).await }
    }
}

/// The handshake; `None` when it failed, took too long, or the server ends.
async fn shake(
    shard: &Shard,
    socket: ClientSocket,
    peer: SocketAddr,
    tls: TlsAcceptor,
) -> Option<Box<TlsStream<ClientSocket>>> {
    let shaken = tokio::select! {
        biased;
        shaken = timer::timeout(shard.server.limits.handshake, tls.accept(socket)) => shaken,
        // Who has connected already is served, if that goes quickly.
        () = async {
            shard.stop.requested().await;
            timer::sleep(LINGER).await;
        } => return None,
    };
    match shaken {
        Ok(Ok(mut stream)) => {
            stream.get_mut().1.set_buffer_limit(Some(SEND_AHEAD));
            shard.metrics.tls_handshake("ok");
            Some(Box::new(stream))
        }
        Ok(Err(error)) => {
            // Scanners do this all day: a counter is enough.
            shard.metrics.tls_handshake("failed");
            tracing::debug!(%peer, %error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            shard.metrics.tls_handshake("timeout");
            None
        }
    }
}

/// How much of an answer is encrypted ahead of the socket. Answers that are large have more: see `ahead`.
const SEND_AHEAD: usize = UNRESERVED;
