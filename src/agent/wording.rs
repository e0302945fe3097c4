//! Owns how the errors of the protocol's library become failures in plain words, and that a refused nonce is no
//! failure.
//!
//! Never here: what follows from a failure.

use std::error::Error as StdError;
use std::time::SystemTime;

use instant_acme::{Error, Problem};
use tokio::time::Instant;

use super::failure::{Failure, FailureKind};
use super::https::{Refusal, plain};

/// Makes a call again while the authority refuses its nonce, which is no failed attempt (RFC 8555 §6.5).
///
/// The call is a macro, because the compiler would not know the futures of closures to be `Send`.
macro_rules! patiently {
    ($call:expr) => {{
        let mut left = $crate::agent::wording::NONCE_TRIES;
        loop {
            match $call.await {
                Err(instant_acme::Error::Api(problem))
                    if $crate::agent::wording::is_bad_nonce(&problem) && left > 0 =>
                {
                    left -= 1
                }
                other => break other,
            }
        }
    }};
}
pub(super) use patiently;

pub(super) fn is_bad_nonce(problem: &Problem) -> bool {
    problem.r#type.as_deref().is_some_and(|name| name.ends_with(":badNonce"))
}

/// The failure that an error of the library means: a sentence for people, and its bearing on the next attempt.
pub(super) fn failure_of(error: Error) -> Failure {
    match error {
        Error::Other(inner) => match inner.downcast::<Refusal>() {
            Ok(refusal) => refusal.failure,
            Err(other) => Failure::new(FailureKind::Answer, in_full(other.as_ref())),
        },
        Error::Api(problem) => Failure::new(FailureKind::Order, said(&problem)),
        Error::Json(error) => {
            Failure::new(FailureKind::Answer, format!("the authority's answer cannot be understood: {error}"))
        }
        Error::Timeout(next) => {
            let retry_after = next.and_then(|at| {
                let left = Instant::from_std(at).saturating_duration_since(Instant::now());
                SystemTime::now().checked_add(left)
            });
            let text = "the authority has not finished the order yet";
            Failure { retry_after, ..Failure::new(FailureKind::Unfinished, text) }.keeping_order()
        }
        other => {
            Failure::new(FailureKind::Answer, format!("the authority's answer is not as expected: {other}"))
        }
    }
}

/// The kind of problem that the authority names (RFC 8555 §6.7), without its prefix.
pub(super) fn problem_of(error: &Error) -> Option<&str> {
    match error {
        Error::Api(problem) => problem.r#type.as_deref().map(|name| name.rsplit(':').next().unwrap_or(name)),
        Error::Other(inner) => inner.downcast_ref::<Refusal>()?.problem.as_deref(),
        _ => None,
    }
}

/// The text of a problem.
pub(super) fn said(problem: &Problem) -> String {
    let name = problem.r#type.as_deref().map(|name| name.rsplit(':').next().unwrap_or(name));
    let parts = problem.subproblems.iter().filter_map(|part| part.detail.clone());
    let details: Vec<String> = problem.detail.iter().cloned().chain(parts).collect();
    match (details.is_empty(), name) {
        (false, Some(name)) => format!("{} ({name})", plain(&details.join("; "))),
        (false, None) => plain(&details.join("; ")),
        (true, name) => name.unwrap_or("no reason is given").to_owned(),
    }
}

fn in_full(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    plain(&text)
}

/// The number of tries beside those of the library, which makes three.
pub(super) const NONCE_TRIES: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn bad_nonce() -> Error {
        let problem = r#"{"type":"urn:ietf:params:acme:error:badNonce","detail":"no"}"#;
        Error::Api(serde_json::from_str(problem).unwrap())
    }

    #[tokio::test]
    async fn a_refused_nonce_is_no_failure_unless_it_never_ends() {
        let mut calls = 0;
        let done: Result<u32, Error> = patiently!(async {
            calls += 1;
            if calls < 6 { Err(bad_nonce()) } else { Ok(calls) }
        });
        assert_eq!(done.unwrap(), 6);
        let mut calls = 0;
        let never: Result<(), Error> = patiently!(async {
            calls += 1;
            Err(bad_nonce())
        });
        assert!(never.is_err());
        assert_eq!(calls, 11);
    }

    #[test]
    fn an_unfinished_order_is_kept() {
        let failure = failure_of(Error::Timeout(None));
        assert!(failure.order_stays);
        assert_eq!(failure.kind, FailureKind::Unfinished);
    }
}
