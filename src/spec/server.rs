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
    /// The instance's name.
    pub(crate) instance: InstanceName,
    /// The protocol of the main listener.
    pub(crate) scheme: Scheme,
    /// Where certificates come from.
    pub(crate) certs: CertSources,
    /// The client certificates that hosts ask for unless their app says otherwise.
    pub(crate) client: ClientCerts,
    /// The settings of ACME; `None`: off.
    pub(crate) acme: Option<Acme>,
    /// The folder for sockets and other run-time files.
    pub(crate) runtime_dir: PathBuf,
    /// The folder for registry, certificates and spool files.
    pub(crate) state_dir: PathBuf,
    pub(crate) control_socket: PathBuf,
    /// The settings of listening, without the ports.
    pub(crate) listening: ListenSettings,
    /// The settings of TLS, without the certificates.
    pub(crate) tls: TlsSettings,
    pub(crate) log: LogSettings,
    /// The settings of files, without the folders.
    pub(crate) files: FileSettings,
    pub(crate) units: UnitSettings,
    /// The limits that hold before a request is routed.
    pub(crate) limits: Limits,
    /// The rights of the workers' units.
    pub(crate) sandbox: Sandbox,
}

/// The protocol of the main listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// HTTPS, with a second listener that redirects.
    Https {
        port: PortChoice,
        /// The port on which plain HTTP is redirected; `None`: no redirects.
        redirect: Option<u16>,
    },
    /// Plain HTTP only.
    Http { port: PortChoice },
}

/// Where certificates come from. A host gets its certificate from the first source that has one for it; the last one is
/// the server itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CertSources {
    /// The pair of two files, which answers for its own names and for clients that name no host.
    pub(crate) files: Option<CertFiles>,
    /// A folder of pairs, which are found by what the certificates say.
    pub(crate) folder: Option<PathBuf>,
    /// The folder in which the ACME agent leaves its pairs; it may come later.
    pub(crate) acme_store: Option<PathBuf>,
    /// Whether mkcert is used, when it is installed.
    pub(crate) mkcert: bool,
    /// The host whose certificate clients get that name no host, or an unknown one.
    pub(crate) default: Option<HostName>,
}

/// The files of a certificate and its key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// The `Strict-Transport-Security` field (RFC 6797) of HTTPS answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hsts {
    /// How long a browser remembers the field.
    pub(crate) max_age: Duration,
    /// Whether the field holds for sub-domains too.
    pub(crate) subdomains: bool,
}

impl TlsSettings {
    /// The field that is sent; `None`: no field.
    pub(crate) fn hsts(&self) -> Option<Hsts> {
        self.hsts.then_some(Hsts { max_age: self.hsts_max_age, subdomains: self.hsts_subdomains })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessFormat {
    Off,
    /// Lines for people.
    Human,
    /// Records are JSON objects, one a line.
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
    /// The most bytes of all spool files together, of request bodies and answers.
    pub(crate) fn spool(&self) -> u64 {
        self.spool.unwrap_or(LEAST_SPOOL)
    }

    /// Sets the total of spool files where no setting does: a client that is alone gets half of it, which has room for
    /// two bodies of this size, the largest that an app takes.
    pub(crate) fn spool_for(&mut self, largest_body: u64) {
        self.spool.get_or_insert(largest_body.saturating_mul(4).max(LEAST_SPOOL));
    }

    /// The step, in bytes, in which spool files take space of `spool`, so that there are at most 8192 of them.
    pub(crate) fn spool_step(&self) -> u64 {
        (self.spool() / SPOOL_FILES).max(LEAST_SPOOL_STEP)
    }
}

/// The most spool files at a time, because each takes a descriptor.
const SPOOL_FILES: u64 = 8192;
const LEAST_SPOOL_STEP: u64 = 512 << 10;
/// The least default total of spool files, in bytes.
const LEAST_SPOOL: u64 = 4 << 30;
