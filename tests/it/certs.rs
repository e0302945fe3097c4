//! Certificates: given, made by mkcert, self-signed; swapped while the server runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};

use crate::support::ctl::{SERVER, in_home, rip_server, run};
use crate::support::{Setup, has, skip, tls, until};

/// A certificate and its key in two files, as an admin has them.
pub(crate) struct Pair {
    cert: PathBuf,
    key: PathBuf,
}

impl Pair {
    pub(crate) fn new(folder: &Path, names: &[&str]) -> Self {
        let pair = Self { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
        pair.renew(names);
        pair
    }

    /// Words that name the files.
    pub(crate) fn words(&self) -> [&str; 4] {
        ["--cert", self.cert.to_str().unwrap(), "--key", self.key.to_str().unwrap()]
    }

    /// Writes another pair in its place, the key first as most programs do; its serial number.
    pub(crate) fn renew(&self, names: &[&str]) -> String {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let cert = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        fs::write(&self.key, key.serialize_pem()).unwrap();
        fs::write(&self.cert, cert.pem()).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(cert.der()).unwrap();
        parsed.raw_serial_as_string()
    }
}

#[tokio::test]
async fn a_given_certificate_is_swapped_when_its_files_change() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::new(folder.path(), &["localhost"]);
    let server = Setup::scripted().tls().words(&pair.words()).start().await;
    let mut kept = server.connect().await;
    let renewed = pair.renew(&["localhost"]);
    until("the new certificate is served", || async {
        tls::serial(server.port(), "localhost").await == renewed
    })
    .await;
    assert_eq!(kept.get("/").await.status, 200, "connections from before go on");
    assert_eq!(server.get("/").await.status, 200);
}

#[tokio::test]
async fn a_bad_pair_never_replaces_a_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::new(folder.path(), &["localhost"]);
    let server = Setup::scripted().tls().words(&pair.words()).start().await;
    let good = tls::serial(server.port(), "localhost").await;
    for bad in ["not a certificate\n", ""] {
        fs::write(&pair.cert, bad).unwrap();
        until("the status says what is wrong", || async {
            server.status().await.certificates.iter().any(|certificate| certificate.problem.is_some())
        })
        .await;
        assert_eq!(tls::serial(server.port(), "localhost").await, good);
    }
    let renewed = pair.renew(&["localhost"]);
    until("the repaired pair is served", || async {
        tls::serial(server.port(), "localhost").await == renewed
    })
    .await;
    until("nothing is wrong any more", || async {
        server.status().await.certificates.iter().all(|certificate| certificate.problem.is_none())
    })
    .await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_at_the_start_exits_2_and_says_which() {
    let home = tempfile::tempdir().unwrap();
    let pair = Pair::new(home.path(), &["localhost"]);
    fs::write(home.path().join("garbage.pem"), "garbage").unwrap();
    let app = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apps/hello");
    let [_, cert, _, key] = pair.words();
    for (cert, key, said) in [
        ("missing.pem", key, "missing.pem"),
        (cert, "missing.pem", "missing.pem"),
        ("garbage.pem", key, "garbage.pem"),
        (cert, "garbage.pem", "garbage.pem"),
    ] {
        let words = [
            app,
            "https:0",
            "--no-redirect-http",
            "--bind=127.0.0.1",
            "--state-dir=s",
            "--runtime-dir=r",
            "--cert",
            cert,
            "--key",
            key,
        ];
        let ran = rip_server(home.path(), &words).await.expect(2);
        assert!(ran.err.contains(said), "{ran:?}");
    }
    let ran = rip_server(home.path(), &[app, "https:0", "--cert", cert]).await.expect(2);
    assert!(ran.err.contains("--key"), "{ran:?}");
}

#[tokio::test]
async fn a_self_signed_certificate_is_kept_private_and_used_again() {
    let server = Setup::scripted().tls().start().await;
    let (mut names, issuer) = tls::names(server.port(), "127.0.0.1").await;
    names.sort();
    assert_eq!(names, ["127.0.0.1", "16 bytes", "localhost"]);
    assert!(issuer.contains("self-signed"), "{issuer}");
    let first = tls::serial(server.port(), "localhost").await;
    let keys = files_below(&server.root().join("state"), "PRIVATE KEY");
    assert!(!keys.is_empty());
    for key in &keys {
        assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600, "{}", key.display());
    }
    let server = Setup::scripted().tls().start_in(server.kill()).await;
    assert_eq!(tls::serial(server.port(), "localhost").await, first);
}

#[tokio::test]
async fn a_kept_certificate_is_used_again_until_it_has_expired() {
    let folder = Setup::scripted().tls().start().await.kill();
    let kept = folder.path().join("state/certs/default.pem");
    let valid = plant(&kept, SystemTime::now() + 300 * DAY);
    let server = Setup::scripted().tls().start_in(folder).await;
    assert_eq!(tls::serial(server.port(), "localhost").await, valid);

    let folder = server.kill();
    let expired = plant(&kept, SystemTime::now() - DAY);
    let server = Setup::scripted().tls().start_in(folder).await;
    let served = tls::certificate(server.port(), "localhost").await;
    let (_, served) = x509_parser::parse_x509_certificate(&served).unwrap();
    assert_ne!(served.raw_serial_as_string(), expired);
    assert!(served.validity().is_valid());
    assert_eq!(server.get("/").await.status, 200);
    let server = Setup::scripted().tls().start_in(server.kill()).await;
    assert_eq!(
        tls::serial(server.port(), "localhost").await,
        served.raw_serial_as_string(),
        "it is kept now"
    );
}

/// Puts a certificate that ends then where the server keeps its own, key and chain in one file; its serial number.
fn plant(path: &Path, end: SystemTime) -> String {
    let key = KeyPair::generate().unwrap();
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = (end - 397 * DAY).into();
    params.not_after = end.into();
    let cert = params.self_signed(&key).unwrap();
    assert!(path.exists(), "{}", path.display());
    fs::write(path, format!("{}{}", key.serialize_pem(), cert.pem())).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(cert.der()).unwrap();
    parsed.raw_serial_as_string()
}

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn an_added_host_gets_a_certificate_with_its_name() {
    let server = Setup::scripted().tls().start().await;
    server.ctl(&["add", "blog.example"]).await.expect(0);
    let (names, _) = tls::names(server.port(), "blog.example").await;
    assert!(names.contains(&"blog.example".to_owned()), "{names:?}");
    server.ctl(&["add", "*.wild.example"]).await.expect(0);
    let (names, _) = tls::names(server.port(), "any.wild.example").await;
    assert!(names.iter().any(|name| name == "*.wild.example" || name == "any.wild.example"), "{names:?}");
    let (names, _) = tls::names(server.port(), "never.heard.of.example").await;
    assert!(!names.contains(&"never.heard.of.example".to_owned()), "{names:?}");
}

#[tokio::test]
async fn auto_tls_lets_mkcert_make_the_certificate() {
    if !has("openssl", "openssl") {
        return;
    }
    let tools = tempfile::tempdir().unwrap();
    install(
        &tools.path().join("mkcert"),
        r#"#!/bin/sh
# As mkcert: -cert-file F -key-file F NAME…
echo "$@" >>"$0.calls"
while [ $# -gt 0 ]; do
    case $1 in
        -cert-file) cert=$2; shift 2 ;;
        -key-file) key=$2; shift 2 ;;
        -*) shift ;;
        *) case $1 in *[!0-9.:]*) kind=DNS ;; *) kind=IP ;; esac
           names=$names,$kind:$1; shift ;;
    esac
done
exec openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 800 -subj "/O=a local authority" \
    -addext "subjectAltName=${names#,}" -keyout "$key" -out "$cert" 2>/dev/null
"#,
    );
    let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap());
    let server = Setup::scripted().tls().words(&["--auto-tls"]).variable("PATH", &path).start().await;
    let (names, issuer) = tls::names(server.port(), "localhost").await;
    assert!(
        issuer.contains("a local authority") && names.contains(&"localhost".to_owned()),
        "{issuer} {names:?}"
    );
    server.ctl(&["add", "blog.example"]).await.expect(0);
    until("the new host is in the certificate", || async {
        tls::names(server.port(), "blog.example").await.0.contains(&"blog.example".to_owned())
    })
    .await;
    assert!(tls::names(server.port(), "blog.example").await.1.contains("a local authority"));
}

#[tokio::test]
async fn without_mkcert_auto_tls_falls_back_to_a_self_signed_certificate_and_says_so() {
    let tools = tempfile::tempdir().unwrap();
    for program in ["sh", "python3"] {
        let Some(found) = find(program) else { return skip(&format!("no {program}")) };
        std::os::unix::fs::symlink(found, tools.path().join(program)).unwrap();
    }
    let path = tools.path().to_str().unwrap();
    let server = Setup::scripted().tls().words(&["--auto-tls"]).variable("PATH", path).start().await;
    let (_, issuer) = tls::names(server.port(), "localhost").await;
    assert!(issuer.contains("self-signed"), "{issuer}");
    server.output().says("mkcert").await;
}

#[tokio::test]
async fn a_state_folder_that_cannot_be_written_is_told_at_the_start() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("file"), "").unwrap();
    let app = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apps/hello");
    let mut command = in_home(home.path(), SERVER);
    command.args([app, "https:0", "--no-redirect-http", "--state-dir=file/state", "--runtime-dir=r"]);
    let ran = run(&mut command).await;
    assert!(ran.code != 0 && ran.err.contains("file/state"), "{ran:?}");
}

fn files_below(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path, text));
        } else if fs::read_to_string(&path).is_ok_and(|content| content.contains(text)) {
            found.push(path);
        }
    }
    found
}

fn install(path: &Path, script: &str) {
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}
