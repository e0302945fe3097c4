//! Owns the TLS settings of the listeners: versions, ALPN, tickets, and the one crypto provider.
//!
//! Never here: certificates themselves; they are asked of the [`CertResolver`] at each handshake.

use std::sync::{Arc, LazyLock};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::server::{ClientHello, NoServerSessionStorage};

use super::CertResolver;

/// What handshakes are shaken by.
pub struct HandshakeSettings {
    resolver: Arc<CertResolver>,
    config: Arc<ServerConfig>,
}

impl HandshakeSettings {
    /// TLS 1.2 and 1.3, h2 before http/1.1 before http/1.0, tickets whose keys change every six hours, no early data (it
    /// can be replayed).
    ///
    /// # Errors
    /// When the system has no randomness for the ticket keys.
    pub fn new(resolver: Arc<CertResolver>) -> Result<Self, rustls::Error> {
        Ok(Self { config: server_config(Arc::clone(&resolver))?, resolver })
    }

    /// How the handshake goes on that a client has begun so; `None`: it asks for a name that is none of this server's.
    pub fn choose(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        (!self.resolver.refuses(hello.server_name())).then(|| Arc::clone(&self.config))
    }
}

pub(super) fn server_config(resolver: Arc<CertResolver>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"http/1.0".to_vec()];
    config.ticketer = Ticketer::new()?;
    // Tickets carry the session. A cache beside them is a lock that all cores share, for clients without tickets.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    config.send_half_rtt_data = false;
    Ok(Arc::new(config))
}

/// Named wherever it is needed: a process-wide default would be a second way to choose one.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

#[cfg(test)]
mod tests {
    use rustls::server::ResolvesServerCert;

    use super::super::testing::{DAY, Link, Pem, now, resolver};
    use super::*;

    #[test]
    fn http2_is_preferred_whatever_order_the_client_has() {
        let resolver = resolver();
        resolver.show(&[&Pem::new(&["a.example"], now(), now() + DAY).certificate()]);
        assert_eq!(Link::open(&resolver, "a.example").unwrap().alpn(), Some(&b"h2"[..]));
    }

    #[test]
    fn sessions_are_resumed_by_tickets_and_never_with_early_data() {
        let resolver = resolver();
        assert!(!resolver.only_raw_public_keys());
        let config = server_config(resolver).unwrap();
        assert!(config.ticketer.enabled());
        assert!(!config.session_storage.can_cache());
        assert_eq!(config.max_early_data_size, 0);
        assert!(!config.send_half_rtt_data);
    }
}
