//! Owns the fields that tell a worker who asks, once that is known.
//!
//! Never here: finding it out.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// The fields by which a worker is told who asks, in place of those that the client sent.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::acceptor) struct Identity {
    /// The user's name, where it is known.
    pub(in crate::acceptor) user: Option<Box<str>>,
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
            user: Some(name.into()),
            given: value.map(|value| (REMOTE_USER, value)).into_iter().collect(),
            hidden: vec![REMOTE_USER, header::AUTHORIZATION],
        }
    }

    /// The person that an answer names in the fields `names`; the client's own fields of these names are hidden. The
    /// user's name is in the first field that has a value and whose name ends in `user`, as `Remote-User` does.
    pub(in crate::acceptor) fn copied(names: &[HeaderName], answer: &HeaderMap) -> Self {
        let field = |name: &HeaderName| {
            let values: Vec<_> = answer.get_all(name).iter().map(HeaderValue::as_bytes).collect();
            let value = HeaderValue::from_bytes(&values.join(&b", "[..])).ok();
            value.filter(|_| !values.is_empty()).map(|value| (name.clone(), value))
        };
        let hidden = names.iter().cloned().chain([REMOTE_USER]).collect();
        let given: Vec<_> = names.iter().filter_map(field).collect();
        let named = given.iter().find(|(name, _)| name.as_str().ends_with("user"));
        let user = named.map(|(_, value)| String::from_utf8_lossy(value.as_bytes()).into());
        Self { user, given, hidden }
    }
}

/// The field that names the user to the worker; FastCGI has it as CGI's `REMOTE_USER` (RFC 3875 §4.1.11).
pub(in crate::acceptor) const REMOTE_USER: HeaderName = HeaderName::from_static("remote-user");
