//! Owns what a worker sees of a request's target: as it was sent, or without the prefix that led to the app.
//!
//! Never here: which route that is (`route`), or writing it (`worker_head`).

use http::Uri;
use http::uri::PathAndQuery;

use crate::directory::Route;
use crate::name::{AmbiguousPath, PathPrefix};
use crate::spec::Rules;

use crate::acceptor::error::ServeError;
use crate::acceptor::peer::Client;

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
        client: &'a Client<'_>,
        route: &Route,
        rules: &Rules,
    ) -> Result<Self, ServeError> {
        let told = client.told.as_deref().and_then(|told| told.prefix.as_ref());
        let said = told.map_or("", PathPrefix::as_str);
        let stripped = match route.name.prefix() {
            Some(prefix) if rules.strip => Some(Box::new(Stripped {
                uri: without(prefix, sent)?,
                prefix: format!("{said}{prefix}"),
            })),
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
