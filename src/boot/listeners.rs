//! The listening sockets: systemd's where there are any, else the server's own. Never here: accepting connections.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use anyhow::Context;

use crate::acceptor::bind_port;
use crate::control::{self, ControlSocket};
use crate::spec::{PortChoice, Scheme, ServerSpec};

use super::banner;

/// The listeners of the server.
pub(super) struct OpenListeners {
    pub(super) https: Vec<TcpListener>,
    pub(super) http: Vec<TcpListener>,
}

impl OpenListeners {
    /// Takes the sockets of systemd if there are any, else opens the server's own.
    pub(super) fn open(
        spec: &ServerSpec,
        https: Vec<TcpListener>,
        http: Vec<TcpListener>,
    ) -> anyhow::Result<Self> {
        if !https.is_empty() || !http.is_empty() {
            return Ok(Self { https, http });
        }
        match spec.scheme {
            Scheme::Http { port } => {
                Ok(Self { https: Vec::new(), http: bind_port(&spec.listening.bind, port, 80)? })
            }
            Scheme::Https { port, redirect } => {
                let https = bind_port(&spec.listening.bind, port, 443)?;
                let http = redirect.map(|port| bind_redirect(spec, port)).unwrap_or_default();
                Ok(Self { https, http })
            }
        }
    }

    /// The URLs of apps, and of redirects.
    pub(super) fn urls(&self) -> (Vec<String>, Vec<String>) {
        let http = banner::urls("http", 80, &self.http);
        match self.https.is_empty() {
            true => (http, Vec::new()),
            false => (banner::urls("https", 443, &self.https), http),
        }
    }
}

/// Opens the redirect port. A port that cannot be had is no error: redirects are a service to people who type no
/// scheme.
fn bind_redirect(spec: &ServerSpec, port: u16) -> Vec<TcpListener> {
    bind_port(&spec.listening.bind, PortChoice::Given(port), port).unwrap_or_else(|error| {
        tracing::warn!("nothing redirects to HTTPS: {error}");
        Vec::new()
    })
}

/// Takes the control sockets of systemd if there are any, else opens the server's own.
pub(super) fn open_control(
    spec: &ServerSpec,
    inherited: Vec<UnixListener>,
) -> anyhow::Result<Vec<ControlSocket>> {
    if !inherited.is_empty() {
        return inherited.into_iter().map(|listener| Ok(ControlSocket::inherited(listener)?)).collect();
    }
    if let Some(folder) = spec.control_socket.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Ok(vec![control::bind(&spec.control_socket)?])
}
