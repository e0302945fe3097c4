//! Owns what a worker sees of a request where that is not what was sent: its target without the prefix that led to the
//! app, and the header fields that the app's settings change.
//!
//! Never here: which route that is (`route`), or writing it (`worker_head`).

use http::Uri;
use http::header::{self, HeaderMap, HeaderName};
use http::uri::PathAndQuery;

use crate::directory::Route;
use crate::name::{AmbiguousPath, PathPrefix};
use crate::spec::Rules;
use crate::spec::field_names::is_hop_by_hop;

use crate::acceptor::access::identity::Identity;
use crate::acceptor::error::ServeError;
use crate::acceptor::peer::RequestClient;
use crate::acceptor::wire::headers::Named;

/// A request's target as its worker sees it.
pub(super) struct WorkerTarget<'a> {
    sent: &'a Uri,
    /// What a trusted proxy has taken away.
    said: &'a str,
    /// Boxed: few requests have it.
    stripped: Option<Box<Stripped>>,
}

struct Stripped {
    uri: Uri,
    prefix: String,
}

impl<'a> WorkerTarget<'a> {
    /// Takes the route's prefix away, if its app wants that.
    ///
    /// # Errors
    /// [`ServeError::Malformed`] when what is left would begin a host's name.
    pub(super) fn of(
        sent: &'a Uri,
        client: &'a RequestClient<'_>,
        route: &Route,
        rules: &Rules,
    ) -> Result<Self, ServeError> {
        let told = client.told.as_deref().and_then(|told| told.prefix.as_ref());
        let said = told.map_or("", PathPrefix::as_str);
        let stripped = match route.name.prefix() {
            Some(prefix) if rules.strip => {
                Some(Box::new(Stripped { uri: without(prefix, sent)?, prefix: format!("{said}{prefix}") }))
            }
            _ => None,
        };
        Ok(Self { sent, said, stripped })
    }

    pub(super) fn uri(&self) -> &Uri {
        self.stripped.as_ref().map_or(self.sent, |stripped| &stripped.uri)
    }

    /// What the client's path begins with, and this one does not; empty: nothing.
    pub(super) fn prefix(&self) -> &str {
        self.stripped.as_ref().map_or(self.said, |stripped| &stripped.prefix)
    }
}

/// A request's fields without those that only the server knows, and with the changes that the app's settings want;
/// `None`: as they were sent. A client's `Connection` takes none of these away. Where files are sent for workers,
/// settings alone say to them that they are.
pub(super) fn changed_fields(
    sent: &HeaderMap,
    rules: &Rules,
    identity: Option<&Identity>,
) -> Option<Box<HeaderMap>> {
    let changes = &rules.request_fields;
    let asks = !rules.accel.is_empty() && SENDFILE_HINTS.iter().any(|name| sent.contains_key(name));
    if changes.is_empty() && identity.is_none() && !asks {
        return None;
    }
    let mut headers = sent.clone();
    for name in identity.iter().flat_map(|identity| &identity.hidden) {
        headers.remove(name);
    }
    if asks {
        headers.remove(&SENDFILE_HINTS[0]);
        headers.remove(&SENDFILE_HINTS[1]);
    }
    let named = Named::of(sent);
    if changes.given().any(|name| named.has(name)) {
        let goes = |name: &HeaderName| named.has(name) && !is_hop_by_hop(name.as_str());
        let gone: Vec<_> = headers.keys().filter(|name| goes(name)).cloned().collect();
        for name in gone.into_iter().chain([header::CONNECTION]) {
            headers.remove(name);
        }
    }
    changes.apply(&mut headers);
    Some(Box::new(headers))
}

/// The fields by which rack is told to name files in place of sending them.
static SENDFILE_HINTS: [HeaderName; 2] =
    [HeaderName::from_static("x-sendfile-type"), HeaderName::from_static("x-accel-mapping")];

fn without(prefix: &PathPrefix, sent: &Uri) -> Result<Uri, AmbiguousPath> {
    let rest = prefix.behind(sent.path())?;
    let path = if rest.is_empty() { "/" } else { rest };
    let target = match sent.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    // The end of a path is a path.
    Ok(PathAndQuery::try_from(target).map(Uri::from).unwrap_or_default())
}
