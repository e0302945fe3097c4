//! `rip-serverctl certs`: what certificates hosts have, new ones on demand, others taken in, and what an order would
//! meet.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;

use crate::acme::{HOST, another, has_pebble, in_time, is_served, setup, standing, stored};
use crate::support::ca::{Behaviour, Ca, Fault};
use crate::support::{Server, Setup, tls};

/// A pair for a name, as files in a folder.
fn pair(folder: &Path, name: &str) -> [PathBuf; 2] {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    let files = ["cert.pem", "key.pem"].map(|file| folder.join(file));
    fs::write(&files[0], cert.pem()).unwrap();
    fs::write(&files[1], key.serialize_pem()).unwrap();
    files
}

/// Takes a pair in for the host of these tests.
async fn import(server: &Server, files: &[PathBuf; 2]) -> crate::support::ctl::Ran {
    let [cert, key] = files.each_ref().map(|file| file.to_str().unwrap());
    server.ctl(&["certs", "import", HOST, "--cert", cert, "--key", key]).await
}

/// The certificate of the host, as `certs show --json` has it.
async fn shown(server: &Server) -> Value {
    server.ctl(&["certs", "show", HOST, "--json"]).await.expect(0).json()
}

#[tokio::test]
async fn each_host_has_its_certificate_shown_and_why_it_is_not_renewed_yet() {
    if !has_pebble() {
        return;
    }
    let mut ca = Ca::new(Behaviour::default()).await;
    let server = setup(&ca).start().await;
    ca.asks(server.redirect_port(), server.port()).await;
    another(&server, None).await;
    is_served(&server).await;
    let own = shown(&server).await;
    assert_eq!((own["source"].as_str(), own["names"][0].as_str()), (Some("acme"), Some(HOST)), "{own}");
    assert!(own["issuer"].as_str().unwrap().contains("Pebble"), "{own}");
    assert_eq!(own["serial"].as_str(), stored(&server).as_deref());
    assert!(own["renew_in"].as_u64() > Some(0) && own["authority"] == ca.url(), "{own}");
    let list = server.ctl(&["certs", "list"]).await.expect(0);
    assert!(list.out.starts_with("HOST ") && list.out.contains("in the last third"), "{list:?}");
    let list = server.ctl(&["certs", "list", "--json"]).await.expect(0).json();
    let hosts: Vec<&str> =
        list["certificates"].as_array().unwrap().iter().map(|own| own["host"].as_str().unwrap()).collect();
    assert!(hosts.contains(&HOST), "{hosts:?}");
    let no = server.ctl(&["certs", "show", "other.example"]).await.expect(4);
    assert!(no.err.contains("no host `other.example`"), "{no:?}");
}

#[tokio::test]
async fn a_renewal_ends_with_the_new_pair_in_use_or_changes_nothing() {
    if !has_pebble() {
        return;
    }
    let mut ca = Ca::new(Behaviour::default()).await;
    let server = setup(&ca).start().await;
    ca.asks(server.redirect_port(), server.port()).await;
    let first = another(&server, None).await;
    is_served(&server).await;

    let done = server.ctl(&["certs", "renew", HOST]).await.expect(0);
    assert!(done.err.contains("the new certificate is in use"), "{done:?}");
    let second = tls::serial(server.port(), HOST).await;
    assert_ne!(second, first);

    ca.breaks("/order-plz", Fault::Status(500, vec![]));
    let failed = server.ctl(&["certs", "renew", HOST]).await.expect(1);
    assert!(failed.err.contains("the one in use stays") && failed.err.contains("500"), "{failed:?}");
    assert_eq!(tls::serial(server.port(), HOST).await, second);
    let waits = standing(&server).await.unwrap();
    assert!(waits.problem.is_some() && waits.retry_in > Some(0), "{waits:?}");
    ca.recovers();
    let events = server.ctl(&["certs", "renew", HOST, "--json"]).await.expect(0);
    let events: Vec<Value> = events.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["ordering", "issued", "renewed"], "the pause after a failure is passed over");
    assert_eq!(events[2]["certificate"]["serial"], tls::serial(server.port(), HOST).await);
}

#[tokio::test]
async fn only_force_asks_an_authority_that_wants_to_be_left_alone() {
    if !has_pebble() {
        return;
    }
    let mut ca = Ca::new(Behaviour::default()).await;
    let server = setup(&ca).start().await;
    ca.asks(server.redirect_port(), server.port()).await;
    another(&server, None).await;
    ca.breaks("/order-plz", Fault::Status(429, vec![("retry-after", "3000".into())]));
    server.ctl(&["certs", "renew", HOST]).await.expect(1);
    ca.recovers();
    let orders = ca.count("POST /order-plz");
    let refused = server.ctl(&["certs", "renew", HOST]).await.expect(1);
    assert!(refused.err.contains("left alone") && refused.err.contains("--force"), "{refused:?}");
    assert_eq!(ca.count("POST /order-plz"), orders);
    server.ctl(&["certs", "renew", HOST, "--force"]).await.expect(0);
}

#[tokio::test]
async fn an_imported_pair_is_kept_until_it_is_renewed() {
    if !has_pebble() {
        return;
    }
    let mut ca = Ca::new(Behaviour { life: 20, ..Behaviour::default() }).await;
    let server = setup(&ca).start().await;
    let folder = tempfile::tempdir().unwrap();
    let other = pair(folder.path(), "other.example");
    let wrong = import(&server, &other).await.expect(1);
    assert!(wrong.err.contains(&format!("it is not for {HOST}")), "{wrong:?}");
    let files = pair(folder.path(), HOST);
    let taken = import(&server, &files).await.expect(0);
    assert!(taken.err.contains("imported"), "{taken:?}");
    let own = shown(&server).await;
    assert_eq!((own["source"].as_str(), own["renew_in"].as_u64()), (Some("imported"), None), "{own}");
    assert!(own["renewal"].as_str().unwrap().contains("certs renew"), "{own}");
    assert_eq!(own["serial"], tls::serial(server.port(), HOST).await);

    ca.asks(server.redirect_port(), server.port()).await;
    in_time("no certificate is ordered for it", || async {
        standing(&server).await?.problem?.starts_with("none is ordered").then_some(())
    })
    .await;
    ca.breaks("/order-plz", Fault::Status(500, vec![]));
    server.ctl(&["certs", "renew", HOST]).await.expect(1);
    assert_eq!(shown(&server).await["source"], "imported", "a renewal that fails changes nothing");
    ca.recovers();
    server.ctl(&["certs", "renew", HOST]).await.expect(0);
    assert_eq!(shown(&server).await["source"], "acme");
    let first = stored(&server);
    another(&server, first.as_deref()).await;
}

#[tokio::test]
async fn an_imported_pair_goes_with_its_host() {
    let server = Setup::scripted().tls().start().await;
    let folder = tempfile::tempdir().unwrap();
    let files = pair(folder.path(), HOST);
    server.ctl(&["add", HOST]).await.expect(0);
    import(&server, &files).await.expect(0);
    let kept = server.root().join("state/certs/imported").join(HOST);
    assert!(kept.join("privkey.pem").exists());
    let why = server.ctl(&["certs", "renew", HOST]).await.expect(1);
    assert!(why.err.contains("tls.acme"), "{why:?}");
    server.ctl(&["remove", HOST]).await.expect(0);
    assert!(!kept.exists());
}

#[tokio::test]
async fn a_plan_orders_nothing_and_says_what_it_has_seen_and_what_not() {
    let ca = Ca::new(Behaviour::default()).await;
    let server = Setup::scripted().redirect().server(&ca.settings()).start().await;
    let plan = server.ctl(&["certs", "plan", "nowhere.invalid", "--json"]).await.expect(1).json();
    let result = |check: &str| {
        let found = plan["checks"].as_array().unwrap().iter().find(|row| row["check"] == check);
        found.map(|row| row["result"].as_str().unwrap().to_owned())
    };
    assert_eq!(result("name").as_deref(), Some("ok"), "{plan}");
    assert_eq!(result("address").as_deref(), Some("bad"), "{plan}");
    assert_eq!(result("limits").as_deref(), Some("ok"), "{plan}");
    assert!(!plan["not_checked"].as_array().unwrap().is_empty());
    let local = server.ctl(&["certs", "plan", "127.0.0.1"]).await.expect(1);
    assert!(local.out.contains("an order would fail") && local.out.contains("private network"), "{local:?}");
    assert_eq!(ca.count("POST "), 0, "nobody was asked");
}
