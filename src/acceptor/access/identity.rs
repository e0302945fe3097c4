//! Owns what a worker is told of the person who asks, once that is known.
//!
//! Never here: finding it out.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// The fields by which a worker is told who asks, in place of those that the client sent.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::acceptor) struct Identity {
    /// Fields that the worker gets.
    pub(in crate::acceptor) given: Vec<(HeaderName, HeaderValue)>,
    /// Fields of the client that the worker does not get.
    pub(in crate::acceptor) hidden: Vec<HeaderName>,
}

impl Identity {
    /// A user who has shown a password; the worker does not get the password.
    pub(in crate::acceptor) fn of_user(name: &str) -> Self {
        let value = HeaderValue::from_bytes(name.as_bytes()).ok();
        Self {
            given: value.map(|value| (REMOTE_USER, value)).into_iter().collect(),
            hidden: vec![REMOTE_USER, header::AUTHORIZATION],
        }
    }

    /// Whoever the answer names in these fields; the client's own fields of these names are hidden.
    pub(in crate::acceptor) fn copied(names: &[HeaderName], answer: &HeaderMap) -> Self {
        let field = |name: &HeaderName| {
            let values: Vec<_> = answer.get_all(name).iter().map(HeaderValue::as_bytes).collect();
            let value = HeaderValue::from_bytes(&values.join(&b", "[..])).ok();
            value.filter(|_| !values.is_empty()).map(|value| (name.clone(), value))
        };
        let hidden = names.iter().cloned().chain([REMOTE_USER]).collect();
        Self { given: names.iter().filter_map(field).collect(), hidden }
    }
}

/// The field that names the user; CGI's `REMOTE_USER` (RFC 3875 §4.1.11).
pub(in crate::acceptor) const REMOTE_USER: HeaderName = HeaderName::from_static("remote-user");
