//! Owns the messages of the control socket about certificates: the one of each host, its renewal, and what stands in
//! its way.
//!
//! Never here: getting or reading certificates.

use serde::{Deserialize, Serialize};

use crate::name::HostName;

/// The certificates of all hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CertList {
    /// Always true.
    pub(crate) ok: bool,
    /// The certificates, by host.
    pub(crate) certificates: Vec<HostCertificate>,
}

/// The certificate that clients of a host get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HostCertificate {
    pub(crate) host: HostName,
    /// The certificate's source: `files`, `folder`, `imported`, `acme`, `mkcert` or `self-signed`.
    pub(crate) source: String,
    /// The names in the certificate; none when it is made at the host's first handshake.
    pub(crate) names: Vec<String>,
    /// The signer of the certificate, as the certificate names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    /// The serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) serial: Option<String>,
    /// Seconds since the certificate became valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) age: Option<u64>,
    /// Seconds until the certificate expires; negative when it has expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_in: Option<i64>,
    /// The directory URL of the authority that the pair in the store is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) authority: Option<String>,
    /// A sentence that says who renews the certificate and when, or why nobody does.
    pub(crate) renewal: String,
    /// Seconds until the certificate is renewed, or until the next attempt after a failure; none when the server does
    /// not renew it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) renew_in: Option<u64>,
    /// Whether an order is under way.
    #[serde(default)]
    pub(crate) ordering: bool,
    /// Why there is no better certificate, if there is a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// The request for a new certificate of a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RenewCert {
    /// Whether to order also while an authority wants to be left alone, or too many orders were begun.
    #[serde(default)]
    pub(crate) force: bool,
}

/// Progress of a renewal; the last line is `renewed` or `failed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum RenewEvent {
    /// An authority is asked.
    Ordering { host: HostName },
    /// The new pair is in the store, and not yet in use.
    Issued { host: HostName },
    /// The new pair is in use.
    Renewed { certificate: Box<HostCertificate> },
    /// The renewal failed, and nothing has changed.
    Failed {
        host: HostName,
        /// The reason, in plain words.
        reason: String,
    },
}

/// A pair to be taken in, as PEM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportCert {
    /// The chain, the host's own certificate first.
    pub(crate) cert: String,
    /// The private key.
    pub(crate) key: String,
}

/// The plan of an order for a host: the checks that were made. Nothing is ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CertPlan {
    pub(crate) host: HostName,
    /// Whether no check found anything in the way.
    pub(crate) ready: bool,
    /// The checks, in the order in which an order would meet them.
    pub(crate) checks: Vec<PlanCheck>,
    /// The things that were not checked, a sentence each.
    pub(crate) not_checked: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlanCheck {
    /// The check's word: `settings`, `source`, `name`, `authority`, `challenge`, `address`, `port80`, `port443`, `caa`
    /// or `limits`.
    pub(crate) check: String,
    pub(crate) result: CheckResult,
    /// The finding, in a sentence.
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CheckResult {
    /// Nothing stands in the way.
    Ok,
    /// The finding may be in the way of an order.
    Doubtful,
    /// An order would fail.
    Bad,
}
