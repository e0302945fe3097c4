//! The content of the registry, and the look of its files.

mod crashes;

use std::error::Error;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn entry(host: &str, path: &str) -> RegistryEntry {
    let path = Path::new(path).into();
    RegistryEntry { host: host.parse().unwrap(), path, state: HostState::Running, page: None, acme: true }
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.json");
    (dir, path)
}

fn opened(path: &Path) -> Vec<RegistryEntry> {
    all(&Registry::open(path).unwrap())
}

fn all(registry: &Registry) -> Vec<RegistryEntry> {
    registry.entries().cloned().collect()
}

/// The file of changes without the zeros that are to be overwritten.
fn changes(path: &Path) -> String {
    let text = fs::read_to_string(path.with_extension("changes")).unwrap();
    text.trim_end_matches('\0').to_owned()
}

#[test]
fn a_missing_file_is_an_empty_registry_and_is_not_created() {
    let (_dir, path) = folder();
    assert_eq!(opened(&path), []);
    assert!(!path.exists());
}

#[test]
fn what_was_set_is_there_after_opening_again() {
    let (_dir, path) = folder();
    let stopped = RegistryEntry {
        state: HostState::Stopped,
        page: Some("<p>\"back\" soon</p>\n".into()),
        ..entry("b.example", "/srv/b")
    };
    let mut registry = Registry::open(&path).unwrap();

    assert!(registry.set(stopped.clone()).unwrap());
    assert!(registry.set(entry("*.a.example", "/srv/a")).unwrap());

    assert_eq!(opened(&path), [entry("*.a.example", "/srv/a"), stopped]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path.with_extension("changes")), 0o600);
    registry.settle().unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_change_is_a_line_beside_the_file_until_that_has_every_host() {
    let (_dir, path) = folder();
    let mut registry = Registry::open(&path).unwrap();
    registry.set(entry("a.example", "/srv/a")).unwrap();
    registry.set(entry("b.example", "/srv/b")).unwrap();
    registry.set(entry("c.example", "/srv/c")).unwrap();
    registry.remove(&"c.example".parse().unwrap()).unwrap();

    let expected = "{\"version\":1}\n\
        6qmqlgxr45n4e36c 1 {\"set\":{\"host\":\"a.example\",\"path\":\"/srv/a\",\"state\":\"running\"}}\n\
        z6l4eueey5ez3bec 2 {\"set\":{\"host\":\"b.example\",\"path\":\"/srv/b\",\"state\":\"running\"}}\n\
        bace3u6bppn6xnra 3 {\"set\":{\"host\":\"c.example\",\"path\":\"/srv/c\",\"state\":\"running\"}}\n\
        kiyzakrlnmloah5o 4 {\"remove\":\"c.example\"}\n";
    assert_eq!(changes(&path), expected);
    assert!(!path.exists());

    registry.settle().unwrap();

    let expected = "{\"version\":2,\"last_change\":4,\"hosts\":[\n\
        {\"host\":\"a.example\",\"path\":\"/srv/a\",\"state\":\"running\"},\n\
        {\"host\":\"b.example\",\"path\":\"/srv/b\",\"state\":\"running\"}\n\
        ]}\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    assert!(!path.with_extension("changes").exists());
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let (_dir, path) = folder();
    let mut registry = Registry::open(&path).unwrap();
    registry.set(entry("a.example", "/srv/a")).unwrap();
    let before = changes(&path);

    assert!(!registry.set(entry("a.example", "/srv/a")).unwrap());
    assert!(!registry.remove(&"unknown.example".parse().unwrap()).unwrap());
    assert_eq!(changes(&path), before);

    registry.settle().unwrap();
    fs::remove_file(&path).unwrap();
    registry.settle().unwrap();
    assert!(!path.exists());
}

#[test]
fn a_failed_write_leaves_the_registry_as_it_was() {
    let (dir, path) = folder();
    let mut registry = Registry::open(&path).unwrap();
    registry.set(entry("a.example", "/srv/a")).unwrap();
    let before = all(&registry);
    dir.close().unwrap();

    assert!(matches!(registry.set(entry("b.example", "/srv/b")), Err(RegistryError::Write { .. })));
    assert!(matches!(registry.set(entry("a.example", "/srv/b")), Err(RegistryError::Write { .. })));
    let host = "a.example".parse().unwrap();
    assert!(matches!(registry.remove(&host), Err(RegistryError::Write { .. })));

    assert_eq!(all(&registry), before);
}

#[test]
fn a_path_that_json_cannot_hold_is_refused() {
    let (_dir, path) = folder();
    let mut registry = Registry::open(&path).unwrap();
    let odd =
        RegistryEntry { path: Path::new(OsStr::from_bytes(b"/srv/\xff")).into(), ..entry("a.example", "/") };

    assert!(matches!(registry.set(odd), Err(RegistryError::Entry { .. })));

    assert_eq!(all(&registry), []);
    assert!(!path.exists() && !path.with_extension("changes").exists());
}

#[test]
fn another_version_is_named_whatever_else_the_file_holds() {
    let (_dir, path) = folder();
    fs::write(&path, r#"{"hosts":{"new":"shape"},"version":3}"#).unwrap();

    let error = Registry::open(&path).unwrap_err();

    let expected =
        format!("the registry `{}` has version 3; this program knows version 2 at most", path.display());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_malformed_file_is_an_error_with_its_place_and_is_left_alone() {
    let (_dir, path) = folder();
    let host = r#"{"host":"a.example","path":"/a","intent":"run"}"#;
    for (text, line, column) in [
        (String::new(), 1, 0),
        ("{\"version\":2,\"last_change\":9007199254740993,\"hosts\":[]}".into(), 1, 43),
        ("{\"version\":1,\"hosts\":[\n{\"host\":\"a.ex".into(), 2, 13),
        ("[]".into(), 1, 2),
        ("{\"version\":1,\n\"hosts\":[],\n\"extra\":1}".into(), 3, 7),
        ("{\"version\":1,\"hosts\":[\n{\"host\":\"a:1\",\"path\":\"/a\",\"intent\":\"run\"}]}".into(), 2, 13),
        (format!("{{\"version\":1,\"hosts\":[{host}]}}\nrest"), 2, 1),
    ] {
        fs::write(&path, &text).unwrap();
        let error = Registry::open(&path).unwrap_err();
        let place = format!("is malformed at line {line}, column {column}");
        assert!(error.to_string().ends_with(&place), "{text:?}: {error}");
        assert!(error.source().is_some());
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_host_named_twice_is_refused() {
    let (_dir, path) = folder();
    let host = r#"{"host":"A.example","path":"/a","intent":"run"}"#;
    fs::write(&path, format!("{{\"version\":1,\"hosts\":[{host},{}]}}", host.to_lowercase())).unwrap();

    assert!(matches!(Registry::open(&path), Err(RegistryError::Twice { .. })));
}

#[test]
fn a_file_that_cannot_be_read_is_not_an_empty_registry() {
    let (_dir, path) = folder();
    fs::create_dir(&path).unwrap();
    assert!(matches!(Registry::open(&path), Err(RegistryError::Read { .. })));
}

#[test]
fn a_hundred_thousand_hosts_survive() {
    let (_dir, path) = folder();
    let many: Vec<_> = (0..100_000).map(|n| entry(&format!("host-{n:06}.example"), "/srv/app")).collect();
    snapshot::write(&path, 0, many.iter()).unwrap();

    let mut registry = Registry::open(&path).unwrap();
    registry.remove(&"host-000000.example".parse().unwrap()).unwrap();

    assert_eq!(opened(&path), many[1..]);
}

#[test]
fn a_file_of_the_first_version_is_read_and_goes_on() {
    let (_dir, path) = folder();
    let text =
        "{\"version\":1,\"hosts\":[\n{\"host\":\"a.example\",\"path\":\"/srv/a\",\"intent\":\"run\"}\n]}\n";
    fs::write(&path, text).unwrap();
    let mut registry = Registry::open(&path).unwrap();

    registry.set(entry("b.example", "/srv/b")).unwrap();

    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    let both = [entry("a.example", "/srv/a"), entry("b.example", "/srv/b")];
    assert_eq!(opened(&path), both);
    registry.settle().unwrap();
    assert_eq!(opened(&path), both);
}

#[test]
fn files_that_say_intent_are_read_and_written_with_the_states() {
    let (_dir, path) = folder();
    let hosts = [("a", "hold"), ("b", "stop")].map(|(name, intent)| {
        format!("{{\"host\":\"{name}.example\",\"path\":\"/srv/{name}\",\"intent\":\"{intent}\"}}")
    });
    let text = format!("{{\"version\":2,\"last_change\":2,\"hosts\":[\n{}\n]}}\n", hosts.join(",\n"));
    fs::write(&path, text).unwrap();
    let change = "{\"version\":1}\n\
        3vek3rnpggqtvnup 3 {\"set\":{\"host\":\"c.example\",\"path\":\"/srv/c\",\"intent\":\"run\"}}\n";
    fs::write(path.with_extension("changes"), change).unwrap();

    let mut registry = Registry::open(&path).unwrap();

    let states: Vec<_> = registry.entries().map(|entry| entry.state).collect();
    assert_eq!(states, [HostState::Paused, HostState::Stopped, HostState::Running]);
    registry.settle().unwrap();
    let written = fs::read_to_string(&path).unwrap();
    assert!(written.contains("\"state\":\"paused\"") && !written.contains("intent"), "{written}");
}

#[test]
fn hosts_that_lead_to_one_app_share_its_path() {
    let (_dir, path) = folder();
    let hosts = ["a.example", "b.example"].map(|host| entry(host, "/srv/app"));
    snapshot::write(&path, 0, hosts.iter()).unwrap();

    let read = opened(&path);

    assert!(Arc::ptr_eq(&read[0].path, &read[1].path));
}

#[test]
fn changes_that_fill_their_file_are_put_into_the_other_one() {
    let (_dir, path) = folder();
    let mut registry = Registry::open(&path).unwrap();
    let many: Vec<_> = (0..4000).map(|n| entry(&format!("host-{n:06}.example"), "/srv/app")).collect();
    for entry in &many {
        registry.set(entry.clone()).unwrap();
    }

    let snapshot = Snapshot::read(&path).unwrap();
    assert!((1000..4000).contains(&snapshot.last_change), "{}", snapshot.last_change);
    assert_eq!(snapshot.entries.len() as u64, snapshot.last_change);
    assert_eq!(opened(&path), many);
}

#[test]
fn a_change_larger_than_their_file_is_put_into_the_other_one_at_once() {
    let (_dir, path) = folder();
    let mut registry = Registry::open(&path).unwrap();
    let page = |letter: &str| Some(letter.repeat(300_000));
    let stopped = |host, letter| RegistryEntry {
        state: HostState::Stopped,
        page: page(letter),
        ..entry(host, "/srv/a")
    };

    registry.set(stopped("a.example", "a")).unwrap();
    assert_eq!(opened(&path), [stopped("a.example", "a")]);
    registry.set(entry("b.example", "/srv/b")).unwrap();
    registry.set(stopped("c.example", "c")).unwrap();

    let hosts = [stopped("a.example", "a"), entry("b.example", "/srv/b"), stopped("c.example", "c")];
    assert_eq!(opened(&path), hosts);
}
