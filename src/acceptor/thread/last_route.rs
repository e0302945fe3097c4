//! The route of a connection's last request, because the next one is mostly for the same host.
//!
//! The route holds only as long as no host comes, goes or changes. Never here: what a host's name may be, or looking
//! one up.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use crate::directory::{Directory, Route};

/// The last host of a connection, and its route.
#[derive(Default)]
pub(in crate::acceptor) struct LastRoute(RefCell<Option<Remembered>>);

struct Remembered {
    /// The authority as the client wrote it, with its port.
    authority: Box<str>,
    /// The length of the canonical name within the authority.
    name: usize,
    version: u64,
    /// The route; weak, so that an idle connection keeps no app that was removed.
    route: Weak<Route>,
}

impl LastRoute {
    /// The length of the canonical name, which the authority begins with, and the route; `None` when the authority is
    /// another one, or may have another route by now.
    pub(in crate::acceptor) fn of(
        &self,
        authority: &str,
        directory: &Directory,
    ) -> Option<(usize, Arc<Route>)> {
        let last = self.0.borrow();
        let last = last.as_ref()?;
        if *last.authority != *authority || last.version != directory.version() {
            return None;
        }
        Some((last.name, last.route.upgrade()?))
    }

    /// Notes the route of a request. `version` is that of the directory before the route was looked up.
    pub(in crate::acceptor) fn note(&self, authority: &str, name: usize, version: u64, route: &Arc<Route>) {
        let route = Arc::downgrade(route);
        *self.0.borrow_mut() = Some(Remembered { authority: authority.into(), name, version, route });
    }
}

#[cfg(test)]
mod tests {
    use crate::directory::App;

    use super::*;

    fn route(host: &str) -> Route {
        Route::to(host, &App::of_no_interest("app"))
    }

    #[test]
    fn a_route_is_known_until_any_host_changes() {
        let (directory, last) = (Directory::new(), LastRoute::default());
        directory.insert(route("a.example"));
        let found = Arc::clone(&directory.lookup("a.example").unwrap().all()[0]);
        last.note("a.example:8443", 9, directory.version(), &found);
        let (length, known) = last.of("a.example:8443", &directory).unwrap();
        assert!(length == 9 && Arc::ptr_eq(&known, &found));
        for other in ["a.example", "A.example:8443", "b.example:8443"] {
            assert!(last.of(other, &directory).is_none(), "{other}");
        }
        directory.insert(route("b.example"));
        assert!(last.of("a.example:8443", &directory).is_none());
    }

    #[test]
    fn a_route_that_went_while_it_was_looked_up_is_not_known() {
        let (directory, last) = (Directory::new(), LastRoute::default());
        directory.insert(route("a.example"));
        let version = directory.version();
        let found = Arc::clone(&directory.lookup("a.example").unwrap().all()[0]);
        directory.remove(&"a.example".parse().unwrap());
        last.note("a.example", 9, version, &found);
        assert!(last.of("a.example", &directory).is_none());
    }

    #[test]
    fn nothing_is_kept_for_an_idle_connection() {
        let (directory, last) = (Directory::new(), LastRoute::default());
        let found = Arc::new(route("a.example"));
        last.note("a.example", 9, directory.version(), &found);
        let app = Arc::downgrade(&found.app);
        drop(found);
        assert!(app.upgrade().is_none());
        assert!(last.of("a.example", &directory).is_none());
    }
}
