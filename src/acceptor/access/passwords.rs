//! Owns checking the password that a request brings: off the serving threads, a few at a time, each pair of name and
//! password once.
//!
//! Never here: the fields that bring it (`credentials`), or what the worker is told (`identity`).

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use super::credentials::Credentials;
use super::turns::PasswordTurns;
use super::user_files::UserFiles;
use super::verdicts::{VerdictMark, Verdicts};
use crate::acceptor::error::ServeError;
use crate::budget::Budget;
use crate::name::ClientNet;
use crate::passwords::hash::PasswordHash;
use crate::spec::auth::PasswordAuth;

/// The checks of passwords for all threads: the verdicts so far, and the bound on how many checks run at a time.
pub(in crate::acceptor) struct Passwords {
    files: UserFiles,
    verdicts: Arc<Verdicts>,
    turns: PasswordTurns,
    /// The checks that are under way; the lock is held to join a check or to leave it.
    checks: Mutex<HashMap<VerdictMark, SharedCheck>>,
}

/// A check that requests wait for together.
type SharedCheck = Arc<OnceCell<bool>>;

impl Passwords {
    /// Starts without verdicts.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub(in crate::acceptor) fn new() -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            files: UserFiles::default(),
            verdicts: Arc::new(Verdicts::new()?),
            turns: PasswordTurns::new(cores / 2, PLACES),
            checks: Mutex::default(),
        })
    }

    /// The places of checks that run or wait, and how many each client has.
    pub(in crate::acceptor) fn places(&self) -> &Budget {
        self.turns.places()
    }

    /// The name of the user whose password a request brings. A name that no user has takes as long as a user's name.
    ///
    /// # Errors
    /// [`ServeError::Unauthorized`]; [`ServeError::AuthBusy`]; [`ServeError::AuthFailed`].
    ///
    /// # Cancel safety
    /// A check that has begun runs to its end after the future is dropped, and its verdict is kept.
    pub(in crate::acceptor) async fn user(
        &self,
        auth: &PasswordAuth,
        headers: &HeaderMap,
        client: Option<ClientNet>,
    ) -> Result<String, ServeError> {
        let refused = || ServeError::Unauthorized { challenge: Box::new(auth.challenge.clone()) };
        let Credentials { name, password } = Credentials::of(headers).ok_or_else(refused)?;
        let users = self.files.users(&auth.users).await;
        let users = users.ok_or(ServeError::AuthFailed("the file of users cannot be read"))?;
        let known = users.hash_of(&name);
        let number = self.verdicts.mark([name.as_bytes(), b"", b""]);
        let stand_in = || users.any_hash(usize::from(u16::from_le_bytes([number[0], number[1]])));
        let hash = known.or_else(stand_in).ok_or_else(refused)?;
        let mark = self.verdicts.mark([name.as_bytes(), hash.as_str().as_bytes(), &password]);
        let is_right = match self.verdicts.known(&mark) {
            Some(verdict) => verdict,
            None => self.find_out(mark, hash, password, client).await?,
        };
        if is_right && known.is_some() { Ok(name) } else { Err(refused()) }
    }

    /// Waits for the verdict on a name and a password. Requests that bring the same two wait together: only one of them
    /// takes a place.
    async fn find_out(
        &self,
        mark: VerdictMark,
        hash: &PasswordHash,
        password: Vec<u8>,
        client: Option<ClientNet>,
    ) -> Result<bool, ServeError> {
        let joined = JoinedCheck::new(self, mark);
        let check = || async {
            let turn = self.turns.take(client).await.ok_or(ServeError::AuthBusy)?;
            // A request that has gone may have left its verdict here meanwhile.
            if let Some(verdict) = self.verdicts.known(&mark) {
                return Ok(verdict);
            }
            let (hash, verdicts) = (hash.clone(), Arc::clone(&self.verdicts));
            let work = move || {
                let verdict = hash.matches(&password);
                verdicts.note(mark, verdict);
                drop(turn);
                verdict
            };
            spawn_blocking(work).await.map_err(|_| ServeError::AuthFailed("the password cannot be checked"))
        };
        joined.check.get_or_try_init(check).await.copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<VerdictMark, SharedCheck>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that waits for a shared check; the last one to leave takes the check out of the map.
struct JoinedCheck<'a> {
    passwords: &'a Passwords,
    mark: VerdictMark,
    check: SharedCheck,
}

impl<'a> JoinedCheck<'a> {
    fn new(passwords: &'a Passwords, mark: VerdictMark) -> Self {
        let check = Arc::clone(passwords.lock().entry(mark).or_default());
        Self { passwords, mark, check }
    }
}

impl Drop for JoinedCheck<'_> {
    fn drop(&mut self) {
        let mut checks = self.passwords.lock();
        // The map has one reference and this request the other; further ones are made under the lock alone.
        if Arc::strong_count(&self.check) <= 2 {
            checks.remove(&self.mark);
        }
    }
}

/// The most checks that run or wait.
const PLACES: u64 = 64;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::task::Poll;

    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use http::{HeaderValue, header};
    use toml::de::DeTable;

    use super::*;
    use crate::spec::auth::Auth;

    fn field(pair: &str) -> HeaderMap {
        let value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(pair))).unwrap();
        HeaderMap::from_iter([(header::AUTHORIZATION, value)])
    }

    fn auth_of(users: &str) -> PasswordAuth {
        let text = format!("a = {{ users = {users:?} }}");
        let table = DeTable::parse(&text).unwrap();
        let Auth::Passwords(auth) = Auth::read(table.get_ref().get("a").unwrap().get_ref()).unwrap() else {
            panic!()
        };
        auth
    }

    #[tokio::test]
    async fn a_hundred_requests_at_once_with_one_password_are_one_check() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        fs::write(&path, "anna:$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie\n").unwrap();
        let auth = auth_of(path.to_str().unwrap());
        let passwords = Passwords::new().unwrap();
        let client = Some(ClientNet::of([10, 0, 0, 1].into()));
        let right = field("anna:correctbatteryhorsestapler");
        let all = futures_util::future::join_all((0..100).map(|_| passwords.user(&auth, &right, client)));
        assert!(all.await.into_iter().all(|user| user.is_ok_and(|user| user == "anna")));

        for pair in
            ["anna:wrong", "bert:correctbatteryhorsestapler", "anna:", ":", "Anna:correctbatteryhorsestapler"]
        {
            for _ in 0..2 {
                let refused = passwords.user(&auth, &field(pair), client).await;
                assert!(matches!(refused, Err(ServeError::Unauthorized { .. })), "{pair}: {refused:?}");
            }
        }
        assert!(passwords.lock().is_empty() && passwords.places().held() == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_guesses_of_one_client_are_refused_and_another_is_let_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        fs::write(&path, "anna:$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie\n").unwrap();
        let auth = auth_of(path.to_str().unwrap());
        let passwords = Passwords::new().unwrap();
        let [one, two, three] = [1, 2, 3].map(|last| Some(ClientNet::of([10, 0, 0, last].into())));
        let guesses: Vec<_> = (0..100).map(|number| field(&format!("anna:{number}"))).collect();
        // The file is read first, and no check starts before all guesses have come.
        passwords.files.users(&auth.users).await.unwrap();
        let at_once = (std::thread::available_parallelism().map_or(1, usize::from) / 2).max(1);
        let mut held = Vec::new();
        for _ in 0..at_once {
            held.push(passwords.turns.take(three).await.unwrap());
        }
        let (mut waiting, mut busy) = (Vec::new(), 0);
        for guess in &guesses {
            let mut guess = Box::pin(passwords.user(&auth, guess, one));
            match futures_util::poll!(&mut guess) {
                Poll::Pending => waiting.push(guess),
                Poll::Ready(answer) => {
                    assert!(matches!(answer, Err(ServeError::AuthBusy)));
                    busy += 1;
                }
            }
        }
        assert_eq!(busy, 100 - (PLACES as usize - at_once).div_ceil(2));
        let right = field("anna:correctbatteryhorsestapler");
        let (guesses, user, ()) = tokio::join!(
            futures_util::future::join_all(waiting),
            passwords.user(&auth, &right, two),
            async { drop(held) }
        );
        assert_eq!(user.unwrap(), "anna");
        assert!(guesses.iter().all(|guess| matches!(guess, Err(ServeError::Unauthorized { .. }))));
    }
}
