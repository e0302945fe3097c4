//! How certificates are got from authorities that speak ACME (RFC 8555).
//!
//! Never here: asking for one, or when.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use super::setting_types::Challenge;

/// The settings of ACME.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Acme {
    /// The directory URLs of the authorities, in the order in which they are tried.
    pub(crate) authorities: Vec<String>,
    /// The address that an authority may write to.
    pub(crate) email: Option<String>,
    /// The profile that is ordered.
    pub(crate) profile: Option<String>,
    /// A PEM file with roots that authorities' own servers may have, beside those that the machine trusts.
    pub(crate) root: Option<PathBuf>,
    /// A file with two lines: a key id, and the HMAC key of external account binding in base64url.
    pub(crate) eab: Option<PathBuf>,
    /// The program that sets and removes DNS records.
    pub(crate) hook: Option<PathBuf>,
    /// How the control of a name is proved.
    pub(crate) challenge: Challenge,
    /// The program that runs after each new pair.
    pub(crate) renewed: Option<PathBuf>,
    /// The most orders at the same time.
    pub(crate) orders: NonZeroUsize,
    /// The most orders that are begun in a minute.
    pub(crate) orders_per_minute: NonZeroU32,
}

/// The directory of Let's Encrypt, whose certificates browsers accept.
pub(crate) const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// The directory of Let's Encrypt's test authority.
pub(crate) const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";
/// The default of orders at the same time.
pub(crate) const ORDERS: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");
/// The default of orders begun in a minute.
pub(crate) const ORDERS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(30).expect("not zero");

impl Acme {
    /// ACME with these authorities, and the defaults for everything else.
    pub(crate) fn with(authorities: Vec<String>) -> Self {
        Self {
            authorities,
            email: None,
            profile: None,
            root: None,
            eab: None,
            hook: None,
            challenge: Challenge::Auto,
            renewed: None,
            orders: ORDERS,
            orders_per_minute: ORDERS_PER_MINUTE,
        }
    }
}

/// Whether the text says that no authority is asked.
pub(super) fn is_off(text: &str) -> bool {
    matches!(text, "off" | "no" | "false" | "0")
}

/// The directory URL of an authority that a word stands for, or that is written out; authorities are only asked over
/// HTTPS (RFC 8555 §6.1).
pub(crate) fn authority(word: &str) -> Option<String> {
    let url = match word {
        "yes" | "on" | "true" | "1" => LETS_ENCRYPT,
        "staging" => LETS_ENCRYPT_STAGING,
        url => url,
    };
    let uri: http::Uri = url.parse().ok()?;
    let named = uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty());
    named.then(|| url.to_owned())
}
