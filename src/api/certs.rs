//! Owns what the control socket says of certificates: the one of each host, its renewal, and what stands in its way.
//!
//! Never here: getting or reading certificates.

use serde::{Deserialize, Serialize};

use crate::name::HostName;

/// The certificates of all hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CertList {
    /// Always true.
    pub(crate) ok: bool,
    /// By host.
    pub(crate) certificates: Vec<HostCertificate>,
}

/// The certificate that clients of a host get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HostCertificate {
    /// The host.
    pub(crate) host: HostName,
    /// Where it is from: `files`, `folder`, `imported`, `acme`, `mkcert` or `self-signed`.
    pub(crate) source: String,
    /// The names in it; none when it is made at the host's first handshake.
    pub(crate) names: Vec<String>,
    /// Who signed it, as it says itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    /// Its serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) serial: Option<String>,
    /// Seconds since it became valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) age: Option<u64>,
    /// Seconds until it expires; negative when it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_in: Option<i64>,
    /// The directory URL of the authority that the pair in the store is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) authority: Option<String>,
    /// Who renews it, and when or why not, in a sentence.
    pub(crate) renewal: String,
    /// Seconds until it is renewed, or tried again after a failure; none when nobody here renews it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) renew_in: Option<u64>,
    /// Whether an order is under way.
    #[serde(default)]
    pub(crate) ordering: bool,
    /// Why there is no better one, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// That a host is to get a new certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RenewCert {
    /// Also while an authority wants to be left alone, or too many orders were begun.
    #[serde(default)]
    pub(crate) force: bool,
}

/// Progress of a renewal; the last line is `renewed` or `failed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum RenewEvent {
    /// An authority is asked.
    Ordering {
        /// The host.
        host: HostName,
    },
    /// The new pair is in the store, and not yet in use.
    Issued {
        /// The host.
        host: HostName,
    },
    /// The new pair is in use.
    Renewed {
        /// It.
        certificate: Box<HostCertificate>,
    },
    /// Nothing has changed.
    Failed {
        /// The host.
        host: HostName,
        /// Why, in plain words.
        reason: String,
    },
}

/// A pair to be taken in, PEM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportCert {
    /// The chain, the host's own certificate first.
    pub(crate) cert: String,
    /// The private key.
    pub(crate) key: String,
}

/// What an order for a host would meet. Nothing is ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CertPlan {
    /// The host.
    pub(crate) host: HostName,
    /// Whether nothing that was looked at stands in the way.
    pub(crate) ready: bool,
    /// What was looked at, in the order in which an order would meet it.
    pub(crate) checks: Vec<PlanCheck>,
    /// What was not looked at, a sentence each.
    pub(crate) not_checked: Vec<String>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlanCheck {
    /// `settings`, `source`, `name`, `authority`, `challenge`, `address`, `port80`, `port443`, `caa` or `limits`.
    pub(crate) check: String,
    /// What it came to.
    pub(crate) result: CheckResult,
    /// What was found, in a sentence.
    pub(crate) text: String,
}

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CheckResult {
    /// Nothing stands in the way.
    Ok,
    /// It may be in the way.
    Doubtful,
    /// An order would fail.
    Bad,
}
