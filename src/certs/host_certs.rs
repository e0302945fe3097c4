//! Owns the self-signed certificates of registered hosts: one each, made at the host's first handshake.
//!
//! Never here: the default certificate, or writing to the disk; the keeper gets each certificate that was made.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use rustls::sign::CertifiedKey;
use tokio::sync::mpsc;

use crate::directory::Directory;
use crate::name::HostName;
use crate::time::WallClock;

use super::certificate::Certificate;
use super::self_made::{self, Made};

/// The certificates of hosts that somebody has visited.
pub(super) struct HostCertificates {
    directory: Directory,
    clock: WallClock,
    /// The certificates by host. Handshakes hold the lock for a look-up; a new host writes. A map that is swapped as a
    /// whole would be copied for each new host.
    kept: RwLock<HashMap<HostName, HostCert>>,
    /// Takes made certificates to the keeper. A full channel only means that the host gets another certificate after a
    /// restart.
    made: mpsc::Sender<(HostName, Made)>,
}

struct HostCert {
    certificate: Certificate,
    /// Whether the host was registered at any time since the start: certificates are read from the disk before hosts
    /// are registered.
    registered: bool,
}

impl HostCertificates {
    /// Starts with what was read from the disk; certificates that are made go to `made`.
    pub(super) fn new(
        directory: Directory,
        clock: WallClock,
        loaded: Vec<(HostName, Certificate)>,
        made: mpsc::Sender<(HostName, Made)>,
    ) -> Self {
        let kept = loaded
            .into_iter()
            .map(|(host, certificate)| (host, HostCert { certificate, registered: false }))
            .collect();
        Self { directory, clock, kept: RwLock::new(kept), made }
    }

    /// The key for an SNI name that is a registered host or under a registered wildcard. The key's certificate has not
    /// expired.
    pub(super) fn key_for(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let host = self.host_of(name)?;
        let now = self.clock.now();
        if let Some(kept) = self.read().get(&host)
            && kept.certificate.is_good(now)
        {
            return Some(Arc::clone(&kept.certificate.key));
        }
        self.make(&host, now).map(|certificate| certificate.key)
    }

    /// The host whose certificate answers for an SNI name. `localhost` has one, registered or not, for people at the
    /// machine.
    fn host_of(&self, name: &str) -> Option<HostName> {
        match self.directory.lookup(name) {
            Some(routes) => Some(routes.host().clone()),
            None if name == LOCALHOST => HostName::parse(LOCALHOST).ok(),
            None => None,
        }
    }

    /// Every host that has a certificate, in no order.
    pub(super) fn names(&self) -> Vec<HostName> {
        self.read().keys().cloned().collect()
    }

    /// Makes another certificate for every host whose certificate is due; the old one stays where none can be made.
    pub(super) fn renew(&self, now: SystemTime) {
        let due: Vec<HostName> = self
            .read()
            .iter()
            .filter(|(_, kept)| kept.certificate.renew_at() <= now)
            .map(|(host, _)| host.clone())
            .collect();
        for host in due {
            self.make(&host, now);
        }
    }

    /// Forgets the certificates of hosts that are no longer registered, and returns those hosts.
    pub(super) fn forget_unregistered(&self) -> Vec<HostName> {
        let mut gone = Vec::new();
        self.write().retain(|host, kept| {
            let registered = self.host_of(host.as_str()).as_ref() == Some(host);
            let stays = registered || !kept.registered;
            kept.registered |= registered;
            if !stays {
                gone.push(host.clone());
            }
            stays
        });
        gone
    }

    /// Every certificate, in no order.
    pub(super) fn all(&self) -> Vec<Certificate> {
        self.read().values().map(|kept| kept.certificate.clone()).collect()
    }

    /// Makes a certificate for a host. Two cores may do so at the same time; the first good one stays, and both show
    /// it.
    fn make(&self, host: &HostName, now: SystemTime) -> Option<Certificate> {
        let made = match self_made::self_signed(std::slice::from_ref(host), now) {
            Ok(made) => made,
            Err(error) => {
                tracing::warn!(%host, %error, "cannot make a certificate for a host");
                return None;
            }
        };
        let mut kept = self.write();
        if let Some(first) = kept.get(host)
            && first.certificate.is_good(now)
            && now < first.certificate.renew_at()
        {
            return Some(first.certificate.clone());
        }
        let certificate = made.certificate.clone();
        kept.insert(host.clone(), HostCert { certificate: certificate.clone(), registered: true });
        drop(kept);
        if self.made.try_send((host.clone(), made)).is_err() {
            tracing::debug!(%host, "a certificate was made and is not kept on the disk");
        }
        Some(certificate)
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<HostName, HostCert>> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<HostName, HostCert>> {
        self.kept.write().unwrap_or_else(PoisonError::into_inner)
    }
}

const LOCALHOST: &str = "localhost";

#[cfg(test)]
mod tests {
    use super::super::testing::{DAY, hosts, now, register};
    use super::*;

    struct Case {
        directory: Directory,
        certificates: HostCertificates,
        made: mpsc::Receiver<(HostName, Made)>,
    }

    fn case(loaded: &[&str], at: SystemTime) -> Case {
        let directory = Directory::new();
        let (sender, made) = mpsc::channel(8);
        let loaded = hosts(loaded)
            .into_iter()
            .map(|host| (host.clone(), self_made::self_signed(&[host], now()).unwrap().certificate))
            .collect();
        let certificates = HostCertificates::new(directory.clone(), WallClock::fixed(at), loaded, sender);
        Case { directory, certificates, made }
    }

    #[test]
    fn a_registered_host_gets_one_at_first_sight_and_keeps_it() {
        let mut case = case(&[], now());
        register(&case.directory, "a.example");

        let first = case.certificates.key_for("a.example").unwrap();

        assert!(Arc::ptr_eq(&first, &case.certificates.key_for("a.example").unwrap()));
        let (host, made) = case.made.try_recv().unwrap();
        assert_eq!((host.as_str(), &*made.certificate.names), ("a.example", &hosts(&["a.example"])[..]));
        assert!(case.made.try_recv().is_err());
    }

    #[test]
    fn what_is_not_registered_gets_none() {
        let case = case(&["a.example"], now());
        register(&case.directory, "b.example");
        for name in ["a.example", "x.b.example", "example"] {
            assert!(case.certificates.key_for(name).is_none(), "{name}");
        }
    }

    #[test]
    fn hosts_under_a_wildcard_share_its_certificate() {
        let case = case(&[], now());
        register(&case.directory, "*.a.example");
        let [one, two] = ["one", "two"].map(|label| case.certificates.key_for(&format!("{label}.a.example")));
        assert!(Arc::ptr_eq(&one.unwrap(), &two.unwrap()));
        assert_eq!(*case.certificates.all()[0].names, hosts(&["*.a.example"]));
    }

    #[test]
    fn an_expired_one_is_never_shown() {
        let case = case(&["a.example"], now() + 400 * DAY);
        register(&case.directory, "a.example");
        let old = Arc::clone(&case.certificates.all()[0].key);

        assert!(!Arc::ptr_eq(&old, &case.certificates.key_for("a.example").unwrap()));

        assert!(case.certificates.all()[0].is_good(now() + 400 * DAY));
    }

    #[test]
    fn those_that_are_due_are_made_anew_and_the_others_stay() {
        let mut case = case(&["a.example"], now() + 300 * DAY);
        register(&case.directory, "b.example");
        let young = case.certificates.key_for("b.example").unwrap();
        case.made.try_recv().unwrap();

        case.certificates.renew(now() + 300 * DAY);

        assert_eq!(case.made.try_recv().unwrap().0.as_str(), "a.example");
        assert!(case.made.try_recv().is_err());
        assert!(Arc::ptr_eq(&young, &case.certificates.key_for("b.example").unwrap()));
    }

    #[test]
    fn hosts_that_left_are_forgotten_but_not_those_that_have_yet_to_come() {
        let case = case(&["loaded.example"], now());
        register(&case.directory, "a.example");
        case.certificates.key_for("a.example").unwrap();
        assert_eq!(case.certificates.forget_unregistered(), []);

        register(&case.directory, "loaded.example");
        assert_eq!(case.certificates.forget_unregistered(), []);
        for host in hosts(&["a.example", "loaded.example"]) {
            case.directory.remove(&host.clone().into());
        }

        let mut gone = case.certificates.forget_unregistered();
        gone.sort();
        assert_eq!(gone, hosts(&["a.example", "loaded.example"]));
        assert!(case.certificates.all().is_empty());
    }

    #[test]
    fn many_cores_at_once_agree_on_one() {
        let case = case(&[], now());
        register(&case.directory, "a.example");
        let keys: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| case.certificates.key_for("a.example").unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| Arc::ptr_eq(key, &keys[0])));
    }
}
