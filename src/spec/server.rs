//! The server as it is to run, whatever apps it has.
//!
//! Never here: opening a port or a file.

use std::path::PathBuf;
use std::time::Duration;

use super::acme::Acme;
use super::setting_types::PortChoice;
use super::settings::table::{
    ClientCerts, FileSettings, Limits, ListenSettings, LogSettings, Sandbox, TlsSettings, UnitSettings,
};
use crate::name::{HostName, InstanceName};

/// The server itself, whatever apps it runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServerSpec {
    /// Its name.
    pub(crate) instance: InstanceName,
    /// What it listens for.
    pub(crate) scheme: Scheme,
    /// Where certificates come from.
    pub(crate) certs: CertSources,
    /// The client certificates that hosts ask for whose app does not say otherwise.
    pub(crate) client: ClientCerts,
    /// Certificates of authorities; `None`: off.
    pub(crate) acme: Option<Acme>,
    /// Sockets and other run-time files.
    pub(crate) runtime_dir: PathBuf,
    /// Registry, certificates, spool files.
    pub(crate) state_dir: PathBuf,
    pub(crate) control_socket: PathBuf,
    /// Listening, beside the ports.
    pub(crate) listening: ListenSettings,
    /// TLS, beside the certificates.
    pub(crate) tls: TlsSettings,
    pub(crate) log: LogSettings,
    /// Files, beside the folders.
    pub(crate) files: FileSettings,
    pub(crate) units: UnitSettings,
    /// Limits before routing.
    pub(crate) limits: Limits,
    /// What the units of workers may do.
    pub(crate) sandbox: Sandbox,
}

/// What the main listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// HTTPS, with a second listener that redirects.
    Https {
        port: PortChoice,
        /// The port on which plain HTTP is redirected; `None`: none.
        redirect: Option<u16>,
    },
    /// Plain HTTP only.
    Http { port: PortChoice },
}

/// Where certificates come from: for each host the first of these that has one for it. The last is the server itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CertSources {
    /// A pair for its own names, and for clients that name no host.
    pub(crate) files: Option<CertFiles>,
    /// A folder of pairs, found by what the certificates say.
    pub(crate) folder: Option<PathBuf>,
    /// The folder that the ACME agent leaves its pairs in; it may come later.
    pub(crate) acme_store: Option<PathBuf>,
    /// mkcert, when it is installed.
    pub(crate) mkcert: bool,
    /// The host whose certificate is for clients that name none, and for unknown names.
    pub(crate) default: Option<HostName>,
}

/// A certificate and its key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// The `Strict-Transport-Security` field (RFC 6797) of HTTPS answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hsts {
    /// How long a browser remembers.
    pub(crate) max_age: Duration,
    /// Whether sub-domains are meant too.
    pub(crate) subdomains: bool,
}

impl TlsSettings {
    /// The field that is sent; `None`: none.
    pub(crate) fn hsts(&self) -> Option<Hsts> {
        self.hsts.then_some(Hsts { max_age: self.hsts_max_age, subdomains: self.hsts_subdomains })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessFormat {
    Off,
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

impl LogSettings {
    pub(crate) fn access_log(&self) -> AccessFormat {
        match (self.access, self.json) {
            (false, _) => AccessFormat::Off,
            (true, true) => AccessFormat::Json,
            (true, false) => AccessFormat::Human,
        }
    }
}

impl Limits {
    /// Bytes that all spool files together may hold, of request bodies and answers.
    pub(crate) fn spool(&self) -> u64 {
        self.spool.unwrap_or(LEAST_SPOOL)
    }

    /// Where nobody has said how much spool files may hold: who is alone gets half, in which two bodies of this size,
    /// the largest that an app takes, find a place.
    pub(crate) fn spool_for(&mut self, largest_body: u64) {
        self.spool.get_or_insert(largest_body.saturating_mul(4).max(LEAST_SPOOL));
    }

    /// Spool files take space of `spool` in steps of so many bytes: there are at most 8192 of them.
    pub(crate) fn spool_step(&self) -> u64 {
        (self.spool() / SPOOL_FILES).max(LEAST_SPOOL_STEP)
    }
}

/// The most spool files that there may be at a time: each takes a descriptor.
const SPOOL_FILES: u64 = 8192;
const LEAST_SPOOL_STEP: u64 = 512 << 10;
/// Bytes of spool files in all, unless bodies may be so large that this is too little.
const LEAST_SPOOL: u64 = 4 << 30;
