//! Owns which header fields settings may change, and why they may not change others.
//!
//! Never here: the changes (`settings::table`), or which fields of a client pass (the data path asks here what they
//! are).

use http::header::{HeaderName, HeaderValue};

/// The head that a field stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// An answer, as its client gets it.
    Answer,
    /// A request, as its worker gets it.
    Request,
}

impl Head {
    /// The name of a field that settings may change.
    ///
    /// # Errors
    /// The form that would be right, as the end of "expected …".
    pub(crate) fn field(self, text: &str) -> Result<HeaderName, String> {
        let name = HeaderName::from_bytes(text.as_bytes())
            .map_err(|_| format!("names of header fields, which {text:?} is not"))?;
        match self.objection(name.as_str()) {
            Some(why) => Err(format!("other fields: {text} {why}")),
            None => Ok(name),
        }
    }

    fn objection(self, name: &str) -> Option<&'static str> {
        let of_requests =
            || is_forwarding(name) || matches!(name, "host" | "expect" | "proxy") || name.contains('_');
        let own = match self {
            Self::Answer => name == "date" || name.starts_with("x-rip-"),
            Self::Request => of_requests(),
        };
        if is_hop_by_hop(name) {
            Some("is of one connection only (RFC 9110 §7.6.1)")
        } else if name == "content-length" {
            Some("says where a body ends")
        } else if own || name == "x-request-id" || name.starts_with("rip-") {
            Some("is the server's own")
        } else {
            None
        }
    }
}

/// The name of a field that workers may get from a program which was asked about a request.
///
/// # Errors
/// The form that would be right, as the end of "expected …".
pub(crate) fn copied(text: &str) -> Result<HeaderName, String> {
    let own =
        ["x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username"];
    let name = HeaderName::from_bytes(text.as_bytes()).ok();
    let told = name.filter(|name| name == "remote-user" || own.contains(&name.as_str()));
    told.map_or_else(|| Head::Request.field(text), Ok)
}

/// The value of a field.
///
/// # Errors
/// The form that would be right, as the end of "expected …".
pub(crate) fn value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|_| "values of printable ASCII characters, without line ends".into())
}

/// Whether a field belongs to one connection only (RFC 9110 §7.6.1), in either direction.
pub(crate) fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "proxy-authenticate"
            | "proxy-authorization"
    )
}

/// Whether only a trusted proxy may send the field.
pub(crate) fn is_forwarding(name: &str) -> bool {
    name.starts_with("x-forwarded-")
        || is_of_client_cert(name)
        || matches!(name, "forwarded" | "x-real-ip" | "x-request-start" | "remote-user")
}

/// Whether the field is about a client's certificate; two of them are those of RFC 9440.
pub(crate) fn is_of_client_cert(name: &str) -> bool {
    name.starts_with("x-client-cert") || matches!(name, "client-cert" | "client-cert-chain")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_are_the_servers_or_the_connections_are_refused_with_the_reason() {
        for (name, answer, request) in [
            ("X-Frame-Options", None, None),
            ("Set-Cookie", None, None),
            ("Server", None, None),
            ("Cookie", None, None),
            ("Authorization", None, None),
            ("Connection", Some("one connection"), Some("one connection")),
            ("transfer-encoding", Some("one connection"), Some("one connection")),
            ("Upgrade", Some("one connection"), Some("one connection")),
            ("Content-Length", Some("a body ends"), Some("a body ends")),
            ("X-Request-Id", Some("the server's"), Some("the server's")),
            ("Rip-Reloads", Some("the server's"), Some("the server's")),
            ("X-Rip-Reason", Some("the server's"), None),
            ("Date", Some("the server's"), None),
            ("Host", None, Some("the server's")),
            ("X-Forwarded-For", None, Some("the server's")),
            ("X-Forwarded-Prefix", None, Some("the server's")),
            ("Forwarded", None, Some("the server's")),
            ("X-Real-IP", None, Some("the server's")),
            ("Client-Cert", None, Some("the server's")),
            ("Remote-User", None, Some("the server's")),
            ("A_B", None, Some("the server's")),
            ("a b", Some("names of header fields"), Some("names of header fields")),
            ("", Some("names of header fields"), Some("names of header fields")),
        ] {
            for (head, objection) in [(Head::Answer, answer), (Head::Request, request)] {
                match (head.field(name), objection) {
                    (Ok(_), None) => {}
                    (Err(why), Some(objection)) => assert!(why.contains(objection), "{name}: {why}"),
                    (read, _) => panic!("{head:?} {name}: {read:?}"),
                }
            }
        }
        assert!(value("a\nb").is_err() && value("a\0").is_err() && value("default-src 'self'").is_ok());
    }
}
