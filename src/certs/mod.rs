//! Owns the server's certificates: where certificates come from, which one answers for a name, and when each is
//! renewed.
//!
//! Never here: accepting connections. The data path sees one [`HandshakeSettings`] and, through it, the
//! [`CertResolver`].
//!
//! ```text
//! issuer/: files │ folder │ imported │ acme_store │ mkcert or self_signed ──keeper──▶ resolver ◀── rustls, by SNI
//!                                      host_certs (self-signed, one for each host, at its first handshake) ──┘
//! ```
//!
//! # One default certificate, and one for each host
//!
//! A single certificate with every host in it stops working at a few thousand names, tells each visitor all the
//! others, and turns into another one whenever a host comes or goes, which costs people the exception they clicked
//! for in their browsers. So the self-signed default certificate names localhost and the addresses (clients send no
//! SNI for those), and each registered host has one of its own, made at its first handshake: that takes 0.1 ms,
//! once, less than the handshake does, and 100,000 hosts that nobody visits cost nothing.

mod cert_entry;
mod cert_keeper;
mod cert_table;
mod certificate;
mod client_auth;
mod expiry;
mod file_marks;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub(crate) mod fuzzing;
mod handshakes;
mod host_cert_store;
mod host_certs;
mod inspect;
mod issuer;
mod reasons;
mod resolver;
mod self_made;
#[cfg(test)]
mod testing;
mod tickets;
mod tls;

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) use cert_keeper::{CertKeeper, CertKeeperParts, ServedCert};
pub(crate) use certificate::CertificateError;
pub(crate) use client_auth::ClientAuthorities;
pub(crate) use handshakes::{HandshakeChoice, HandshakeSettings};
pub(crate) use inspect::inspect;
pub(crate) use issuer::{MkcertError, pem_files_below};
pub(crate) use resolver::CertResolver;
pub(crate) use tickets::TicketKeys;

/// Why a certificate was not obtained.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertError {
    /// A named file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The file system's error.
        source: io::Error,
    },
    /// A named file or folder exists, but the server's user may not read it.
    #[error(
        "cannot read `{}`: the user that this server runs as has no right to; give its group the right (`chgrp` and \
         `chmod 640`, for folders 750), or have systemd hand the file over by `LoadCredential=` in a drop-in of the unit, \
         as SPEC.md §10 shows",
        path.display()
    )]
    Forbidden {
        /// The file or folder.
        path: PathBuf,
        /// The file system's error.
        source: io::Error,
    },
    /// The contents of a file are not a certificate with its key.
    #[error("`{}` is not usable", path.display())]
    Invalid {
        /// The file at fault.
        path: PathBuf,
        /// The fault of the file.
        source: CertificateError,
    },
    /// A certificate of a folder whose key is in no file of the folder.
    #[error("`{}` has a certificate, and no file that can be read in its folder has the private key of it", path.display())]
    NoKey {
        /// The file with the certificate.
        path: PathBuf,
    },
    /// The file with authorities of client certificates, or with lists of revoked ones, is of no use.
    #[error("`{}` is of no use for client certificates: {why}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// The fault of the file.
        why: String,
    },
    /// The folder for certificates, or a file in it, cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The folder or file.
        path: PathBuf,
        /// The file system's error.
        source: io::Error,
    },
    /// A self-signed certificate could not be made.
    #[error("cannot make a self-signed certificate")]
    SelfSigned(#[source] rcgen::Error),
    /// A certificate that was just made cannot be used.
    #[error("a certificate that was just made is not usable")]
    Made(#[source] CertificateError),
    /// mkcert made no certificate.
    #[error("mkcert made no certificate")]
    Mkcert(#[from] MkcertError),
    /// The task of the attempt broke.
    #[error("the attempt to obtain a certificate was cut short")]
    Interrupted(#[source] tokio::task::JoinError),
}

impl CertError {
    /// Whether a file or folder is at fault that an operator has named.
    pub(crate) fn is_of_what_was_given(&self) -> bool {
        match self {
            Self::Read { .. }
            | Self::Forbidden { .. }
            | Self::Invalid { .. }
            | Self::NoKey { .. }
            | Self::Authority { .. } => true,
            Self::Write { .. }
            | Self::SelfSigned(_)
            | Self::Made(_)
            | Self::Mkcert(_)
            | Self::Interrupted(_) => false,
        }
    }

    fn unreadable(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Forbidden { path, source },
            _ => Self::Read { path, source },
        }
    }
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
