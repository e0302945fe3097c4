//! Certificates of an authority: got, renewed, kept, and answered for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rip_server::api::AcmeStatus;

use crate::certs::Pair;
use crate::support::ca::{Behaviour, Ca, Fault};
use crate::support::{Server, Setup, client, has, tls};

/// The host of these tests.
pub(crate) const HOST: &str = "blog.example";

/// A server with one host, whose authority is this one.
pub(crate) fn setup(ca: &Ca) -> Setup {
    Setup::scripted()
        .redirect()
        .rules("hosts = [\"blog.example\"]")
        .server(&ca.settings())
        .server("tls.acme_challenge = \"http\"")
}

/// Whether there is an authority to test with.
pub(crate) fn has_pebble() -> bool {
    has("pebble", "pebble") && has("pebble-challtestsrv", "pebble")
}

/// The folder of the host's pair.
pub(crate) fn folder(server: &Server) -> PathBuf {
    server.root().join("state/certs/acme").join(HOST)
}

/// The serial number of the certificate in the store, if there is one.
pub(crate) fn stored(server: &Server) -> Option<String> {
    let pem = fs::read(folder(server).join("fullchain.pem")).ok()?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).ok()?;
    Some(pem.parse_x509().ok()?.raw_serial_as_string())
}

/// How the host's certificate stands.
pub(crate) async fn standing(server: &Server) -> Option<AcmeStatus> {
    server.status().await.acme.into_iter().find(|status| status.host.as_str() == HOST)
}

/// Waits for what may take as long as an authority's silence.
pub(crate) async fn in_time<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(120), looking).await;
    found.unwrap_or_else(|_| panic!("not in two minutes: {what}"))
}

/// Waits for a certificate in the store that is another one than this.
pub(crate) async fn another(server: &Server, before: Option<&str>) -> String {
    in_time("another certificate is in the store", || async {
        stored(server).filter(|serial| Some(serial.as_str()) != before)
    })
    .await
}

/// Waits until clients get the certificate that is in the store.
pub(crate) async fn is_served(server: &Server) {
    in_time("the certificate in the store is served", || async {
        (stored(server) == Some(tls::serial(server.port(), HOST).await)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_host_gets_a_certificate_and_it_is_renewed_with_a_new_key() {
    if !has_pebble() {
        return;
    }
    let mut ca = Ca::new(Behaviour { life: 15, ..Behaviour::default() }).await;
    let server = setup(&ca).start().await;
    ca.asks(server.redirect_port(), server.port()).await;
    let first = another(&server, None).await;
    let key = fs::read(folder(&server).join("privkey.pem")).unwrap();
    for (file, mode) in [("privkey.pem", 0o600), ("fullchain.pem", 0o600)] {
        assert_eq!(fs::metadata(folder(&server).join(file)).unwrap().permissions().mode() & 0o777, mode);
    }
    is_served(&server).await;
    let mut kept = server.connect().await;
    assert_eq!(kept.get("/").await.status, 200);
    another(&server, Some(&first)).await;
    is_served(&server).await;
    assert_eq!(kept.get("/").await.status, 200, "connections from before go on");
    assert_ne!(
        fs::read(folder(&server).join("privkey.pem")).unwrap(),
        key,
        "each renewal has a key of its own"
    );
    assert_eq!(ca.count("POST /sign-me-up"), 1, "one account for all orders");
    let status = standing(&server).await.unwrap();
    assert_eq!((status.problem, status.authority), (None, Some(ca.url())));
    let metrics = server.control("GET", "/metrics", "").await.unwrap();
    let metrics = metrics.text();
    assert!(metrics.contains(r#"rip_acme_last_success_seconds{host="blog.example"}"#), "{metrics}");
}

#[tokio::test]
async fn a_restart_finds_account_and_certificate_again() {
    if !has_pebble() {
        return;
    }
    let mut ca = Ca::new(Behaviour::default()).await;
    let server = setup(&ca).start().await;
    ca.asks(server.redirect_port(), server.port()).await;
    let first = another(&server, None).await;
    let orders = ca.count("POST /order-plz");
    let server = setup(&ca).start_in(server.kill()).await;
    in_time("the agent knows the certificate", || async { standing(&server).await?.expires_in }).await;
    assert_eq!(stored(&server), Some(first));
    is_served(&server).await;
    assert_eq!((ca.count("POST /order-plz"), ca.count("POST /sign-me-up")), (orders, 1));
}

#[tokio::test]
async fn an_order_that_was_left_open_goes_on_after_a_restart() {
    if !has_pebble() {
        return;
    }
    let mut ca =
        Ca::new(Behaviour { variables: vec![("PEBBLE_AUTHZREUSE", "100")], ..Behaviour::default() }).await;
    ca.breaks("/finalize-order", Fault::Silent);
    let server = setup(&ca).start().await;
    ca.asks(server.redirect_port(), server.port()).await;
    in_time("the order has come so far", || async { (ca.count("POST /finalize-order") > 0).then_some(()) })
        .await;
    let folder = server.kill();
    ca.recovers();
    let server = setup(&ca).start_in(folder).await;
    another(&server, None).await;
    assert_eq!(ca.count("POST /order-plz"), 1, "no second order");
}

#[tokio::test]
async fn a_crash_loop_of_the_server_is_no_loop_at_the_authority() {
    if !has_pebble() {
        return;
    }
    let mut ca = Ca::new(Behaviour::default()).await;
    ca.breaks("/order-plz", Fault::Silent);
    let mut server = setup(&ca).start().await;
    ca.asks(server.redirect_port(), server.port()).await;
    in_time("there is a first order", || async { (ca.count("POST /order-plz") > 0).then_some(()) }).await;
    for _ in 0..4 {
        server = setup(&ca).start_in(server.kill()).await;
        in_time("the agent says how it stands", || async { standing(&server).await }).await;
    }
    assert!(ca.count("POST /order-plz") < 5, "each of five starts has made an order");
}

#[tokio::test]
async fn tokens_are_answered_by_plain_http_for_own_hosts_only_and_before_everything_else() {
    let token = "/.well-known/acme-challenge/DGyRejmCefe7v4NfDGDKfA-_";
    let ca = Ca::new(Behaviour::default()).await;
    let server = setup(&ca).server("limits.rate = \"1/s,1\"").start().await;
    server.control("POST", "/registry/blog.example/intent", r#"{"intent":"stop"}"#).await.unwrap();
    let ask = async |method: &str, host: &str, path: &str| {
        let mut conn = client::Conn::plain(server.redirect_port()).await;
        conn.send(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        conn.reply(method).await
    };
    for _ in 0..5 {
        let reply = ask("GET", HOST, token).await;
        assert_eq!(reply.status, 200);
        let (said, print) = reply.text().split_once('.').unwrap();
        assert!(token.ends_with(said) && print.len() == 43, "{reply:?}");
    }
    assert_eq!(ask("HEAD", HOST, token).await.status, 200);
    assert_eq!(ask("GET", "other.example", token).await.status, 404);
    assert_eq!(ask("POST", HOST, token).await.status, 308, "it is redirected like any other");
    assert_eq!(ask("GET", HOST, "/.well-known/acme-challenge/short").await.status, 301);
}

#[tokio::test]
async fn names_that_can_get_none_are_told_and_no_authority_is_asked() {
    let ca = Ca::new(Behaviour::default()).await;
    let server = Setup::scripted().redirect().server(&ca.settings()).start().await;
    let told =
        in_time("the status says why", || async { server.status().await.acme.into_iter().next()?.problem })
            .await;
    assert_eq!(told, "no authority certifies a name that is for local use");
    assert_eq!(server.get("/").await.status, 200);
    assert_eq!(ca.count("GET /dir"), 0);
}

#[tokio::test]
async fn dns_01_by_a_program_gets_a_wildcard() {
    if !has_pebble() {
        return;
    }
    let mut ca = Ca::new(Behaviour::default()).await;
    let home = tempfile::tempdir().unwrap();
    let hook = home.path().join("hook");
    let calls = home.path().join("calls");
    let server = Setup::scripted()
        .redirect()
        .rules("hosts = [\"*.blog.example\"]")
        .server(&ca.settings())
        .server(&format!("tls.acme_hook = {:?}", hook.display().to_string()))
        .server(&format!("tls.acme_renewed = {:?}", home.path().join("renewed").display().to_string()));
    let write = |name: &str, text: String| {
        fs::write(home.path().join(name), text).unwrap();
        fs::set_permissions(home.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    write("renewed", format!("#!/bin/sh\necho \"renewed $1 $2\" >> {}\n", calls.display()));
    write("hook", "#!/bin/sh\necho nothing is set up yet >&2\nexit 1\n".into());
    let server = server.start().await;
    ca.asks(server.redirect_port(), server.port()).await;
    let problem = in_time("the hook's complaint is shown", || async {
        server.status().await.acme.into_iter().next()?.problem
    })
    .await;
    assert!(problem.contains("nothing is set up yet"), "{problem}");
    let script = format!(
        "#!/bin/sh\necho \"$1 $2\" >> {}\n[ \"$1\" = present ] && way=set-txt || way=clear-txt\n\
         exec curl -sf -d \"{{\\\"host\\\":\\\"$2.\\\",\\\"value\\\":\\\"$3\\\"}}\" http://127.0.0.1:{}/$way\n",
        calls.display(),
        ca.dns_management()
    );
    write("hook", script);
    let store = server.root().join("state/certs/acme/_.blog.example/fullchain.pem");
    in_time("the wildcard is in the store", || async { fs::read(&store).ok() }).await;
    let called = in_time("the program after it has run", || async {
        fs::read_to_string(&calls).ok().filter(|text| text.contains("renewed"))
    })
    .await;
    assert!(
        called.starts_with("present _acme-challenge.blog.example\ncleanup _acme-challenge.blog.example\n"),
        "{called}"
    );
    assert!(called.contains("renewed *.blog.example "), "{called}");
}

#[tokio::test]
async fn the_authority_says_when_to_renew_and_is_told_what_is_replaced() {
    if !has_pebble() {
        return;
    }
    let mut ca = Ca::new(Behaviour { life: 300, ..Behaviour::default() }).await;
    let at = |seconds: i64| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
        jiff::Timestamp::from_second(now + seconds).unwrap().to_string()
    };
    ca.suggests("2200-01-01T00:00:00Z", "2200-01-02T00:00:00Z");
    let server = setup(&ca).start().await;
    ca.asks(server.redirect_port(), server.port()).await;
    let first = another(&server, None).await;
    for nonsense in [(at(50), at(-50)), (at(0), at(0)), (at(5_000_000), at(6_000_000))] {
        let before = ca.count("GET /renewal-info/");
        ca.suggests(&nonsense.0, &nonsense.1);
        // The second one begun since has the new answer.
        in_time("the authority is asked", || async {
            (ca.count("GET /renewal-info/") > before + 1).then_some(())
        })
        .await;
        assert_eq!(stored(&server).as_deref(), Some(first.as_str()));
    }
    ca.suggests(&at(-100), &at(-50));
    let second = another(&server, Some(&first)).await;
    let order = ca.orders().into_iter().find(|order| order.get("replaces").is_some());
    assert!(order.unwrap()["replaces"].as_str().unwrap().contains('.'));
    let before = ca.count("GET /renewal-info/");
    in_time("the authority is asked again", || async {
        (ca.count("GET /renewal-info/") > before + 1).then_some(())
    })
    .await;
    assert_eq!(stored(&server), Some(second), "an authority that always says now is not asked without end");
}

#[tokio::test]
async fn without_plain_http_a_handshake_shows_that_a_name_leads_here() {
    if !has_pebble() {
        return;
    }
    for wish in ["tls-alpn", "auto"] {
        let mut ca = Ca::new(Behaviour::default()).await;
        let server = Setup::scripted()
            .tls()
            .rules("hosts = [\"blog.example\"]")
            .server(&ca.settings())
            .server(&format!("tls.acme_challenge = \"{wish}\""))
            .start()
            .await;
        // Nobody listens where the authority looks for plain HTTP.
        ca.asks(1, server.port()).await;
        another(&server, None).await;
        is_served(&server).await;
        assert!(
            tls::connect(server.port(), HOST, &["acme-tls/1"]).await.is_err(),
            "a stranger who asks as an authority does learns nothing"
        );
        assert_eq!(server.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn no_certificate_is_ordered_for_hosts_that_are_left_out_or_have_one() {
    if !has_pebble() {
        return;
    }
    let mut ca = Ca::new(Behaviour::default()).await;
    let pairs = tempfile::tempdir().unwrap();
    Pair::new(pairs.path(), &["given.example"]);
    let out = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apps/hello");
    let server = setup(&ca)
        .server(&format!("tls.certs = \"{}\"", pairs.path().display()))
        .server(&format!("[[apps]]\npath = \"{out}\"\nhosts = [\"out.example\"]\nacme = false"))
        .start()
        .await;
    server.ctl(&["add", "not.example", "--no-acme"]).await.expect(0);
    server.ctl(&["add", "given.example"]).await.expect(0);
    ca.asks(server.redirect_port(), server.port()).await;
    another(&server, None).await;
    let acme = in_time("the status tells of all hosts", || async {
        let acme = server.status().await.acme;
        (acme.len() == 4).then_some(acme)
    })
    .await;
    for (host, why) in [
        ("given.example", "has a certificate already"),
        ("not.example", "--no-acme"),
        ("out.example", "acme = false"),
    ] {
        let standing = acme.iter().find(|status| status.host.as_str() == host).unwrap();
        assert!(standing.problem.as_ref().is_some_and(|problem| problem.contains(why)), "{standing:?}");
        assert!(!server.root().join("state/certs/acme").join(host).exists());
    }
    assert_eq!(ca.count("POST /order-plz"), 1, "the one host that wants one");
    let listed = server.ctl(&["list"]).await.expect(0);
    assert!(listed.out.contains("added, no ACME"), "{listed:?}");

    server.ctl(&["add", "not.example"]).await.expect(0);
    in_time("a host that wants one after all has one", || async {
        server.root().join("state/certs/acme/not.example/fullchain.pem").exists().then_some(())
    })
    .await;
}
