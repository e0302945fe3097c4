//! The keeper as its users meet it: started on a folder, asked by clients, while files, hosts and dates change.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::super::testing::{DAY, Link, Pem, hosts, now, register, resolver, script};
use std::sync::Arc;

use crate::spec::CertFiles;

use super::*;

struct Case {
    dir: tempfile::TempDir,
    directory: Directory,
    resolver: Arc<CertResolver>,
    metrics: Metrics,
    stop: TaskGroup,
}

impl Case {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            directory: Directory::new(),
            resolver: resolver(),
            metrics: Metrics::new(),
            stop: TaskGroup::new(),
        }
    }

    /// The same folder and hosts in a new process.
    fn again(self) -> Self {
        self.stop.request();
        Self { resolver: resolver(), metrics: Metrics::new(), stop: TaskGroup::new(), ..self }
    }

    async fn start(&self, sources: CertSources, at: SystemTime) -> CertKeeper {
        self.try_start(sources, at, None).await.unwrap()
    }

    async fn try_start(
        &self,
        sources: CertSources,
        at: SystemTime,
        mkcert: Option<Mkcert>,
    ) -> Result<CertKeeper, CertError> {
        let parts = CertKeeperParts {
            sources,
            state_dir: self.dir.path().join("state"),
            directory: self.directory.clone(),
            resolver: Arc::clone(&self.resolver),
            clock: WallClock::fixed(at),
            metrics: self.metrics.clone(),
            stop: self.stop.clone(),
        };
        CertKeeper::start_with(parts, mkcert).await
    }

    fn files(&self) -> CertSources {
        let files = CertFiles { cert: self.path("cert.pem"), key: self.path("key.pem") };
        CertSources { files: Some(files), ..CertSources::default() }
    }

    fn write(&self, pem: &Pem) {
        fs::write(self.path("cert.pem"), &pem.cert).unwrap();
        fs::write(self.path("key.pem"), &pem.key).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn kept(&self, name: &str) -> PathBuf {
        self.dir.path().join("state/certs").join(name)
    }

    fn mkcert(&self, text: &str) -> Option<Mkcert> {
        script(&self.path("mkcert"), text);
        Mkcert::find_on(self.dir.path().as_os_str())
    }

    /// The certificate that a client is shown which asks for `name`.
    fn shown(&self, name: &str) -> Vec<u8> {
        Link::open(&self.resolver, name).unwrap().shown().to_vec()
    }

    fn gauge(&self) -> String {
        let page = self.metrics.render();
        let lines = page.lines().filter(|line| line.starts_with("rip_certificate_expiry_seconds{"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn pem(names: &[&str], days: u32) -> Pem {
    Pem::new(names, now() - DAY, now() + days * DAY)
}

fn der(pem: &Pem) -> Vec<u8> {
    pem.certificate().key.cert[0].to_vec()
}

/// Lets the keeper work until `reached` is true.
async fn until(reached: impl Fn() -> bool) {
    for _ in 0..600 {
        if reached() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not reached within a minute");
}

#[tokio::test(start_paused = true)]
async fn explicit_files_answer_for_their_names_and_for_none_and_are_shown_to_people() {
    let case = Case::new();
    let pem = pem(&["a.example"], 90);
    case.write(&pem);

    let keeper = case.start(case.files(), now()).await;

    for name in ["a.example", "127.0.0.1"] {
        assert_eq!(case.shown(name), der(&pem), "{name}");
    }
    assert!(case.resolver.refuses(Some("unknown.example")));
    let expected = CertificateStatus {
        names: vec!["a.example".into()],
        source: "files".into(),
        expires_in: 90 * 86_400,
        problem: None,
    };
    assert_eq!(keeper.status(), [expected]);
    assert!(case.gauge().contains("a.example"), "{}", case.gauge());
    assert!(!case.path("state").exists(), "explicit files need no folder");
}

#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_used_are_an_error_at_the_start() {
    let case = Case::new();
    let error = case.try_start(case.files(), now(), None).await.err().unwrap();
    assert_eq!(error.to_string(), format!("cannot read `{}`", case.path("cert.pem").display()));

    case.write(&Pem { key: pem(&["a.example"], 90).key, ..pem(&["a.example"], 90) });
    let error = case.try_start(case.files(), now(), None).await.err().unwrap();
    let expected = format!(
        "`{}` is not usable: the private key does not belong to the first certificate of the chain, nor to another in \
         it: both files have to come from one request",
        case.path("key.pem").display()
    );
    assert_eq!(in_full(&error), expected);
}

#[tokio::test(start_paused = true)]
async fn renewed_files_are_shown_without_a_restart() {
    let case = Case::new();
    case.write(&pem(&["a.example", "old.example"], 1));
    let keeper = case.start(case.files(), now()).await;
    let mut open = Link::open(&case.resolver, "a.example").unwrap();

    let renewed = pem(&["a.example"], 90);
    case.write(&renewed);
    until(|| case.shown("a.example") == der(&renewed)).await;

    assert!(open.works());
    assert_eq!(keeper.status()[0].expires_in, 90 * 86_400);
    assert!(!case.gauge().contains("old.example"), "{}", case.gauge());
}

#[tokio::test(start_paused = true)]
async fn hosts_that_keep_coming_do_not_hide_renewed_files() {
    let case = Case::new();
    case.write(&pem(&["a.example"], 1));
    case.start(case.files(), now()).await;

    let renewed = pem(&["a.example"], 90);
    case.write(&renewed);
    until(|| {
        register(&case.directory, "b.example");
        case.shown("a.example") == der(&renewed)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn bad_new_files_leave_the_good_old_ones_and_good_ones_help_again() {
    let case = Case::new();
    let old = pem(&["a.example"], 9);
    case.write(&old);
    let keeper = case.start(case.files(), now()).await;
    let problem = || keeper.status()[0].problem.clone();

    let stranger = pem(&["a.example"], 90);
    fs::write(case.path("cert.pem"), &stranger.cert).unwrap();
    until(|| problem().is_some_and(|text| text.contains("does not belong to the first certificate"))).await;
    assert_eq!(case.shown("a.example"), der(&old));

    case.write(&Pem::new(&["a.example"], now() - 9 * DAY, now() - DAY));
    until(|| problem().is_some_and(|text| text.contains("has expired already"))).await;
    assert_eq!(case.shown("a.example"), der(&old));

    fs::remove_file(case.path("key.pem")).unwrap();
    until(|| problem().is_some_and(|text| text.contains("cannot read"))).await;
    assert_eq!(case.shown("a.example"), der(&old));

    case.write(&stranger);
    until(|| case.shown("a.example") == der(&stranger)).await;
    assert_eq!(problem(), None);
}

#[tokio::test(start_paused = true)]
async fn a_self_signed_server_has_one_for_this_machine_and_one_for_each_host() {
    let case = Case::new();
    register(&case.directory, "a.example");
    register(&case.directory, "*.b.example");
    let keeper = case.start(CertSources::default(), now()).await;

    let default = case.shown("localhost");
    for name in ["127.0.0.1", "::1", "unknown.example"] {
        assert_eq!(case.shown(name), default, "{name}");
    }
    for name in ["a.example", "x.b.example"] {
        assert_ne!(case.shown(name), default, "{name}");
    }

    let names: Vec<_> = keeper.status().into_iter().map(|certificate| certificate.names).collect();
    let expected: [&[&str]; 3] = [&["127.0.0.1", "[::1]", "localhost"], &["*.b.example"], &["a.example"]];
    assert_eq!(names, expected);
    until(|| case.gauge().contains("a.example")).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_made_is_kept_privately_and_used_again() {
    let case = Case::new();
    register(&case.directory, "a.example");
    case.start(CertSources::default(), now()).await;
    let before = ["localhost", "a.example"].map(|name| case.shown(name));
    until(|| case.kept("hosts/a.example.pem").exists()).await;
    for (name, mode) in
        [("", 0o700), ("hosts", 0o700), ("default.pem", 0o600), ("hosts/a.example.pem", 0o600)]
    {
        let found = fs::metadata(case.kept(name)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }

    let case = case.again();
    case.start(CertSources::default(), now() + 100 * DAY).await;
    assert_eq!(["localhost", "a.example"].map(|name| case.shown(name)), before);

    let case = case.again();
    let keeper = case.start(CertSources::default(), now() + 400 * DAY).await;
    for (name, old) in ["localhost", "a.example"].into_iter().zip(before) {
        assert_ne!(case.shown(name), old, "{name}");
    }
    assert!(keeper.status().iter().all(|certificate| certificate.expires_in > 390 * 86_400));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_comes_later_is_found_and_one_that_goes_is_forgotten() {
    let case = Case::new();
    let keeper = case.start(CertSources::default(), now()).await;
    let default = case.shown("a.example");

    register(&case.directory, "a.example");
    assert_ne!(case.shown("a.example"), default);
    until(|| case.kept("hosts/a.example.pem").exists()).await;

    case.directory.remove(&hosts(&["a.example"])[0].clone().into());
    assert_eq!(case.shown("a.example"), default);
    until(|| !case.kept("hosts/a.example.pem").exists()).await;
    assert_eq!(keeper.status().len(), 1);
    assert!(!case.gauge().contains("a.example"), "{}", case.gauge());
}

#[tokio::test(start_paused = true)]
async fn a_registered_address_gets_into_the_default_certificate() {
    let case = Case::new();
    let keeper = case.start(CertSources::default(), now()).await;
    register(&case.directory, "10.0.0.1");
    until(|| keeper.status()[0].names.contains(&"10.0.0.1".to_owned())).await;
    assert!(keeper.status()[0].names.contains(&"localhost".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn mkcert_that_is_not_there_is_replaced_by_self_signed() {
    let case = Case::new();
    let keeper = case.start(CertSources { mkcert: true, ..CertSources::default() }, now()).await;
    assert_eq!(keeper.status()[0].source, "self-signed");
}

#[tokio::test]
async fn mkcert_that_fails_is_replaced_by_self_signed() {
    for text in ["exit 1", "echo nonsense > $3; echo nonsense > $5"] {
        let case = Case::new();
        let mkcert = case.mkcert(text);
        let keeper = case
            .try_start(CertSources { mkcert: true, ..CertSources::default() }, now(), mkcert)
            .await
            .unwrap();
        assert_eq!(keeper.status()[0].source, "self-signed", "{text}");
    }
}

#[tokio::test]
async fn mkcert_makes_one_for_all_hosts_and_another_when_a_host_comes() {
    let case = Case::new();
    let first = pem(&["localhost", "127.0.0.1", "::1"], 800);
    let second = pem(&["localhost", "127.0.0.1", "::1", "a.example"], 800);
    for (name, pem) in [("first", &first), ("second", &second)] {
        fs::write(case.path(&format!("{name}.cert")), &pem.cert).unwrap();
        fs::write(case.path(&format!("{name}.key")), &pem.key).unwrap();
    }
    let folder = case.dir.path().display().to_string();
    let mkcert = case.mkcert(&format!(
        "echo \"$*\" >> {folder}/asked; which=first; [ -n \"$9\" ] && which=second\n\
         cat {folder}/$which.cert > $3; cat {folder}/$which.key > $5"
    ));

    let keeper = case
        .try_start(CertSources { mkcert: true, ..CertSources::default() }, now(), mkcert.clone())
        .await
        .unwrap();
    assert_eq!(case.shown("localhost"), der(&first));
    assert_eq!(keeper.status()[0].source, "mkcert");

    register(&case.directory, "a.example");
    until(|| case.shown("a.example") == der(&second)).await;

    let case = case.again();
    case.try_start(CertSources { mkcert: true, ..CertSources::default() }, now(), mkcert).await.unwrap();
    assert_eq!(case.shown("a.example"), der(&second));
    assert_eq!(fs::read_to_string(case.path("asked")).unwrap().lines().count(), 2, "the kept one was used");
}

#[tokio::test(start_paused = true)]
async fn the_keeper_ends_when_it_is_asked_to() {
    let case = Case::new();
    case.start(CertSources::default(), now()).await;
    case.stop.request();
    assert_eq!(case.stop.finished_within(Duration::from_secs(5)).await, 0);
}
