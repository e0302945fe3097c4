//! A folder of certificates: found by what they say, swapped while the server runs, a bad one never in the place of a
//! good one; and who is answered with what where the server has certificates that others know.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};

use crate::support::ctl::rip_server;
use crate::support::{Server, Setup, has, tls, until};

/// A pair in PEM, and the serial number of its certificate.
struct Made {
    cert: String,
    key: String,
    serial: String,
}

impl Made {
    fn new(names: &[&str], days: u32) -> Self {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = (SystemTime::now() - DAY).into();
        params.not_after = (SystemTime::now() + days * DAY).into();
        let cert = params.self_signed(&key).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(cert.der()).unwrap();
        let serial = parsed.raw_serial_as_string();
        Self { cert: cert.pem(), key: key.serialize_pem(), serial }
    }
}

/// Writes files below a folder, folders made where they are missing.
fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

async fn start(folder: &Path, words: &[&str]) -> Server {
    let words = [&["--certs", folder.to_str().unwrap()], words].concat();
    Setup::scripted().tls().words(&words).start().await
}

async fn served(server: &Server, name: &str, made: &Made) {
    until(&format!("{name} has its certificate"), || async {
        tls::connect(server.port(), name, &["http/1.1"]).await.is_ok()
            && tls::serial(server.port(), name).await == made.serial
    })
    .await;
}

async fn is_refused(server: &Server, name: &str) -> bool {
    match tls::connect(server.port(), name, &["http/1.1"]).await {
        Ok(_) => false,
        Err(error) => error.to_string().contains("UnrecognisedName"),
    }
}

/// The problems that the status tells, a line each.
async fn problems(server: &Server) -> String {
    let certificates = server.status().await.certificates;
    let problems = certificates.into_iter().filter_map(|certificate| certificate.problem);
    problems.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn pairs_are_found_by_what_the_certificates_say_in_every_usual_layout() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b, c, d, e, f, g] =
        ["a.example", "b.example", "c.example", "d.example", "e.example", "*.f.example", "127.0.0.9"]
            .map(|name| Made::new(&[name], 90));
    let both = format!("{}{}", c.key, c.cert);
    write(
        folder.path(),
        &[
            ("a.example.pem", &a.cert),
            ("a.example.key", &a.key),
            // Each after the other's name.
            ("x/b.crt", &e.cert),
            ("x/b.key", &b.key),
            ("x/e.crt", &b.cert),
            ("x/e.key", &e.key),
            ("both.pem", &both),
            // As certbot has it, with links.
            ("archive/d.example/fullchain7.pem", &d.cert),
            ("archive/d.example/cert7.pem", &d.cert),
            ("archive/d.example/privkey7.pem", &d.key),
            // As /etc/ssl has it.
            ("certs/wild.pem", &f.cert),
            ("private/other", &f.key),
            ("certs/tls.crt", &g.cert),
            ("private/tls.key", &g.key),
            ("README", "not a certificate"),
            ("dhparam.pem", "-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n"),
        ],
    );
    let live = folder.path().join("live/d.example");
    fs::create_dir_all(&live).unwrap();
    for name in ["fullchain", "cert", "privkey"] {
        let to = format!("../../archive/d.example/{name}7.pem");
        symlink(to, live.join(format!("{name}.pem"))).unwrap();
    }
    let server = start(folder.path(), &[]).await;

    for (name, made) in [
        ("a.example", &a),
        ("b.example", &b),
        ("c.example", &c),
        ("d.example", &d),
        ("e.example", &e),
        ("any.f.example", &f),
    ] {
        assert_eq!(tls::serial(server.port(), name).await, made.serial, "{name}");
    }
    assert_eq!(problems(&server).await, "");
    let sources: Vec<String> =
        server.status().await.certificates.into_iter().map(|certificate| certificate.source).collect();
    assert_eq!(sources, ["folder"; 7]);
}

#[tokio::test]
async fn files_that_are_too_deep_or_hidden_are_not_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let [deep, deeper, hidden] = ["a.example", "b.example", "c.example"].map(|name| Made::new(&[name], 90));
    for (place, made) in [("1/2/", &deep), ("1/2/3/", &deeper), (".old/", &hidden)] {
        write(
            folder.path(),
            &[(&format!("{place}c.pem"), &made.cert), (&format!("{place}k.pem"), &made.key)],
        );
    }
    let server = start(folder.path(), &[]).await;
    assert_eq!(tls::serial(server.port(), "a.example").await, deep.serial);
    for name in ["b.example", "c.example"] {
        assert!(is_refused(&server, name).await, "{name}");
    }
}

#[tokio::test]
async fn a_pair_that_comes_changes_or_goes_is_noticed_and_open_connections_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let first = Made::new(&["localhost"], 90);
    write(folder.path(), &[("fullchain.pem", &first.cert), ("privkey.pem", &first.key)]);
    let server = start(folder.path(), &[]).await;
    let mut kept = server.connect().await;
    assert_eq!(kept.get("/").await.status, 200);

    let second = Made::new(&["localhost", "b.example"], 30);
    write(folder.path(), &[("privkey.pem", &second.key), ("fullchain.pem", &second.cert)]);
    served(&server, "b.example", &second).await;
    served(&server, "localhost", &second).await;
    assert_eq!(kept.get("/").await.status, 200, "a connection from before goes on");

    let other = Made::new(&["c.example"], 90);
    write(folder.path(), &[("new/c.pem", &other.cert), ("new/c.key", &other.key)]);
    served(&server, "c.example", &other).await;

    fs::remove_dir_all(folder.path().join("new")).unwrap();
    until("the pair that is gone is served no more", || is_refused(&server, "c.example")).await;
    assert_eq!(kept.get("/").await.status, 200, "a connection from before goes on");
}

#[tokio::test]
async fn of_two_for_a_name_the_one_that_lasts_longest_wins_and_the_other_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let [short, long] = [30, 90].map(|days| Made::new(&["a.example"], days));
    write(folder.path(), &[("1.pem", &short.cert), ("1.key", &short.key)]);
    write(folder.path(), &[("2.pem", &long.cert), ("2.key", &long.key)]);
    let server = start(folder.path(), &[]).await;
    assert_eq!(tls::serial(server.port(), "a.example").await, long.serial);
    let output = server.output();
    assert!(output.contains("1.pem` is not used: `") && output.contains("2.pem` has its names"), "{output}");
}

#[tokio::test]
async fn a_bad_pair_never_replaces_a_good_one_and_what_is_wrong_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let good = Made::new(&["a.example"], 90);
    let other = Made::new(&["b.example"], 90);
    write(folder.path(), &[("a.pem", &good.cert), ("a.key", &good.key)]);
    write(folder.path(), &[("b/b.pem", &other.cert), ("b/b.key", &other.key)]);
    let server = start(folder.path(), &[]).await;
    let expired = Made::new(&["a.example"], 0);
    for (files, said) in [
        (&[("a.pem", "garbage")][..], "neither PEM nor DER"),
        (&[("a.pem", "")], "the file is empty"),
        (&[("a.pem", &*good.cert), ("a.key", "")], "the file is empty"),
        (&[("a.key", &*other.key)], "does not belong"),
        (&[("a.pem", &*expired.cert), ("a.key", &*expired.key)], "has expired already"),
    ] {
        write(folder.path(), files);
        until(said, || async { problems(&server).await.contains(said) }).await;
        assert_eq!(tls::serial(server.port(), "a.example").await, good.serial, "{said}");
        assert_eq!(tls::serial(server.port(), "b.example").await, other.serial, "{said}");
    }
    let renewed = Made::new(&["a.example"], 60);
    write(folder.path(), &[("a.key", &renewed.key), ("a.pem", &renewed.cert)]);
    served(&server, "a.example", &renewed).await;
    until("nothing is wrong any more", || async { problems(&server).await.is_empty() }).await;
    let folder = folder.path();
    fs::rename(folder.join("b"), folder.join("gone")).unwrap();
    fs::rename(folder.join("gone"), folder.join("b")).unwrap();
    assert_eq!(tls::serial(server.port(), "b.example").await, other.serial);
}

#[tokio::test]
async fn what_cannot_be_used_at_the_start_is_said_and_the_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let [good, lone] = ["a.example", "b.example"].map(|name| Made::new(&[name], 90));
    write(folder.path(), &[("a.pem", &good.cert), ("a.key", &good.key), ("lone.pem", &lone.cert)]);
    let server = start(folder.path(), &[]).await;
    assert_eq!(tls::serial(server.port(), "a.example").await, good.serial);
    let said = problems(&server).await;
    assert!(said.contains("lone.pem` has a certificate, and no file"), "{said}");
    server.output().says("lone.pem").await;
}

#[tokio::test]
async fn a_key_that_may_not_be_read_is_told_with_what_helps() {
    if !rustix::process::geteuid().is_root() || !has("setpriv", "util-linux") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let made = Made::new(&["localhost"], 90);
    write(folder.path(), &[("a.pem", &made.cert), ("a.key", &made.key)]);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Root reads everything, but for one without the rights of root.
    let without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    fs::set_permissions(folder.path().join("a.key"), fs::Permissions::from_mode(0o000)).unwrap();
    let words = ["--certs", folder.path().to_str().unwrap()];
    let server = Setup::scripted().tls().words(&words).within(&without).start().await;
    let said = problems(&server).await;
    assert!(said.contains("a.key`: the user that this server runs as has no right to"), "{said}");
    assert!(said.contains("LoadCredential="), "{said}");
}

#[tokio::test]
async fn a_folder_that_is_not_there_exits_2_and_is_named() {
    let home = tempfile::tempdir().unwrap();
    let app = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apps/hello");
    let words = [app, "https:0", "--no-redirect-http", "--state-dir=s", "--runtime-dir=r", "--certs=none"];
    let ran = rip_server(home.path(), &words).await.expect(2);
    assert!(ran.err.contains("/none: No such file"), "{ran:?}");
}

#[tokio::test]
async fn a_pair_answers_for_its_names_and_the_next_source_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let [own, other] = ["a.example", "b.example"].map(|name| Made::new(&[name], 90));
    write(folder.path(), &[("own/a.pem", &own.cert), ("own/a.key", &own.key)]);
    write(folder.path(), &[("all/b.pem", &other.cert), ("all/b.key", &other.key)]);
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let (cert, key) = (path("own/a.pem"), path("own/a.key"));
    let words = ["--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let server = start(&path("all"), &words).await;

    // By name, and without one.
    for (name, made) in [("a.example", &own), ("b.example", &other), ("127.0.0.1", &own)] {
        assert_eq!(tls::serial(server.port(), name).await, made.serial, "{name}");
    }
    server.ctl(&["add", "c.example"]).await.expect(0);
    let (names, issuer) = tls::names(server.port(), "c.example").await;
    assert!(names == ["c.example"] && issuer.contains("self-signed"), "{names:?} {issuer}");
    let (_, issuer) = tls::names(server.port(), "localhost").await;
    assert!(issuer.contains("self-signed"), "{issuer}");
    assert!(is_refused(&server, "stranger.example").await);
}

#[tokio::test]
async fn strangers_get_the_default_that_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = ["a.example", "b.example"].map(|name| Made::new(&[name], 90));
    write(folder.path(), &[("a.pem", &a.cert), ("a.key", &a.key), ("b.pem", &b.cert), ("b.key", &b.key)]);
    let words = ["--certs", folder.path().to_str().unwrap()];
    let setup = || Setup::scripted().tls().words(&words);
    let server = setup().server("tls.default = \"b.example\"").start().await;
    for name in ["stranger.example", "127.0.0.1", "b.example"] {
        assert_eq!(tls::serial(server.port(), name).await, b.serial, "{name}");
    }
    let server = setup().start().await;
    assert_eq!(tls::serial(server.port(), "127.0.0.1").await, a.serial);
    assert!(is_refused(&server, "stranger.example").await);
}

const DAY: Duration = Duration::from_secs(86_400);
