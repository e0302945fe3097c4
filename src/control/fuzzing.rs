//! Calls over the control socket, as a function of bytes that panics when a promise about them is broken.
//!
//! Run with seeded inputs by every test run, and for as long as one likes by the targets of `tests/fuzz`. Never in a
//! program that serves.

use http::{Method, Uri};

use super::calls;
use super::reply::Refusal;
use super::routes::Route;
use crate::api;

/// Method and target, then the body on the next lines: understood, or refused with a text that says what would be right.
pub fn control_call(data: &[u8]) {
    let (line, body) = match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[][..]),
    };
    let Some(space) = line.iter().position(|byte| *byte == b' ') else { return };
    let (Ok(method), Ok(uri)) = (Method::from_bytes(&line[..space]), Uri::try_from(&line[space + 1..]))
    else {
        return;
    };
    let route = match Route::find(&method, &uri) {
        Ok(route) => route,
        Err(refusal) => return assert_says_something(&refusal),
    };
    assert_eq!(route.changes(), method != Method::GET, "{route:?}");
    let parsed = match route {
        Route::RemoveHost(host) => return assert_eq!(host.as_str().parse().as_ref(), Ok(&host)),
        Route::AddHost => calls::parse::<api::AddHost>(body, "right").map(drop),
        Route::SetIntent(_) => calls::parse::<api::SetIntent>(body, "right").map(drop),
        Route::Deploy => calls::parse::<api::Deploy>(body, "right").map(drop),
        Route::Scale => calls::parse::<api::Scale>(body, "right").map(drop),
        _ => return,
    };
    if let Err(refusal) = parsed {
        assert_says_something(&refusal);
    }
}

fn assert_says_something(refusal: &Refusal) {
    let said = refusal.failure().error;
    assert!(!said.code.is_empty() && !said.message.trim().is_empty(), "{said:?}");
    assert!(refusal.clone().into_reply().status().is_client_error(), "{said:?}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::feed_kept;

    const ROUNDS: usize = 10_000;

    #[test]
    fn calls_keep_their_promises() {
        feed_kept("control_call", ROUNDS, control_call);
    }
}
