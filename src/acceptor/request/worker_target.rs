//! Owns the parts of a request that a worker sees differently from what the client sent: the target without the prefix
//! that led to the app, and the header fields that the app's settings change.
//!
//! Never here: which route a request takes (`route`), or writing its head (`worker_head`).

use http::Uri;
use http::header::{self, HeaderMap, HeaderName};
use http::uri::PathAndQuery;

use crate::directory::Route;
use crate::name::{AmbiguousPath, PathPrefix};
use crate::spec::field_names::is_hop_by_hop;
use crate::spec::{Rules, Sticky};

use super::sticky;
use crate::acceptor::access::identity::Identity;
use crate::acceptor::error::ServeError;
use crate::acceptor::peer::RequestClient;
use crate::acceptor::wire::headers::Named;

/// A request's target as its worker sees it.
pub(super) struct WorkerTarget<'a> {
    sent: &'a Uri,
    /// The prefix that a trusted proxy has taken away.
    said: &'a str,
    /// The target without its prefix. Boxed: few requests have one.
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
    /// [`ServeError::Malformed`] when the rest would begin with `//` or `/\\`, and so with a host's name.
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

    /// The target as it is.
    pub(super) fn plain(sent: &'a Uri) -> Self {
        Self { sent, said: "", stripped: None }
    }

    pub(super) fn uri(&self) -> &Uri {
        self.stripped.as_ref().map_or(self.sent, |stripped| &stripped.uri)
    }

    /// The prefix that the client's path has and this one has not; empty: none.
    pub(super) fn prefix(&self) -> &str {
        self.stripped.as_ref().map_or(self.said, |stripped| &stripped.prefix)
    }
}

/// A request's fields without those that only the server may set, and with the changes of the app's settings; `None`:
/// no change. A client's `Connection` takes none of the changed fields away. Where the server sends files for workers,
/// only settings tell the workers so; the cookie of a sticky client is the server's own.
pub(super) fn changed_fields(
    sent: &HeaderMap,
    rules: &Rules,
    identity: Option<&Identity>,
) -> Option<Box<HeaderMap>> {
    let changes = &rules.request_fields;
    let asks = !rules.accel.is_empty() && SENDFILE_HINTS.iter().any(|name| sent.contains_key(name));
    let shown = rules.sticky == Sticky::Cookie && sticky::is_shown(sent);
    if changes.is_empty() && identity.is_none() && !asks && !shown {
        return None;
    }
    let mut headers = sent.clone();
    if shown {
        sticky::take_out(&mut headers);
    }
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
