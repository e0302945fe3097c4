//! Owns how each handshake goes on: with a certificate or not at all, and which client certificates it asks for.
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

/// What handshakes are shaken by.
pub(crate) struct HandshakeSettings {
    resolver: Arc<CertResolver>,
    directory: Directory,
    authorities: Arc<ClientAuthorities>,
    /// What is asked of clients that name no host that an app has.
    client: ClientCerts,
    config: Arc<ServerConfig>,
}

/// How a handshake goes on.
pub(crate) struct HandshakeChoice {
    /// Its settings.
    pub(crate) config: Arc<ServerConfig>,
    /// The client certificates that it asks for.
    pub(crate) client: Option<Arc<ClientAuthority>>,
}

impl HandshakeSettings {
    /// TLS 1.2 and 1.3, h2 before http/1.1 before http/1.0, tickets by these keys, no early data (it can be replayed).
    /// `client`: what is asked of clients that name no host.
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

    /// How the handshake goes on that a client has begun so, to this address of the machine; `None`: it asks for a name
    /// that is none of this server's, or for a host whose client certificates cannot be checked.
    pub(crate) fn choose(&self, hello: &ClientHello<'_>, local: IpAddr) -> Option<HandshakeChoice> {
        let name = hello.server_name();
        if self.resolver.refuses(name) {
            return None;
        }
        let routes = match (name, local.to_canonical()) {
            (Some(name), _) => self.directory.lookup(name),
            // Who asks for an address names none (RFC 6066 §3), and most likely means the one that it has connected to.
            (None, IpAddr::V4(local)) => self.directory.lookup(&local.to_string()),
            (None, IpAddr::V6(local)) => self.directory.lookup(&format!("[{local}]")),
        };
        let routes = routes.as_ref().map(HostRoutes::all).unwrap_or_default();
        let rules: Vec<_> = routes.iter().rev().map(|route| route.app.rules.load_full()).collect();
        // Of several apps that one counts which asks and has the shortest path: the others answer no request of a
        // handshake that has not asked for what they want.
        let asking = rules.iter().find(|rules| rules.client.are_asked_for()).or(rules.first());
        let asked = asking.map_or(&self.client, |rules| &rules.client);
        if !asked.are_asked_for() {
            return Some(HandshakeChoice { config: Arc::clone(&self.config), client: None });
        }
        let authority = self.authorities.of(asked)?;
        Some(HandshakeChoice { config: authority.config(), client: Some(authority) })
    }
}
