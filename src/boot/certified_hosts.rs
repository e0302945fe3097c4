//! Which hosts certificates are ordered for of an authority, and why none is for the others.
//!
//! Never here: ordering.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::api::AcmeStatus;
use crate::certs::CertKeeper;
use crate::directory::{Directory, Route};
use crate::name::HostName;

/// The hosts of a server, as authorities are to know them.
#[derive(Clone)]
pub(super) struct CertifiedHosts {
    pub(super) directory: Directory,
    pub(super) keeper: CertKeeper,
}

impl CertifiedHosts {
    /// Those that certificates are ordered for, sorted: those that nobody has left out, and has put no certificate there
    /// for unless they are `asked` for all the same.
    pub(super) fn wanted(&self, asked: &BTreeSet<HostName>) -> Vec<HostName> {
        let (routes, kept) = self.routes();
        let is_wanted = |route: &&Arc<Route>| {
            left_out(route).is_none() && (!kept.contains(&route.host) || asked.contains(&route.host))
        };
        let mut hosts: Vec<HostName> =
            routes.iter().filter(is_wanted).map(|route| route.host.clone()).collect();
        hosts.sort();
        hosts
    }

    /// Those that none is ordered for, each with the reason, sorted.
    pub(super) fn status(&self) -> Vec<AcmeStatus> {
        let (routes, kept) = self.routes();
        let mut status: Vec<AcmeStatus> = routes
            .iter()
            .filter_map(|route| {
                let why = left_out(route).or_else(|| kept.contains(&route.host).then_some(KEPT))?;
                Some(AcmeStatus { problem: Some(why.into()), ..AcmeStatus::of(route.host.clone()) })
            })
            .collect();
        status.sort_by(|one, other| one.host.cmp(&other.host));
        status
    }

    /// Why somebody has left a host out; `None`: nobody has, or there is no such host.
    pub(super) fn opted_out(&self, host: &HostName) -> Option<&'static str> {
        left_out(&*self.directory.lookup(host.as_str())?)
    }

    /// All routes, and the hosts of them that somebody has put a certificate there for.
    fn routes(&self) -> (Vec<Arc<Route>>, HashSet<HostName>) {
        let mut routes = self.directory.routes();
        routes.retain(|route| !is_of_this_machine(&route.host));
        let hosts: Vec<HostName> = routes.iter().map(|route| route.host.clone()).collect();
        let kept = self.keeper.kept_by_people(&hosts);
        (routes, kept)
    }
}

fn left_out(route: &Route) -> Option<&'static str> {
    match (route.app.rules.load().acme, route.acme) {
        (false, _) => Some("none is ordered: `acme = false` in its app's settings"),
        (true, false) => Some("none is ordered: it was added with --no-acme"),
        (true, true) => None,
    }
}

/// Names that every machine has, and that lead nobody else here.
fn is_of_this_machine(host: &HostName) -> bool {
    host.as_str() == "localhost" || host.address().is_some_and(|address| address.is_loopback())
}

const KEPT: &str = "none is ordered: it has a certificate already, which somebody has put there";
