//! Owns which names can get a certificate of a public authority, and why others cannot.
//!
//! Never here: asking.

use std::fmt;
use std::net::IpAddr;

use crate::name::HostName;
use crate::spec::acme::Acme;

/// Why no authority is asked for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unobtainable {
    /// A name of one label, such as `intranet`.
    SingleLabel,
    /// A name below a domain that is for local use (RFC 6761, RFC 6762, RFC 8375).
    Local,
    /// An address that only its own network can reach.
    PrivateAddress,
    /// An address, where the settings name no profile that has addresses.
    Address,
    /// A wildcard without a way to set DNS records.
    Wildcard,
}

impl Unobtainable {
    /// Why `name` gets no certificate with these settings; `None` when one can be asked for.
    ///
    /// Names that only a private authority can know are asked for when the settings name such an authority.
    pub(super) fn of(name: &HostName, acme: &Acme) -> Option<Self> {
        let private = acme.authorities.iter().any(|url| is_private(url));
        if name.is_wildcard() && acme.hook.is_none() {
            return Some(Self::Wildcard);
        }
        if let Some(address) = name.address() {
            return match is_public(address) {
                _ if address.is_loopback() => Some(Self::PrivateAddress),
                _ if private => None,
                false => Some(Self::PrivateAddress),
                true if acme.profile.is_none() => Some(Self::Address),
                true => None,
            };
        }
        let text = name.as_str();
        let last = text.rsplit('.').next().unwrap_or(text);
        let home = text == "home.arpa" || text.ends_with(".home.arpa");
        if matches!(last, "local" | "localhost") {
            return Some(Self::Local);
        }
        if private {
            return None;
        }
        if !text.contains('.') {
            return Some(Self::SingleLabel);
        }
        (home || RESERVED.contains(&last)).then_some(Self::Local)
    }
}

impl fmt::Display for Unobtainable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SingleLabel => "no authority certifies a name of a single label",
            Self::Local => "no authority certifies a name that is for local use",
            Self::PrivateAddress => "no authority certifies an address of a private network",
            Self::Address => "an address needs a profile that has any: tls.acme_profile = \"shortlived\"",
            Self::Wildcard => "a wildcard needs a program that sets DNS records: tls.acme_hook",
        })
    }
}

/// Whether the authority at this URL is one of the machine or its network: such an authority may know names that others
/// do not.
pub(super) fn is_private(url: &str) -> bool {
    let Some(host) = url.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)) else {
        return false;
    };
    let Ok(name) = HostName::parse(&host) else { return false };
    match name.address() {
        Some(address) => !is_public(address),
        None => {
            let last = host.rsplit('.').next().unwrap_or(&host);
            !host.contains('.') || matches!(last, "local" | "localhost") || RESERVED.contains(&last)
        }
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let shared = first == 100 && (64..128).contains(&second);
            let documentation = v4.is_documentation();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_broadcast()
                || v4.is_multicast()
                || documentation
                || shared
                || first == 0
                || first >= 240)
        }
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000 && v6.segments()[..2] != [0x2001, 0xdb8],
    }
}

/// Top-level domains that no public authority certifies: those of private networks, and those that are not on the
/// internet.
const RESERVED: [&str; 8] = ["internal", "lan", "home", "corp", "test", "example", "invalid", "onion"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::acme::LETS_ENCRYPT;

    fn why_not(name: &str, acme: &Acme) -> Option<Unobtainable> {
        Unobtainable::of(&name.parse().unwrap(), acme)
    }

    #[test]
    fn names_that_no_public_authority_certifies_are_told() {
        let public = Acme::with(vec![LETS_ENCRYPT.into()]);
        for (name, reason) in [
            ("blog.example.com", None),
            ("blog.local", Some(Unobtainable::Local)),
            ("a.localhost", Some(Unobtainable::Local)),
            ("localhost", Some(Unobtainable::Local)),
            ("nas.lan", Some(Unobtainable::Local)),
            ("nas.home.arpa", Some(Unobtainable::Local)),
            ("intranet", Some(Unobtainable::SingleLabel)),
            ("10.1.2.3", Some(Unobtainable::PrivateAddress)),
            ("100.64.0.1", Some(Unobtainable::PrivateAddress)),
            ("[fd00::1]", Some(Unobtainable::PrivateAddress)),
            ("[::1]", Some(Unobtainable::PrivateAddress)),
            ("9.9.9.9", Some(Unobtainable::Address)),
            ("*.example.com", Some(Unobtainable::Wildcard)),
        ] {
            assert_eq!(why_not(name, &public), reason, "{name}");
        }
    }

    #[test]
    fn a_profile_allows_addresses_and_a_hook_wildcards() {
        let mut acme = Acme::with(vec![LETS_ENCRYPT.into()]);
        acme.profile = Some("shortlived".into());
        acme.hook = Some("/usr/local/bin/dns".into());
        assert_eq!(why_not("9.9.9.9", &acme), None);
        assert_eq!(why_not("[2620:fe::9]", &acme), None);
        assert_eq!(why_not("10.0.0.1", &acme), Some(Unobtainable::PrivateAddress));
        assert_eq!(why_not("*.example.com", &acme), None);
    }

    #[test]
    fn a_private_authority_may_know_names_that_others_do_not() {
        for url in [
            "https://localhost:14000/dir",
            "https://ca.internal/acme",
            "https://10.0.0.1/dir",
            "https://ca/dir",
        ] {
            let acme = Acme::with(vec![url.into()]);
            assert_eq!(why_not("blog.example", &acme), None, "{url}");
            assert_eq!(why_not("intranet", &acme), None, "{url}");
            assert_eq!(why_not("10.0.0.1", &acme), None, "{url}");
            assert_eq!(why_not("blog.local", &acme), Some(Unobtainable::Local), "{url}");
        }
    }
}
