//! Connections that a balancer passes on: the PROXY header in front of each is read, and its addresses are believed.
//!
//! A connection has no place and takes from nobody's share before its header has come. Never here: the header's form
//! (`wire/proxy_header`).

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::time::timer;

use super::entrance::Entrance;
use super::tls::{Open, refuse};
use crate::acceptor::connection::deadlines::LINGER;
use crate::acceptor::peer::share_of;
use crate::acceptor::request::setting_notice::is_due;
use crate::acceptor::thread::shard::Shard;
use crate::acceptor::wire::proxy_header::{ProxiedConnection, ProxyHeader, Taken};

/// Serves a connection that is to begin with a PROXY header.
pub(in crate::acceptor) async fn serve(
    shard: Rc<Shard>,
    stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    entrance: Entrance,
) {
    let begun = Instant::now();
    // The future is boxed: the connection has no use for it later.
    let introduced = Box::pin(introduced(&shard, stream, peer, local)).await;
    let Some((stream, peer, local)) = introduced else { return };
    let Some(admission) = entrance.admit(&shard, peer) else { return };
    let handshake = shard.server.limits.handshake.saturating_sub(begun.elapsed());
    let Entrance { role, tls, .. } = entrance;
    Open { shard, stream, peer, local, role, admission, handshake }.serve(tls).await;
}

/// The connection behind its header, and the addresses that hold for it; `None`: it is to be closed.
async fn introduced(
    shard: &Rc<Shard>,
    mut stream: TcpStream,
    proxy: SocketAddr,
    local: SocketAddr,
) -> Option<(TcpStream, SocketAddr, SocketAddr)> {
    if share_of(proxy, &shard.server.trusted).is_some() {
        shard.metrics.connection_refused("proxy-peer");
        if is_due(&PEER_LOGGED) {
            let peer = proxy.ip().to_canonical();
            tracing::warn!(%peer, "a connection is closed: listen.proxy takes PROXY headers from trusted_proxies alone, \
                and it came from {peer}");
        }
        return None;
    }
    let mut waits = shard.server.unintroduced.reserve(None);
    if !waits.grow_to(1) {
        refuse(shard, None);
        return None;
    }
    let reading = timer::timeout(shard.server.limits.handshake, read_header(&mut stream));
    let read = tokio::select! {
        biased;
        read = reading => read.unwrap_or(Err(Unread::Late)),
        // A client that has connected already is still served, if that goes quickly.
        () = async {
            shard.stop.requested().await;
            timer::sleep(LINGER).await;
        } => return None,
    };
    match read {
        Ok(ProxiedConnection::Own) => Some((stream, proxy, local)),
        Ok(ProxiedConnection::Of { client, local }) => Some((stream, client, local)),
        // A balancer that only looks whether the port is open has sent nothing.
        Err(Unread::Closed) => None,
        Err(Unread::Wrong(what)) => refused(shard, proxy, what),
        Err(Unread::Late) => refused(shard, proxy, "did not come in time (limits.handshake)"),
        Err(Unread::Broken) => refused(shard, proxy, "broke off"),
    }
}

fn refused<T>(shard: &Shard, proxy: SocketAddr, what: &str) -> Option<T> {
    shard.metrics.connection_refused("proxy-header");
    if is_due(&HEADER_LOGGED) {
        let peer = proxy.ip().to_canonical();
        tracing::warn!(%peer, "a connection is closed: listen.proxy requires a PROXY header (send-proxy-v2 in HAProxy, \
            `proxy_protocol on` in nginx), and the one of {peer} {what}");
    }
    None
}

/// Why there is no header.
enum Unread {
    /// The peer closed the connection before its first byte.
    Closed,
    Wrong(&'static str),
    Late,
    Broken,
}

/// Reads the header, and nothing of what follows it.
async fn read_header(stream: &mut TcpStream) -> Result<ProxiedConnection, Unread> {
    let mut header = ProxyHeader::default();
    let mut seen = [0; 256];
    loop {
        let there = match stream.peek(&mut seen).await {
            Ok(there) if there > 0 => there,
            _ if !header.has_begun() => return Err(Unread::Closed),
            _ => return Err(Unread::Broken),
        };
        let Taken { length, says } = header.take(&seen[..there]).map_err(Unread::Wrong)?;
        stream.read_exact(&mut seen[..length]).await.map_err(|_| Unread::Broken)?;
        if let Some(says) = says {
            return Ok(says);
        }
    }
}

static PEER_LOGGED: AtomicU64 = AtomicU64::new(0);
static HEADER_LOGGED: AtomicU64 = AtomicU64::new(0);
