//! Hosts that are added, removed, paused, and kept over a restart.

use super::*;
use crate::api::{HostOrigin, HostState};

fn add(name: &str, path: Option<&str>) -> AddHost {
    AddHost { host: host(name), path: path.map(PathBuf::from), acme: true }
}

fn shown(entries: &[HostEntry]) -> Vec<String> {
    let show = |entry: &HostEntry| {
        format!("{} {} {:?} {:?} {}", entry.host, entry.app, entry.state, entry.origin, entry.live)
    };
    entries.iter().map(show).collect()
}

#[tokio::test(start_paused = true)]
async fn a_host_is_added_to_the_first_app_once() {
    let world = World::serving(blog()).await;

    let first = world.supervisor.add_host(add("www.example", None)).await.unwrap();
    let again = world.supervisor.add_host(add("www.example", None)).await.unwrap();

    assert_eq!((first.changed, again.changed), (true, false));
    let expected = ["blog.example blog Running Config true", "www.example blog Running Added true"];
    assert_eq!(shown(&world.supervisor.hosts().await), expected);
    assert!(world.claim("www.example").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_added_app_is_started_and_goes_with_its_last_added_host() {
    let world = World::serving(blog()).await;
    world.apps.put(workers(app("shop"), 1));

    let changed = world.supervisor.add_host(add("buy.example", Some("/srv/shop"))).await.unwrap();
    assert_eq!(changed.entry.unwrap().origin, HostOrigin::Added);
    world.supervisor.add_host(add("sell.example", Some("/srv/shop"))).await.unwrap();
    let lease = world.claim("buy.example").await.unwrap();
    assert_eq!(world.supervisor.apps().await[1].hosts.len(), 3, "its own and the two added");

    world.supervisor.remove_host(&host("buy.example")).await.unwrap();
    assert!(world.directory.lookup("sell.example").is_some());
    world.supervisor.remove_host(&host("sell.example")).await.unwrap();
    assert!(world.directory.lookup("shop.example").is_none());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.backend.alive().len(), 3, "the request in hand is finished first");
    let error = world.supervisor.add_host(add("buy.example", Some("/srv/shop"))).await.unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), ("conflict", "the app `shop` is being stopped"));

    drop(lease);
    while world.supervisor.apps().await.len() > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.backend.alive().len(), 2);
    assert!(!world.metrics.render().contains("shop"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_added_changes_nothing() {
    let world = World::serving(blog()).await;
    let other_blog = AppSpec { path: "/home/blog".into(), ..blog() };
    world.apps.put(other_blog);
    world.apps.put(app("shop"));
    let cases = [
        (add("a.example", Some("srv/shop")), "bad-request", "the path `srv/shop` is not absolute"),
        (add("a.example", Some("/srv/none")), "rejected", "there is no app at /srv/none"),
        (
            add("a.example", Some("/home/blog")),
            "conflict",
            "/home/blog would be a second app `blog`: the first is /srv/blog",
        ),
        (
            add("blog.example", Some("/srv/shop")),
            "conflict",
            "the host `blog.example` belongs to the app `blog`",
        ),
    ];
    for (wanted, code, message) in cases {
        let error = world.supervisor.add_host(wanted).await.unwrap_err();
        assert_eq!((error.code(), error.to_string().as_str()), (code, message));
        assert!(error.hint().is_some(), "{message}");
    }
    assert_eq!(world.supervisor.apps().await.len(), 1);
    assert_eq!(world.started(), [1, 2]);
    assert!(!world.state.path().join("registry.json").exists());
}

#[tokio::test(start_paused = true)]
async fn unknown_hosts_and_hosts_of_the_config_are_not_removed() {
    let world = World::serving(blog()).await;

    let unknown = world.supervisor.remove_host(&host("x.example")).await.unwrap_err();
    let config = world.supervisor.remove_host(&host("blog.example")).await.unwrap_err();

    assert_eq!((unknown.code(), config.code()), ("no-such-host", "conflict"));
    assert_eq!(config.hint().as_deref(), Some("take it out of the app's `hosts`, or stop it"));
    assert_eq!(world.supervisor.hosts().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_state_reaches_those_who_wait_for_it() {
    let world = World::serving(blog()).await;
    let name = host("blog.example");
    let availability = || world.directory.lookup("blog.example").unwrap().all()[0].availability.clone();
    let paused = SetState { state: HostState::Paused, page: None };
    world.supervisor.set_state(&name, paused).await.unwrap();
    let mut waiting = availability();
    assert_eq!(waiting.borrow_and_update().state, HostState::Paused, "whoever comes now waits");
    let page = Some("<p>back soon</p>".to_owned());

    let wanted = SetState { state: HostState::Stopped, page: page.clone() };
    let changed = world.supervisor.set_state(&name, wanted.clone()).await.unwrap();
    let again = world.supervisor.set_state(&name, wanted).await.unwrap();

    assert_eq!((changed.changed, again.changed), (true, false));
    waiting.changed().await.unwrap();
    assert_eq!(waiting.borrow_and_update().state, HostState::Stopped);
    assert_eq!(waiting.borrow().page.as_deref(), page.as_deref());

    let resume = SetState { state: HostState::Running, page: None };
    world.supervisor.set_state(&name, resume.clone()).await.unwrap();
    waiting.changed().await.unwrap();
    assert_eq!(
        (waiting.borrow().state, availability().borrow().state),
        (HostState::Running, HostState::Running)
    );
    assert!(!world.supervisor.set_state(&name, resume).await.unwrap().changed);
}

#[tokio::test(start_paused = true)]
async fn what_one_host_is_told_is_nothing_to_the_others_of_its_app() {
    let world = World::serving(blog()).await;
    world.supervisor.add_host(add("www.example", None)).await.unwrap();
    let state = |name: &str| world.directory.lookup(name).unwrap().all()[0].availability.borrow().state;

    let paused = SetState { state: HostState::Paused, page: None };
    world.supervisor.set_state(&host("www.example"), paused).await.unwrap();

    assert_eq!((state("blog.example"), state("www.example")), (HostState::Running, HostState::Paused));
    let mut waiting = world.directory.lookup("www.example").unwrap().all()[0].availability.clone();
    world.supervisor.remove_host(&host("www.example")).await.unwrap();
    assert!(waiting.changed().await.is_err(), "whoever waits for a host that is removed waits no longer");
}

#[tokio::test(start_paused = true)]
async fn what_people_asked_for_survives_a_restart() {
    let first = World::serving(blog()).await;
    first.apps.put(app("shop"));
    first.apps.put(app("gone"));
    first.supervisor.add_host(add("buy.example", Some("/srv/shop"))).await.unwrap();
    first.supervisor.add_host(add("lost.example", Some("/srv/gone"))).await.unwrap();
    for name in ["blog.example", "buy.example"] {
        let paused = SetState { state: HostState::Paused, page: None };
        first.supervisor.set_state(&host(name), paused).await.unwrap();
    }
    first.supervisor.stop(Duration::ZERO).await;

    first.apps.delete("/srv/gone");
    let second = World::start_in(first.state, first.apps, [blog()], |_| Behaviour::default());
    assert_eq!(second.supervisor.settled().await, []);
    second.until("serving", |app| app.workers.ready == 2).await;
    while second.backend.alive().len() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let hosts: Vec<_> =
        second.supervisor.hosts().await.into_iter().map(|entry| HostEntry { live: true, ..entry }).collect();
    let expected = [
        "blog.example blog Paused Config true",
        "buy.example shop Paused Added true",
        "lost.example gone Running Added true",
        "shop.example shop Running Config true",
    ];
    assert_eq!(shown(&hosts), expected);
    assert_eq!(second.claim("lost.example").await.err(), Some(ClaimError::Closed));
    let lost = second.supervisor.apps().await.pop().unwrap();
    assert_eq!(lost.rejected.unwrap().reason, "there is no app at /srv/gone");

    second.apps.put(app("gone"));
    let events = all(second.supervisor.deploy(Some(&lost.app)).await.unwrap()).await;
    assert!(matches!(events.last(), Some(DeployEvent::Done { .. })), "{events:?}");
    assert!(second.claim("lost.example").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_app_that_cannot_be_read_at_the_start_is_told() {
    let world = World::start([], |_| Behaviour::default());
    world.supervisor.stop(Duration::ZERO).await;
    let unreadable = World::start_in(world.state, Arc::default(), [], |_| Behaviour::default());
    assert_eq!(unreadable.supervisor.settled().await, []);
    let error = unreadable.supervisor.add_host(add("a.example", None)).await.unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), ("no-such-app", "there is no app"));
}
