//! Servers and the agent of a machine over a real socket. No authority is asked: the hosts are such that get none.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::agent::HostStatus;
use crate::challenges::PREFIX;
use crate::metrics::Metrics;
use crate::name::{HostName, InstanceName};
use crate::spec::acme::{Acme, LETS_ENCRYPT};

const TOKEN: &str = "/.well-known/acme-challenge/DGyRejmCefe7v4NfDGDKfA-_";

/// The agent's end, and what is stopped with the test.
struct Machine {
    folder: tempfile::TempDir,
    stop: TaskGroup,
}

impl Machine {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), stop: TaskGroup::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn registrations(&self) -> Arc<Registrations> {
        let registrations = Registrations::new(registrations::Parts {
            state: self.path("state"),
            pairs: self.path("pairs"),
            challenges: Challenges::default(),
            clock: WallClock::system(),
            stop: self.stop.clone(),
        });
        Arc::new(registrations.unwrap())
    }

    fn starts_agent(&self) {
        let listener = UnixListener::bind(self.path("agent.sock")).unwrap();
        self.stop.spawn("agent socket", accept(listener, self.registrations(), self.stop.clone()));
    }

    fn server(&self, name: &str, acme: Acme) -> (AgentLink, Challenges) {
        let challenges = Challenges::default();
        let (_, hosts) = tokio::sync::watch::channel(Arc::from([host(name)]));
        let link = AgentLink::start(LinkParts {
            socket: self.path("agent.sock"),
            instance: InstanceName::parse(name).unwrap(),
            acme,
            hosts,
            challenges: challenges.clone(),
            metrics: Metrics::new(),
            stop: self.stop.clone(),
        });
        (link, challenges)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop.request();
    }
}

fn host(server: &str) -> HostName {
    format!("{server}.local").parse().unwrap()
}

fn acme() -> Acme {
    Acme::with(vec![LETS_ENCRYPT.into()])
}

/// Waits until a server is told what holds.
async fn told(link: &AgentLink, holds: impl Fn(&[HostStatus]) -> bool) -> Vec<HostStatus> {
    let looking = async {
        while !holds(&link.standing().hosts) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        link.standing().hosts.clone()
    };
    let found = timeout(Duration::from_secs(60), looking).await;
    found.unwrap_or_else(|_| panic!("not in a minute: {:?}", link.standing()))
}

fn is_problem(hosts: &[HostStatus], text: &str) -> bool {
    hosts.first().and_then(|status| status.problem.as_deref()).is_some_and(|problem| problem.contains(text))
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn servers_of_a_machine_share_an_account_and_answer_for_each_others_hosts() {
    let machine = Machine::new();
    machine.starts_agent();
    let other = Acme { email: Some("me@example.com".into()), ..acme() };
    let servers =
        [machine.server("blog", acme()), machine.server("shop", acme()), machine.server("wiki", other)];
    for ((link, challenges), name) in servers.iter().zip(["blog", "shop", "wiki"]) {
        let hosts = told(link, |hosts| is_problem(hosts, "for local use")).await;
        assert_eq!(hosts.iter().map(|status| status.host.clone()).collect::<Vec<_>>(), [host(name)]);
        for elsewhere in ["blog.local", "shop.local", "wiki.local"] {
            let looking = async {
                while !challenges.is_elsewhere(elsewhere) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(Duration::from_secs(60), looking).await.unwrap();
        }
    }
    let answers: Vec<_> = servers.iter().map(|(_, challenges)| challenges.answer(TOKEN)).collect();
    assert!(
        answers[0].as_ref().is_some_and(|answer| answer.starts_with(&TOKEN[PREFIX.len()..])),
        "{answers:?}"
    );
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(files(&machine.path("state")), ["account.pem", "hosts", "orders"]);
}

#[tokio::test]
async fn a_renewal_that_cannot_be_says_why() {
    let machine = Machine::new();
    machine.starts_agent();
    let (link, _) = machine.server("blog", acme());
    told(&link, |hosts| is_problem(hosts, "for local use")).await;
    let why = link.renew(host("blog"), false).await.unwrap_err();
    assert!(why.contains("for local use"), "{why}");
    let why = link.renew(host("shop"), false).await.unwrap_err();
    assert!(why.contains("not a host of this server"), "{why}");
}

#[tokio::test]
async fn a_server_says_that_the_agent_is_away_and_finds_it_when_it_comes() {
    let machine = Machine::new();
    let (link, _) = machine.server("blog", acme());
    told(&link, |hosts| is_problem(hosts, "agent.sock")).await;
    assert!(link.renew(host("blog"), false).await.unwrap_err().contains("agent.sock"));
    machine.starts_agent();
    told(&link, |hosts| is_problem(hosts, "for local use")).await;
}

#[tokio::test]
async fn a_server_whose_settings_cannot_be_used_is_told_why() {
    let machine = Machine::new();
    machine.starts_agent();
    let planted = machine.path("hook");
    std::fs::write(&planted, "").unwrap();
    let (link, _) = machine.server("blog", Acme { hook: Some(planted), ..acme() });
    told(&link, |hosts| is_problem(hosts, "others than root")).await;
    let (link, _) = machine.server("shop", Acme { root: Some(machine.path("missing")), ..acme() });
    told(&link, |hosts| is_problem(hosts, "tls.acme_root")).await;
}

#[tokio::test(start_paused = true)]
async fn the_agent_is_unused_when_the_last_server_has_gone_for_good() {
    let machine = Machine::new();
    let registrations = machine.registrations();
    let span = Duration::from_secs(5);
    let first = registrations.connect();
    assert!(timeout(Duration::from_secs(60), registrations.unused_for(span)).await.is_err());
    drop(first);
    let second = registrations.connect();
    assert!(timeout(Duration::from_secs(60), registrations.unused_for(span)).await.is_err());
    drop(second);
    registrations.unused_for(span).await;
}

#[tokio::test]
async fn a_server_that_comes_back_in_time_never_leaves() {
    let machine = Machine::new();
    let registrations = machine.registrations();
    let blog = InstanceName::parse("blog").unwrap();
    let want = async || registrations.register(blog.clone(), acme(), vec![host("blog")]).await.unwrap().1;
    let before = want().await;
    let now = want().await;
    registrations.leave(&blog, before).await;
    assert_eq!(**registrations.hosts().borrow(), [host("blog")]);
    registrations.leave(&blog, now).await;
    assert_eq!(**registrations.hosts().borrow(), []);
}
