//! Certificates and keys that cannot be used, made as admins make them: each is refused with its true reason.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, KeyPair};

use crate::support::ctl::{Ran, rip_server};
use crate::support::{Setup, has, until};

#[tokio::test]
async fn each_pair_that_cannot_be_used_is_refused_with_its_reason_and_what_to_do() {
    if !has("openssl", "openssl") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    make_all(folder);
    for (cert, key, blamed, said) in [
        ("v1.pem", "good.key", "v1.pem", "X.509 version 1, which has no names"),
        ("critical.pem", "good.key", "critical.pem", "extension 1.2.3.4 is marked critical"),
        ("rsa1024.pem", "rsa1024.key", "rsa1024.key", "RSA with 1024 bits, and TLS takes 2048 to 8192"),
        ("rsa1024.pem", "rsa1024.old", "rsa1024.old", "RSA with 1024 bits"),
        ("pss.pem", "pss.key", "pss.key", "an RSA-PSS key"),
        ("k1.pem", "k1.key", "k1.key", "its curve is secp256k1, and TLS takes P-256, P-384 and P-521"),
        ("k1.pem", "k1.sec1", "k1.sec1", "its curve is secp256k1"),
        ("brainpool.pem", "brainpool.key", "brainpool.key", "its curve is a brainpool curve"),
        ("explicit.pem", "explicit.key", "explicit.key", "written out with its parameters"),
        ("ed448.pem", "ed448.key", "ed448.key", "it is Ed448, and TLS takes RSA, ECDSA and Ed25519"),
        ("good.pem", "encrypted.key", "encrypted.key", "is encrypted: remove its pass phrase"),
        ("good.pem", "encrypted.old", "encrypted.old", "is encrypted: remove its pass phrase"),
        ("good.der", "good.key", "good.der", "openssl x509 -inform der"),
        ("good.pem", "key.der", "key.der", "openssl pkey -inform der"),
        ("both.p12", "good.key", "both.p12", "it is PKCS #12"),
        ("good.pem", "both.p12", "both.p12", "it is PKCS #12"),
        ("request.pem", "good.key", "request.pem", "it is a request for a certificate"),
        ("good.key", "good.pem", "good.key", "are the two files swapped?"),
        ("good.pem", "good.pem", "good.pem", "are the two files swapped?"),
        ("good.pem", "public.pem", "public.pem", "it is a public key"),
        ("indented.pem", "good.key", "indented.pem", "its lines are indented"),
        ("good.pem", "indented.key", "indented.key", "its lines are indented"),
        ("good.pem", "parameters", "parameters", "it is PEM of another kind"),
        ("empty", "good.key", "empty", "the file is empty"),
        ("good.pem", "empty", "empty", "the file is empty"),
        ("good.pem", "other.key", "other.key", "nor to another in it"),
        ("ca-first.pem", "leaf.key", "ca-first.pem", "belongs to certificate 2, which has to be the first"),
    ] {
        let ran = with(folder, cert, key).await.expect(2);
        assert!(ran.err.contains(&format!("{blamed}` is not usable: ")), "{cert} {key}: {ran:?}");
        assert!(ran.err.contains(said), "{cert} {key}: {ran:?}");
        assert_eq!(ran.err.trim_end().lines().count(), 1, "{cert} {key}: {ran:?}");
    }
}

#[tokio::test]
async fn what_serves_though_clients_may_refuse_it_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let day = Duration::from_secs(86_400);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    params.not_before = (SystemTime::now() - day * 9).into();
    params.not_after = (SystemTime::now() - day * 3).into();
    let mut stranger = CertificateParams::new(vec!["stranger.example".into()]).unwrap();
    stranger.distinguished_name.push(DnType::CommonName, "a stranger");
    let stranger = stranger.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    let chain = format!("{}{stranger}", params.self_signed(&key).unwrap().pem());
    let (cert, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    fs::write(&cert, chain).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    let words = ["--cert", cert.to_str().unwrap(), "--key", key_file.to_str().unwrap()];
    let server = Setup::scripted().tls().words(&words).lines().start().await;
    for said in [
        "the certificate has expired, and clients refuse it: put another into its files",
        "certificate 2 of the chain did not sign the one before it",
    ] {
        until(said, || async { server.output().contains(said) }).await;
    }
    assert!(server.ctl(&["status"]).await.out.contains("expired 3 d"), "status says so");
}

#[tokio::test]
async fn a_body_too_large_and_a_misdirected_request_say_what_to_do() {
    let server = Setup::scripted().server("app.max_body = \"2K\"").lines().start().await;
    for (accept, inside) in
        [("text/plain", "the body is larger than 2K"), ("text/html", "<p>the body is larger than 2K</p>")]
    {
        let fields = [("Host", "localhost"), ("Accept", accept)];
        let reply = server.ask("POST", "/", &fields, &[b'x'; 3000]).await;
        assert_eq!((reply.status, reply.reason()), (413, "body-too-large"));
        assert!(reply.text().contains(inside), "{}", reply.text());
        assert!(!reply.text().contains("max_body"), "{}", reply.text());
    }
    let reply = server
        .ask("POST", "/", &[("Host", "localhost"), ("Accept", "application/json")], &[b'x'; 3000])
        .await;
    let error: serde_json::Value = reply.json();
    assert_eq!(error["error"]["message"], "the body is larger than 2K");
    until("the operator is told of the setting", || async {
        server.output().contains("the body is larger than 2048 bytes; max_body is 2K")
    })
    .await;
    assert_eq!(server.output().count("max_body is 2K"), 1, "once: {}", server.output());

    let reply = server.ask("GET", "/", &[("Host", "nobody.example")], b"").await;
    assert!(reply.text().contains("no site of this name is served here"), "{}", reply.text());
}

/// Starts the server with these files, to its end.
async fn with(folder: &Path, cert: &str, key: &str) -> Ran {
    let app = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apps/hello");
    let words = ["https:0", "--no-redirect-http", "--bind=127.0.0.1", "--state-dir=s", "--runtime-dir=r"];
    rip_server(folder, &[&[app][..], &words, &["--cert", cert, "--key", key]].concat()).await
}

/// Every file that is tried, made by the program that admins make them with.
fn make_all(folder: &Path) {
    let openssl = |line: &str| {
        let done = Command::new("openssl").args(line.split(' ')).current_dir(folder).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let x509 = "req -x509 -nodes -days 30 -subj /CN=localhost";
    let named = "-addext subjectAltName=DNS:localhost";
    let p256 = "-newkey ec -pkeyopt ec_paramgen_curve:P-256";
    openssl(&format!("{x509} {named} {p256} -keyout good.key -out good.pem"));
    openssl(&format!("{x509} {named} -key good.key -addext 1.2.3.4=critical,DER:0500 -out critical.pem"));
    openssl("req -new -subj /CN=localhost -key good.key -out request.pem");
    fs::write(folder.join("v1.pem"), version_1(folder)).unwrap();
    openssl(&format!("{x509} {named} -newkey rsa:1024 -keyout rsa1024.key -out rsa1024.pem"));
    openssl("rsa -in rsa1024.key -traditional -out rsa1024.old");
    openssl("genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out pss.key");
    openssl("genpkey -algorithm ed448 -out ed448.key");
    openssl(
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit -out explicit.key",
    );
    openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out k1.key");
    openssl("ec -in k1.key -out k1.sec1");
    openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:brainpoolP256r1 -out brainpool.key");
    for name in ["pss", "ed448", "explicit", "k1", "brainpool"] {
        openssl(&format!("{x509} {named} -key {name}.key -out {name}.pem"));
    }
    openssl("pkey -in good.key -aes256 -passout pass:word -out encrypted.key");
    openssl("ec -in good.key -aes256 -passout pass:word -out encrypted.old");
    openssl("x509 -in good.pem -outform der -out good.der");
    openssl("pkey -in good.key -outform der -out key.der");
    openssl("pkcs12 -export -in good.pem -inkey good.key -passout pass:word -out both.p12");
    openssl("pkey -in good.key -pubout -out public.pem");
    openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out other.key");
    openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out leaf.key");
    openssl("req -new -subj /CN=leaf -key leaf.key -out leaf.csr");
    fs::write(folder.join("leaf.ext"), "subjectAltName=DNS:localhost\n").unwrap();
    openssl(
        "x509 -req -in leaf.csr -CA good.pem -CAkey good.key -CAcreateserial -days 9 -extfile leaf.ext -out leaf.pem",
    );
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    fs::write(folder.join("ca-first.pem"), read("good.pem") + &read("leaf.pem")).unwrap();
    fs::write(folder.join("empty"), "").unwrap();
    for (from, to) in [("good.pem", "indented.pem"), ("good.key", "indented.key")] {
        fs::write(folder.join(to), format!("  {}", read(from).replace('\n', "\n  "))).unwrap();
    }
    openssl("ecparam -name prime256v1 -out parameters");
}

/// A certificate of version 1 for `good.key`: newer OpenSSL makes one only where it is asked to.
fn version_1(folder: &Path) -> Vec<u8> {
    let sign = "x509 -req -in request.pem -signkey good.key -days 9 -out v1.pem";
    let done = Command::new("openssl").args(sign.split(' ')).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut shown = Command::new("openssl");
    let shown =
        shown.args(["x509", "-in", "v1.pem", "-noout", "-text"]).current_dir(folder).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    if !shown.contains("Version: 1 ") {
        let sign = "req -x509 -x509v1 -key good.key -subj /CN=localhost -days 9 -out v1.pem";
        let done = Command::new("openssl").args(sign.split(' ')).current_dir(folder).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    fs::read(folder.join("v1.pem")).unwrap()
}
