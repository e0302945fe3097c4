//! Owns the accounts at authorities: each is registered once, found again, and registered anew when its authority has
//! forgotten it.
//!
//! Never here: orders.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use rustls::pki_types::PrivateKeyDer;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::digest;
use crate::spec::acme::Acme;
use crate::system::durable::{self, LockError, LockFile};

use super::account_key::AccountKey;
use super::failure::{Failure, FailureKind};
use super::https::Https;
use super::wording::{failure_of, patiently};

/// The accounts of this machine, one at each authority.
pub(super) struct Accounts {
    folder: PathBuf,
    key: AccountKey,
    email: Option<String>,
    eab: Option<PathBuf>,
    https: Https,
}

impl Accounts {
    /// Accounts that are kept in `folder`.
    pub(super) fn new(folder: PathBuf, key: AccountKey, acme: &Acme, https: Https) -> Self {
        Self { folder, key, email: acme.email.clone(), eab: acme.eab.clone(), https }
    }

    /// The account at the authority with this directory: the kept one, or a new one. A file is locked meanwhile, so
    /// that two programs do not both register one.
    ///
    /// # Errors
    /// The failure at the authority or on the disk.
    pub(super) async fn open(&self, directory: &str) -> Result<Account, Failure> {
        let _lock = self.lock().await?;
        let path = self.path(directory);
        let text = spawn_blocking({
            let path = path.clone();
            move || std::fs::read(path)
        });
        if let Some(credentials) = text.await.ok().and_then(Result::ok).and_then(|text| parsed(&text, &path))
        {
            return patiently!(async {
                let again: AccountCredentials = serde_json::from_str(&credentials)?;
                Account::builder_with_http(Box::new(self.https.clone())).from_credentials(again).await
            })
            .map_err(failure_of);
        }
        let (account, credentials) = self.register(directory).await?;
        let text = serde_json::to_vec(&credentials).map_err(|error| local(error.to_string()))?;
        spawn_blocking(move || durable::write_atomic(&path, &text, 0o600))
            .await
            .map_err(|error| local(error.to_string()))?
            .map_err(|error| local(format!("cannot write the account: {error}")))?;
        tracing::info!(authority = directory, account = account.id(), "registered an account");
        Ok(account)
    }

    /// Drops the kept account at an authority that does not know it any more.
    pub(super) async fn forget(&self, directory: &str) {
        let path = self.path(directory);
        tracing::warn!(
            authority = directory,
            "the authority does not know the account any more: another one is registered"
        );
        spawn_blocking(move || std::fs::remove_file(path)).await.ok();
    }

    async fn register(&self, directory: &str) -> Result<(Account, AccountCredentials), Failure> {
        let contact = self.email.as_ref().map(|email| format!("mailto:{email}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let builder = || Account::builder_with_http(Box::new(self.https.clone()));
        let Some(eab) = &self.eab else {
            // The key is always the same: an authority that knows the key already says which account it belongs to.
            let (account, credentials) = patiently!(async {
                let (key, pkcs8) = self.key.to_key()?;
                builder().create_from_key((key, PrivateKeyDer::Pkcs8(pkcs8)), directory.to_owned()).await
            })
            .map_err(failure_of)?;
            if !contact.is_empty() {
                patiently!(account.update_contacts(&contact)).map_err(failure_of)?;
            }
            return Ok((account, credentials));
        };
        let eab = {
            let path = eab.clone();
            spawn_blocking(move || read_eab(&path)).await.map_err(|error| local(error.to_string()))??
        };
        let account =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        patiently!(builder().create(&account, directory.to_owned(), Some(&eab))).map_err(failure_of)
    }

    async fn lock(&self) -> Result<LockFile, Failure> {
        let path: Arc<Path> = self.folder.join("accounts.lock").into();
        for _ in 0..LOCK_TRIES {
            let path = Arc::clone(&path);
            match spawn_blocking(move || LockFile::acquire(&path)).await {
                Ok(Ok(lock)) => return Ok(lock),
                Ok(Err(LockError::Held { .. })) => sleep(LOCK_PAUSE).await,
                Ok(Err(error)) => return Err(local(error.to_string())),
                Err(error) => return Err(local(error.to_string())),
            }
        }
        Err(local("another program has been registering an account for a long time".into()))
    }

    fn path(&self, directory: &str) -> PathBuf {
        self.folder.join(format!("account-{}.json", digest::word(&[directory.as_bytes()], 16)))
    }
}

/// The text of an account's file, if it is still a registration.
fn parsed(text: &[u8], path: &Path) -> Option<String> {
    match serde_json::from_slice::<AccountCredentials>(text) {
        Ok(_) => String::from_utf8(text.to_vec()).ok(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "an account cannot be read: its authority is asked for it again");
            None
        }
    }
}

/// Reads the file for external account binding: a key id and a HMAC key in base64url, a line each. Blocks on the disk.
fn read_eab(path: &Path) -> Result<ExternalAccountKey, Failure> {
    let wrong = |why: &str| {
        account(format!(
            "`{}` {why}: write the key id and the HMAC key in base64url, a line each",
            path.display()
        ))
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&format!("cannot be read ({error})")))?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let (Some(id), Some(key), None) = (lines.next(), lines.next(), lines.next()) else {
        return Err(wrong("has not two lines"));
    };
    let bytes = BASE64_URL_SAFE_NO_PAD
        .decode(key.trim_end_matches('='))
        .map_err(|_| wrong("has a key that is no base64url"))?;
    Ok(ExternalAccountKey::new(id.to_owned(), &bytes))
}

fn local(text: String) -> Failure {
    Failure::new(FailureKind::Local, text)
}

fn account(text: String) -> Failure {
    Failure::new(FailureKind::Account, text)
}

const LOCK_TRIES: u32 = 300;
const LOCK_PAUSE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eab_file_has_two_lines_and_what_is_wrong_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eab");
        std::fs::write(&path, "kid-1\nzWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W\n")
            .unwrap();
        assert!(read_eab(&path).is_ok());
        for (text, said) in
            [("kid-1\n", "has not two lines"), ("kid\nno key!\n", "no base64url"), ("", "two lines")]
        {
            std::fs::write(&path, text).unwrap();
            let failure = read_eab(&path).err().unwrap();
            assert!(failure.text.contains(said) && failure.text.contains("eab"), "{}", failure.text);
        }
        assert!(read_eab(&folder.path().join("missing")).err().unwrap().text.contains("cannot be read"));
    }
}
