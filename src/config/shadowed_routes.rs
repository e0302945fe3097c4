//! Owns finding the routes of the apps' settings that get no requests, or not all of theirs.
//!
//! Never here: routes that people add while the server runs, which are checked one by one.

use std::collections::BTreeSet;

use super::app::AppSettings;
use crate::name::{HostName, RouteName};

/// A sentence for each route that loses requests to another one.
pub(crate) fn shadowed_routes(apps: &[AppSettings]) -> Vec<String> {
    let all = || apps.iter().flat_map(|app| app.hosts.iter().map(move |route| (app, route)));
    let mut told = Vec::new();
    for (at, (app, route)) in all().enumerate() {
        if let Some((owner, _)) = all().take(at).find(|(_, other)| *other == route) {
            told.push(match owner.name == app.name {
                true => format!("hosts of {} names {route} twice", app.name),
                false => format!("hosts of {}: {route} leads to {} already", app.name, owner.name),
            });
        }
        let hides = |host: &HostName| is_one_below(route.host(), host) && route.prefix().is_some();
        let hiding = all().map(|(_, other)| other.host()).filter(|host| hides(host));
        for host in hiding.collect::<BTreeSet<_>>() {
            let own = RouteName::new(host.clone(), route.prefix().cloned());
            if !all().any(|(_, other)| *other == own) {
                told.push(format!(
                    "hosts of {}: {route} is not for {host}, which has routes of its own",
                    app.name
                ));
            }
        }
    }
    told
}

fn is_one_below(wildcard: &HostName, host: &HostName) -> bool {
    let parent = wildcard.as_str().strip_prefix("*.");
    parent.is_some()
        && !host.is_wildcard()
        && host.as_str().split_once('.').map(|(_, parent)| parent) == parent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::app::{AppRequest, app_settings};
    use crate::config::layer::Layer;
    use crate::config::value_origin::ValueOrigin;

    #[test]
    fn what_is_said_twice_and_what_an_exact_host_hides_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let app = |name: &str, hosts: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("rip.toml"), format!("hosts = {hosts}")).unwrap();
            let request = AppRequest {
                path,
                aliases: Vec::new(),
                origin: ValueOrigin::Default,
                words: Layer::default(),
                env: Layer::default(),
                file: Layer::default(),
                named_host: false,
            };
            app_settings(&request).unwrap()
        };
        let apps = [
            app("site", "['a.example', 'a.example/x', 'a.example/x', '*.example', '*.example/shop']"),
            app("shop", "['a.example/shop', 'b.example', 'a.example/x', 'c.b.example']"),
        ];
        assert_eq!(
            shadowed_routes(&apps),
            [
                "hosts of site names a.example/x twice",
                "hosts of site: *.example/shop is not for b.example, which has routes of its own",
                "hosts of shop: a.example/x leads to site already",
            ]
        );
    }
}
