//! Owns the server's certificates: where they come from, which one answers for a name, when each is renewed.
//!
//! Never here: accepting connections. The data path sees one [`server_config`] and, through it, the
//! [`CertResolver`].
//!
//! ```text
//! files │ mkcert │ self-signed ──origin──▶ entry (states) ──keeper──▶ resolver ◀── rustls, by SNI
//!                       hosts (self-signed, one for each registered host, made when first asked for) ──┘
//! ```
//!
//! # One default certificate, and one for each host
//!
//! A single certificate with every host in it stops working at a few thousand names, tells each visitor all the
//! others, and turns into another one whenever a host comes or goes, which costs people the exception they clicked
//! for in their browsers. So the self-signed default certificate names localhost and the addresses (clients send no
//! SNI for those), and each registered host has one of its own, made at its first handshake: that takes 0.1 ms,
//! once, less than the handshake does, and 100,000 hosts that nobody visits cost nothing.

mod agent_pairs;
mod certificate;
mod entry;
mod files;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod hosts;
mod inspect;
mod keeper;
mod kept;
mod local;
mod mkcert;
mod origin;
mod reasons;
mod resolver;
#[cfg(test)]
mod testing;
mod tls;

use std::error::Error;
use std::io;
use std::path::PathBuf;

pub use certificate::CertificateError;
pub use inspect::{Inspected, inspect};
pub use keeper::{Keeper, KeeperParts};
pub use mkcert::MkcertError;
pub use reasons::{Instead, KeyFlaw};
pub use resolver::CertResolver;
pub use tls::server_config;

/// Why a certificate was not obtained.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// A file that was named cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// What was read is not a certificate with its key.
    #[error("`{}` is not usable", path.display())]
    Invalid {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// The folder for certificates, or a file in it, cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The folder or file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A self-signed certificate could not be made.
    #[error("cannot make a self-signed certificate")]
    SelfSigned(#[source] rcgen::Error),
    /// What was just made is not usable.
    #[error("a certificate that was just made is not usable")]
    Made(#[source] CertificateError),
    /// mkcert made none.
    #[error("mkcert made no certificate")]
    Mkcert(#[from] MkcertError),
    /// The attempt itself broke.
    #[error("the attempt to obtain a certificate was cut short")]
    Interrupted(#[source] tokio::task::JoinError),
}

/// An error with all its causes, in one sentence for the log and the status.
fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
