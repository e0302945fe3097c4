//! Calls over the control socket, as a function of bytes that panics when a promise about them is broken.
//!
//! Every test run calls the function with seeded inputs, and the targets of `tests/fuzz` call it for as long as one
//! likes. Never in a program that serves.

use http::{Method, Uri};

use super::calls;
use super::reply::CallError;
use crate::api::endpoint::Input;
use crate::name::RouteName;

/// The input is a method and a target, and a body on the next lines. The call is understood, or refused with a text
/// that says what would be right. A host that was read is written in the same way as it is read.
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
    let router = calls::router();
    let (route, mut parts) = match router.find(&method, uri.path()) {
        Ok(found) => found,
        Err(error) => return assert_says_something(&error),
    };
    assert_eq!(route.changes(), method != Method::GET, "{}", route.path);
    parts.query = uri.query().unwrap_or_default().into();
    parts.body = body.into();
    let param = parts.params.front().cloned();
    match route.read(&mut parts) {
        Ok(_) if param.is_some() => {
            parts.params.extend(param);
            let host = RouteName::read(&mut parts).expect("it was read before");
            host.write(&mut parts).expect("a name is text");
            assert_eq!(RouteName::read(&mut parts).expect("what was written is read"), host);
        }
        Ok(_) => {}
        Err(error) => assert_says_something(&error),
    }
}

fn assert_says_something(error: &CallError) {
    let text = error.failure().error;
    assert!(!text.code.is_empty() && !text.message.trim().is_empty(), "{text:?}");
    assert!(error.clone().into_reply().status().is_client_error(), "{text:?}");
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
