//! Owns how a worker is named to its clients: in a text that only this server can write or read.
//!
//! Never here: the cookie that brings the text (`request::sticky`).

use std::io;

use aws_lc_rs::aead::{AES_128_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::digest;
use crate::name::{AppName, InstanceName, WorkerId};

/// Seals the numbers of workers. No text says which worker it means, two of the same worker differ, and none that
/// somebody else has written is read: a client goes back to the worker that it was given, and cannot choose one.
pub(in crate::acceptor) struct WorkerSeal {
    key: RandomizedNonceKey,
}

impl WorkerSeal {
    /// The seal of an instance: the same after a restart of the server, which may find its workers again, and another
    /// one after a boot, which no worker survives.
    ///
    /// # Errors
    /// When no key can be made.
    pub(in crate::acceptor) fn of(instance: &InstanceName) -> io::Result<Self> {
        let read = |path: &str| std::fs::read(path).unwrap_or_default();
        let (boot, machine) = (read("/proc/sys/kernel/random/boot_id"), read("/etc/machine-id"));
        let mut secret = [0; 32];
        if boot.is_empty() {
            // Without a boot's name, the seal lasts as long as the server.
            aws_lc_rs::rand::fill(&mut secret).map_err(io::Error::other)?;
        }
        let parts = [b"sticky clients".as_slice(), &boot, &machine, instance.as_str().as_bytes(), &secret];
        let hash = digest::bytes(&parts);
        let key = RandomizedNonceKey::new(&AES_128_GCM, &hash.as_ref()[..16]).map_err(io::Error::other)?;
        Ok(Self { key })
    }

    /// The text for a worker of an app; `None` when the library fails.
    pub(in crate::acceptor) fn seal(&self, app: &AppName, worker: WorkerId) -> Option<String> {
        let mut sealed = worker.0.to_be_bytes().to_vec();
        let aad = Aad::from(app.as_str().as_bytes());
        let nonce = self.key.seal_in_place_append_tag(aad, &mut sealed).ok()?;
        Some(URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &sealed].concat()))
    }

    /// The worker of an app that a text means; `None`: this seal has not made the text for this app.
    pub(in crate::acceptor) fn open(&self, app: &AppName, text: &[u8]) -> Option<WorkerId> {
        if text.len() != LENGTH {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let worker = self.key.open_in_place(nonce, Aad::from(app.as_str().as_bytes()), sealed).ok()?;
        Some(WorkerId(u64::from_be_bytes((&*worker).try_into().ok()?)))
    }
}

/// The characters of a text: a nonce, a number and a tag in base64.
const LENGTH: usize = (NONCE_LEN + 8 + 16) / 3 * 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(instance: &str) -> WorkerSeal {
        WorkerSeal::of(&InstanceName::parse(instance).unwrap()).unwrap()
    }

    fn app(name: &str) -> AppName {
        AppName::parse(name).unwrap()
    }

    #[test]
    fn what_was_sealed_is_read_by_the_same_instance_for_the_same_app_alone() {
        let (one, again, other) = (seal("one"), seal("one"), seal("other"));
        for worker in [0, 7, u64::MAX].map(WorkerId) {
            let text = one.seal(&app("chat"), worker).unwrap();
            assert_eq!(again.open(&app("chat"), text.as_bytes()), Some(worker), "a later server reads it");
            assert_eq!(one.open(&app("shop"), text.as_bytes()), None);
            assert_eq!(other.open(&app("chat"), text.as_bytes()), None);
            assert_ne!(
                one.seal(&app("chat"), worker),
                Some(text),
                "it does not tell that the worker is the same"
            );
        }
    }

    #[test]
    fn no_other_text_is_read() {
        let (seal, app) = (seal("one"), app("chat"));
        let text = seal.seal(&app, WorkerId(3)).unwrap();
        assert_eq!(text.len(), LENGTH);
        for at in 0..text.len() {
            let mut forged = text.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(seal.open(&app, &forged), None, "{at}");
            assert_eq!(seal.open(&app, &text.as_bytes()[..at]), None, "{at}");
        }
        for other in ["", "3", "%33", &"A".repeat(LENGTH), &format!("{text}A"), &"=".repeat(LENGTH)] {
            assert_eq!(seal.open(&app, other.as_bytes()), None, "{other}");
        }
    }
}
