//! Owns the TLS settings of the listeners: versions, ALPN, tickets, and the one crypto provider.
//!
//! Never here: certificates themselves, which the [`CertResolver`] gives at each handshake, or which settings a
//! handshake has (`handshakes`).

use std::sync::{Arc, LazyLock};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use super::{CertResolver, TicketKeys};

/// The settings of handshakes that ask for no client certificate.
pub(super) fn server_config(
    resolver: Arc<CertResolver>,
    tickets: TicketKeys,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = config_with(resolver, WebPkiClientVerifier::no_client_auth())?;
    config.ticketer = Arc::new(tickets);
    Ok(Arc::new(config))
}

/// The settings that all handshakes have, without tickets.
pub(super) fn config_with(
    resolver: Arc<CertResolver>,
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"http/1.0".to_vec()];
    // The server chooses: the strongest cipher that both sides have.
    config.ignore_client_order = true;
    // Tickets carry the session. A session cache would be a lock that all cores share, for clients without tickets.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    config.send_half_rtt_data = false;
    Ok(config)
}

/// The crypto provider. Each caller asks for it here: a process-wide default would be a second way to choose one.
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
        let config = server_config(resolver, TicketKeys::new(None, now()).unwrap()).unwrap();
        assert!(config.ticketer.enabled());
        assert!(!config.session_storage.can_cache());
        assert_eq!(config.max_early_data_size, 0);
        assert!(!config.send_half_rtt_data);
    }
}
