//! Owns which hosts certificates are ordered for from an authority, and why not for the others.
//!
//! Never here: ordering.

use std::collections::{BTreeSet, HashSet};

use crate::api::AcmeStatus;
use crate::certs::CertKeeper;
use crate::directory::{Directory, HostRoutes};
use crate::name::HostName;

/// The hosts of a server, for orders at authorities.
#[derive(Clone)]
pub(super) struct CertifiedHosts {
    pub(super) directory: Directory,
    pub(super) keeper: CertKeeper,
}

impl CertifiedHosts {
    /// The hosts that certificates are ordered for, sorted: those that no setting leaves out, and that have no
    /// certificate put there by hand, unless they are `asked` for all the same.
    pub(super) fn wanted(&self, asked: &BTreeSet<HostName>) -> Vec<HostName> {
        let (routes, kept) = self.routes();
        let is_wanted = |routes: &&HostRoutes| {
            left_out(routes).is_none() && (!kept.contains(routes.host()) || asked.contains(routes.host()))
        };
        let mut hosts: Vec<HostName> =
            routes.iter().filter(is_wanted).map(|routes| routes.host().clone()).collect();
        hosts.sort();
        hosts
    }

    /// The hosts that no certificate is ordered for, each with the reason, sorted.
    pub(super) fn status(&self) -> Vec<AcmeStatus> {
        let (routes, kept) = self.routes();
        let mut status: Vec<AcmeStatus> = routes
            .iter()
            .filter_map(|routes| {
                let why = left_out(routes).or_else(|| kept.contains(routes.host()).then_some(KEPT))?;
                Some(AcmeStatus { problem: Some(why.into()), ..AcmeStatus::of(routes.host().clone()) })
            })
            .collect();
        status.sort_by(|one, other| one.host.cmp(&other.host));
        status
    }

    /// Why a setting leaves a host out; `None`: none does, or there is no such host.
    pub(super) fn opted_out(&self, host: &HostName) -> Option<&'static str> {
        left_out(&self.directory.lookup(host.as_str())?)
    }

    /// The routes of all hosts, and the hosts with a certificate that was put there by hand.
    fn routes(&self) -> (Vec<HostRoutes>, HashSet<HostName>) {
        let mut routes = self.directory.routes();
        routes.retain(|routes| !is_of_this_machine(routes.host()));
        let hosts: Vec<HostName> = routes.iter().map(|routes| routes.host().clone()).collect();
        let kept = self.keeper.kept_by_people(&hosts);
        (routes, kept)
    }
}

/// Why a setting leaves a host out, with all its routes.
fn left_out(routes: &HostRoutes) -> Option<&'static str> {
    let mut why = None;
    for route in routes.all() {
        why = match (route.app.rules.load().acme, route.acme) {
            (false, _) => Some("none is ordered: `acme = false` in its app's settings"),
            (true, false) => Some("none is ordered: it was added with --no-acme"),
            (true, true) => return None,
        };
    }
    why
}

/// Whether every machine has the name, so that an authority could not follow it here.
fn is_of_this_machine(host: &HostName) -> bool {
    host.as_str() == "localhost" || host.address().is_some_and(|address| address.is_loopback())
}

const KEPT: &str = "none is ordered: it has a certificate already, which somebody has put there";
