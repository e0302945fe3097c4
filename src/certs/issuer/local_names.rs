//! Owns the names of the certificate that answers for the machine itself.
//!
//! Never here: making one.

use std::collections::BTreeSet;

use crate::name::HostName;

/// The names of this machine, and those of `others`, as many as one certificate may have.
pub(super) fn with_local(others: Vec<HostName>) -> Vec<HostName> {
    let local: Vec<HostName> = LOCAL.iter().filter_map(|name| HostName::parse(name).ok()).collect();
    let others: BTreeSet<HostName> = others.into_iter().filter(|host| !local.contains(host)).collect();
    if others.len() > MAX_HOSTS {
        tracing::warn!(
            hosts = others.len(),
            "a certificate names {MAX_HOSTS} hosts at most; the others are left out"
        );
    }
    local.into_iter().chain(others.into_iter().take(MAX_HOSTS)).collect()
}

const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// The most names beside the machine's own: some clients refuse certificates with more than 100 names.
const MAX_HOSTS: usize = 97;

#[cfg(test)]
mod tests {
    use crate::certs::testing::hosts;

    use super::*;

    #[test]
    fn the_names_of_this_machine_come_first_and_none_comes_twice() {
        let names = with_local(hosts(&["10.0.0.1", "localhost", "::1"]));
        assert_eq!(names, hosts(&["localhost", "127.0.0.1", "::1", "10.0.0.1"]));
    }

    #[test]
    fn a_certificate_stays_small_whatever_is_registered() {
        let many: Vec<_> = (0..=255).map(|n| format!("10.0.0.{n}").parse().unwrap()).collect();
        assert_eq!(with_local(many).len(), 100);
    }
}
