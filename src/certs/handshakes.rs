//! Owns how each handshake goes on: with which certificate, if any, and which client certificates it asks for.
//!
//! Never here: the settings that all handshakes share (`tls`), or shaking hands.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::ClientHello;

use crate::directory::{Directory, HostRoutes};
use crate::spec::ClientCerts;

use super::client_auth::{ClientAuthorities, ClientAuthority};
use super::{CertResolver, TicketKeys, tls};

/// The settings of handshakes, for each host.
pub(crate) struct HandshakeSettings {
    resolver: Arc<CertResolver>,
    directory: Directory,
    authorities: Arc<ClientAuthorities>,
    /// The client certificates that are asked of clients that name no host of an app.
    client: ClientCerts,
    config: Arc<ServerConfig>,
}

/// How a handshake goes on.
pub(crate) struct HandshakeChoice {
    /// The TLS settings of the handshake.
    pub(crate) config: Arc<ServerConfig>,
    /// The authorities whose client certificates the handshake asks for.
    pub(crate) client: Option<Arc<ClientAuthority>>,
}

impl HandshakeSettings {
    /// Settings for TLS 1.2 and 1.3, with h2 before http/1.1 before http/1.0, tickets by these keys, and no early data
    /// (which can be replayed). `client`: the certificates that are asked of clients that name no host.
    ///
    /// # Errors
    /// When the settings contradict each other, which they never do.
    pub(crate) fn new(
        resolver: Arc<CertResolver>,
        directory: Directory,
        authorities: Arc<ClientAuthorities>,
        client: ClientCerts,
        tickets: TicketKeys,
    ) -> Result<Self, rustls::Error> {
        let config = tls::server_config(Arc::clone(&resolver), tickets)?;
        Ok(Self { resolver, directory, authorities, client, config })
    }

    /// How a handshake goes on that a client has begun with `hello`, to the machine's address `local`. `None`: the
    /// client asks for a name that is none of this server's, or for a host whose client certificates cannot be checked.
    pub(crate) fn choose(&self, hello: &ClientHello<'_>, local: IpAddr) -> Option<HandshakeChoice> {
        let name = hello.server_name();
        if self.resolver.refuses(name) {
            return None;
        }
        let routes = match (name, local.to_canonical()) {
            (Some(name), _) => self.directory.lookup(name),
            // A client that asks for an address sends no name (RFC 6066 §3), and most likely means the address that it
            // has connected to.
            (None, IpAddr::V4(local)) => self.directory.lookup(&local.to_string()),
            (None, IpAddr::V6(local)) => self.directory.lookup(&format!("[{local}]")),
        };
        let routes = routes.as_ref().map(HostRoutes::all).unwrap_or_default();
        let rules: Vec<_> = routes.iter().rev().map(|route| route.app.rules.load_full()).collect();
        // Where a host has several apps, the one counts that asks for certificates and has the shortest path: the
        // others refuse requests whose handshake has not asked for their certificates.
        let asking = rules.iter().find(|rules| rules.client.are_asked_for()).or(rules.first());
        let asked = asking.map_or(&self.client, |rules| &rules.client);
        if !asked.are_asked_for() {
            return Some(HandshakeChoice { config: Arc::clone(&self.config), client: None });
        }
        let authority = self.authorities.of(asked)?;
        Some(HandshakeChoice { config: authority.config(), client: Some(authority) })
    }
}
