//! Owns one order at one authority, from its beginning or from where it was left to the certificate.
//!
//! Never here: when, or at which of several authorities (`authorities`).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType, Error, Identifier,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::name::HostName;

use super::accounts::Accounts;
use super::failure::{Failure, FailureKind};
use super::solve::{Shown, Solver, name_of};
use super::state_files::{OrderRecord, StateFiles};
use super::wording::{failure_of, patiently, problem_of, said};

/// A wish to an authority: a certificate for one host.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) host: HostName,
    /// The number of the attempt, counted from 1 since the last certificate.
    pub(super) attempt: u32,
    /// The chain (PEM) of the certificate that the new one replaces, and the directory URL of its authority.
    pub(super) replaces: Option<(Vec<u8>, String)>,
}

/// A certificate as the authority sent it, and its key.
#[derive(Clone, Debug)]
pub(super) struct IssuedPem {
    pub(super) chain: String,
    pub(super) key: String,
    /// The directory URL of the authority.
    pub(super) by: String,
}

/// When an authority wants a certificate to be renewed, in seconds since 1970, and when to ask again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suggested {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) ask_after: Duration,
}

/// An authority, as the agent needs it.
pub(super) trait Authority: Send + Sync + 'static {
    /// Asks whether the authority answers and has an account for this machine.
    fn answers(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Gets a certificate. Cancel-safe: an order that was begun goes on with the next call.
    fn issue(&self, wish: &Wish) -> impl Future<Output = Result<IssuedPem, Failure>> + Send;

    /// Asks when the certificate of this chain (PEM) should be renewed; `None` when the authority never says.
    fn suggested(&self, chain: &[u8]) -> impl Future<Output = Result<Option<Suggested>, Failure>> + Send;
}

/// An authority that speaks ACME.
pub(super) struct AcmeAuthority {
    pub(super) directory: String,
    pub(super) accounts: Arc<Accounts>,
    pub(super) solver: Solver,
    pub(super) profile: Option<String>,
    /// Where orders are kept; none for an authority whose certificates are not used.
    pub(super) files: Option<StateFiles>,
    /// The account, looked up or registered at the first use; the lock is held meanwhile.
    pub(super) account: Mutex<Option<Account>>,
}

/// Why an order did not succeed.
enum Trouble {
    /// The authority does not know the account.
    AccountGone(Failure),
    Failed(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let gone = problem_of(&error) == Some("accountDoesNotExist");
        let failure = failure_of(error);
        if gone { Self::AccountGone(failure) } else { Self::Failed(failure) }
    }
}

impl Authority for AcmeAuthority {
    async fn answers(&self) -> Result<(), Failure> {
        self.account().await.map(drop)
    }

    async fn issue(&self, wish: &Wish) -> Result<IssuedPem, Failure> {
        match self.try_to_issue(wish).await {
            Ok(issued) => Ok(issued),
            Err(Trouble::Failed(failure)) => Err(failure),
            // The order is tried again only once: an authority that forgets what it has just registered is in no good
            // state.
            Err(Trouble::AccountGone(_)) => {
                *self.account.lock().await = None;
                self.accounts.forget(&self.directory).await;
                self.close_order(&wish.host).await;
                self.try_to_issue(wish).await.map_err(|trouble| match trouble {
                    Trouble::AccountGone(failure) | Trouble::Failed(failure) => failure,
                })
            }
        }
    }

    async fn suggested(&self, chain: &[u8]) -> Result<Option<Suggested>, Failure> {
        let Some(id) = certificate_id(chain) else { return Ok(None) };
        let account = self.account().await?;
        match account.renewal_info(&id).await {
            Ok((info, ask_after)) => {
                let window = info.suggested_window;
                let (start, end) = (window.start.unix_timestamp(), window.end.unix_timestamp());
                Ok(Some(Suggested { start, end, ask_after }))
            }
            Err(Error::Unsupported(_)) => Ok(None),
            Err(error) => Err(failure_of(error)),
        }
    }
}

impl AcmeAuthority {
    async fn account(&self) -> Result<Account, Failure> {
        let mut kept = self.account.lock().await;
        if let Some(account) = &*kept {
            return Ok(account.clone());
        }
        let account = self.accounts.open(&self.directory).await?;
        *kept = Some(account.clone());
        Ok(account)
    }

    async fn try_to_issue(&self, wish: &Wish) -> Result<IssuedPem, Trouble> {
        let account = self.account().await?;
        let (mut order, key) = match self.take_up(&account, &wish.host).await? {
            Some(open) => open,
            None => self.begin(&account, wish).await?,
        };
        let ended = self.carry_out(&mut order, wish, &key).await;
        let stays = self.files.is_some() && order.state().status != OrderStatus::Invalid;
        match ended {
            Ok(chain) => Ok(IssuedPem { chain, key, by: self.directory.clone() }),
            Err(Trouble::Failed(failure)) if stays => Err(failure.keeping_order().into()),
            Err(trouble) => {
                self.close_order(&wish.host).await;
                Err(trouble)
            }
        }
    }

    /// The order that was left open, with the key of its certificate.
    async fn take_up(&self, account: &Account, host: &HostName) -> Result<Option<(Order, String)>, Trouble> {
        let Some(files) = self.files.clone() else { return Ok(None) };
        let of = host.clone();
        let kept = spawn_blocking(move || files.order(&of)).await.ok().flatten();
        let fresh = |record: &OrderRecord| record.begun + LONGEST_OPEN > SystemTime::now();
        let Some(record) = kept.filter(|record| record.authority == self.directory && fresh(record)) else {
            return Ok(None);
        };
        let Some(url) = record.url else { return Ok(None) };
        match patiently!(account.order(url.clone())) {
            Ok(mut order) => {
                let open = order.state().status != OrderStatus::Invalid;
                Ok(open.then_some((order, record.key)))
            }
            Err(error) => match Trouble::from(error) {
                Trouble::Failed(failure) if !failure.kind.is_of_authority() => Ok(None),
                Trouble::Failed(failure) => Err(failure.keeping_order().into()),
                gone => Err(gone),
            },
        }
    }

    async fn begin(&self, account: &Account, wish: &Wish) -> Result<(Order, String), Trouble> {
        let key = KeyPair::generate().map_err(|error| local(error.to_string()))?.serialize_pem();
        let mut record = OrderRecord {
            authority: self.directory.clone(),
            url: None,
            key: key.clone(),
            begun: SystemTime::now(),
        };
        self.keep_order(&wish.host, &record).await?;
        let identifiers = [identifier(&wish.host)];
        let order = || {
            let order = NewOrder::new(&identifiers);
            match &self.profile {
                Some(profile) => order.profile(profile),
                None => order,
            }
        };
        let ours = wish.replaces.as_ref().filter(|(_, by)| *by == self.directory);
        let replaced = ours.and_then(|(chain, _)| certificate_id(chain));
        let begun = match replaced {
            Some(id) => {
                match patiently!(account.new_order(&order().replaces(id.clone()))) {
                    Ok(order) => Ok(order),
                    // Some authorities do not know the word `replaces`, and some do not know the certificate (RFC 9773
                    // §5).
                    Err(error) if is_about_order(&error) => {
                        patiently!(account.new_order(&order()))
                    }
                    Err(error) => Err(error),
                }
            }
            None => patiently!(account.new_order(&order())),
        }?;
        record.url = Some(begun.url().to_owned());
        self.keep_order(&wish.host, &record).await?;
        Ok((begun, key))
    }

    /// Brings an order to its end from whatever state it is in.
    async fn carry_out(&self, order: &mut Order, wish: &Wish, key: &str) -> Result<String, Trouble> {
        if order.state().status == OrderStatus::Pending {
            self.show_control(order, wish).await?;
        }
        if order.state().status == OrderStatus::Ready {
            let request = request_for(&wish.host, key).map_err(|error| local(error.to_string()))?;
            patiently!(order.finalize_csr(&request))?;
        }
        Ok(patiently!(order.poll_certificate(&POLLS))?)
    }

    async fn show_control(&self, order: &mut Order, wish: &Wish) -> Result<(), Trouble> {
        let mut shown = Vec::new();
        let asked = self.answer_all(order, wish, &mut shown).await;
        let way = match asked {
            Ok(way) => {
                patiently!(order.poll_ready(&POLLS)).map(|status| (status, way)).map_err(Trouble::from)
            }
            Err(trouble) => Err(trouble),
        };
        for shown in shown {
            self.solver.take_down(shown).await;
        }
        let ready = matches!(way, Ok((OrderStatus::Ready, _)));
        if !ready && order.state().status == OrderStatus::Invalid {
            let why = why_invalid(order).await;
            let how = way.as_ref().ok().and_then(|(_, way)| way.as_ref()).map_or("", |way| name_of(way));
            let text = format!("the authority does not see that {} leads here ({how}): {why}", wish.host);
            return Err(Failure::new(FailureKind::Challenge, text).into());
        }
        way.map(drop)
    }

    /// Answers each challenge that is still open, and returns the way that was taken.
    async fn answer_all(
        &self,
        order: &mut Order,
        wish: &Wish,
        shown: &mut Vec<Shown>,
    ) -> Result<Option<ChallengeType>, Trouble> {
        // All authorizations are fetched before anything is put up: nothing is put up twice when a nonce is refused
        // half-way.
        patiently!(async {
            let mut all = order.authorizations();
            while let Some(next) = all.next().await {
                next?;
            }
            Ok::<_, Error>(())
        })?;
        let (mut all, mut taken) = (order.authorizations(), None);
        while let Some(next) = all.next().await {
            let mut authorization = next?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let offered: Vec<ChallengeType> =
                authorization.challenges.iter().map(|challenge| challenge.r#type.clone()).collect();
            let way = self.solver.choose(&wish.host, &offered, wish.attempt).await?;
            let Some(mut challenge) = authorization.challenge(way.clone()) else { continue };
            let answer = challenge.key_authorization();
            shown.push(self.solver.show(&wish.host, &way, &challenge.token, &answer).await?);
            if challenge.status == ChallengeStatus::Pending {
                patiently!(challenge.set_ready())?;
            }
            taken = Some(way);
        }
        Ok(taken)
    }

    async fn keep_order(&self, host: &HostName, record: &OrderRecord) -> Result<(), Failure> {
        let Some(files) = self.files.clone() else { return Ok(()) };
        let (host, record) = (host.clone(), record.clone());
        let saved = spawn_blocking(move || files.save_order(&host, &record)).await;
        saved
            .map_err(|error| local(error.to_string()))?
            .map_err(|error| local(format!("cannot write the order down: {error}")))
    }

    async fn close_order(&self, host: &HostName) {
        let Some(files) = self.files.clone() else { return };
        let host = host.clone();
        spawn_blocking(move || files.close_order(&host)).await.ok();
    }
}

/// Asks the authority for its objection to an order.
async fn why_invalid(order: &mut Order) -> String {
    let mut reasons: Vec<String> = order.state().error.iter().map(said).collect();
    let mut all = order.authorizations();
    while let Some(Ok(mut authorization)) = all.next().await {
        if authorization.refresh().await.is_ok() {
            let problems = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            reasons.extend(problems.map(said));
        }
    }
    reasons.dedup();
    if reasons.is_empty() { "it gives no reason".into() } else { reasons.join("; ") }
}

/// Whether the authority objects to the order itself, and not to this machine or to the moment.
fn is_about_order(error: &Error) -> bool {
    match error {
        Error::Unsupported(_) => true,
        Error::Other(inner) => match inner.downcast_ref::<super::https::Refusal>() {
            Some(refusal) => refusal.failure.kind == FailureKind::Order,
            None => true,
        },
        _ => false,
    }
}

fn identifier(host: &HostName) -> Identifier {
    match host.address() {
        Some(address) => Identifier::Ip(address),
        None => Identifier::Dns(host.to_string()),
    }
}

fn request_for(host: &HostName, key: &str) -> Result<Vec<u8>, rcgen::Error> {
    let key = KeyPair::from_pem(key)?;
    let name = host.address().map_or_else(|| host.to_string(), |address| address.to_string());
    let mut params = CertificateParams::new(vec![name])?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&key)?.der().to_vec())
}

fn certificate_id(chain: &[u8]) -> Option<CertificateIdentifier<'static>> {
    let own = CertificateDer::pem_slice_iter(chain).next()?.ok()?;
    CertificateIdentifier::try_from(&own).ok().map(CertificateIdentifier::into_owned)
}

fn local(text: String) -> Failure {
    Failure::new(FailureKind::Local, text)
}

/// How often and how long one attempt asks for the state of its order.
const POLLS: RetryPolicy = RetryPolicy::new().backoff(1.5).timeout(Duration::from_secs(30));
/// An order that has been open for so long is given up: three orders a week stay below every authority's limit.
const LONGEST_OPEN: Duration = Duration::from_secs(2 * 86_400);
