//! Client certificates: asked for by host, told to workers, and no way around them.

use std::fs;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Request;
use http_body_util::Full;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, NamedGroup};

use crate::support::client::{Http2, whole};
use crate::support::ctl::rip_server;
use crate::support::people::{People, Person};
use crate::support::{Conn, Reply, Server, Setup, View, has, tls, until};

/// The scripted app at `closed.example` and `localhost`, which asks for certificates, and one at `open.example`, which
/// does not.
fn two_apps(people: &People, mode: &str) -> Setup {
    let hello = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apps/spa");
    Setup::scripted().tls().rules("hosts = [\"closed.example\"]").server(&format!(
        "app.client = {}\n[[apps]]\npath = \"{hello}\"\nhosts = [\"open.example\"]",
        people.settings(mode)
    ))
}

/// Nobody's client.
fn stranger(alpn: &[&str]) -> Arc<ClientConfig> {
    Arc::new(tls::client(None, alpn))
}

/// The answer that a client gets from a host; `None`: its handshake is refused.
async fn ask(server: &Server, client: &Arc<ClientConfig>, sni: &str, host: &str) -> Option<Reply> {
    let stream = tls::connect_as(client, server.port(), sni).await.ok()?;
    let mut conn = Conn::over_tls(stream);
    // A client of TLS 1.3 is through before the server has looked at its certificate.
    conn.try_send(format!("GET /view HTTP/1.1\r\nHost: {host}\r\n{FORGED}\r\n")).await.ok()?;
    conn.try_reply("GET").await.ok()
}

async fn view(server: &Server, client: &Arc<ClientConfig>, host: &str) -> Option<View> {
    Some(ask(server, client, host, host).await?.view())
}

/// The fields by which a stranger claims to have a certificate.
const FORGED: &str = "X-Client-Cert-Verify: SUCCESS\r\nX-Client-Cert: forged\r\nX-Client-Cert-DN: CN=root\r\n\
                      Client-Cert: :AAAA:\r\nClient-Cert-Chain: :AAAA:\r\nX_Client_Cert_Verify: SUCCESS\r\n";

fn assert_tells_of(view: &View, person: &Person) {
    assert_eq!(view.field("x-client-cert-verify"), Some("SUCCESS"));
    assert_eq!(view.field("x-client-cert-subject"), Some(r"O=Zo\C3\AB,CN=Alice\, Al"));
    let hex: String =
        digest(&SHA256, &person.chain[0]).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(view.field("x-client-cert-fingerprint"), Some(hex.as_str()));
    let pem = view.field("x-client-cert").unwrap();
    let pem = pem
        .replace("%0A", "\n")
        .replace("%20", " ")
        .replace("%2F", "/")
        .replace("%2B", "+")
        .replace("%3D", "=");
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    assert_eq!(pem.contents, *person.chain[0]);
    let items: Vec<_> = person.chain.iter().map(|der| format!(":{}:", BASE64_STANDARD.encode(der))).collect();
    assert_eq!(view.field("client-cert"), Some(items[0].as_str()));
    assert_eq!(view.field("client-cert-chain"), items.get(1).map(String::as_str));
    assert_eq!(view.field("x-client-cert-dn"), None);
}

fn assert_tells(view: &View, verdict: &str) {
    assert_eq!(view.all("x-client-cert-verify"), [verdict]);
    for absent in ["client-cert", "client-cert-chain", "x-client-cert-dn"] {
        assert_eq!(view.field(absent), None, "{absent}: {verdict}");
    }
    assert_eq!(view.field("x-client-cert").is_some(), verdict != "NONE");
}

#[tokio::test]
async fn a_host_that_requires_a_certificate_is_closed_to_all_others_and_tells_its_worker_whose_it_is() {
    let (mut people, others) = (People::new(), People::new());
    let revoked = people.bob();
    people.revoke(&[&revoked]);
    let server = two_apps(&people, "require").start().await;

    let alice = people.alice();
    assert_tells_of(&view(&server, &alice.client(&["http/1.1"]), "closed.example").await.unwrap(), &alice);
    let refused = [others.alice(), people.late(), revoked];
    let clients = refused.iter().map(|person| person.client(&["http/1.1"])).chain([stranger(&["http/1.1"])]);
    for (at, client) in clients.enumerate() {
        assert!(ask(&server, &client, "closed.example", "closed.example").await.is_none(), "client {at}");
        assert!(ask(&server, &client, "open.example", "open.example").await.is_some(), "client {at}");
    }
    let metrics = server.control("GET", "/metrics", "").await.unwrap();
    let refusals = r#"rip_tls_handshakes_total{result="client-cert"} 4"#;
    assert!(metrics.text().contains(refusals), "{}", metrics.text());

    // Where the files are swapped, those in use go on, and those who come are judged anew.
    let mut kept = Conn::over_tls(
        tls::connect_as(&alice.client(&["http/1.1"]), server.port(), "closed.example").await.unwrap(),
    );
    people.replace();
    let new = people.bob();
    until("the new authority is asked", || async {
        view(&server, &new.client(&["http/1.1"]), "closed.example").await.is_some()
    })
    .await;
    assert!(view(&server, &alice.client(&["http/1.1"]), "closed.example").await.is_none());
    kept.send("GET /view HTTP/1.1\r\nHost: closed.example\r\n\r\n").await;
    assert_tells_of(&kept.reply("GET").await.view(), &alice);

    // Files of no use are told, and those before them stay.
    people.write("ca.pem", "no certificate");
    until("the status says what is wrong", || async {
        let status = server.status().await;
        let row = status.certificates.into_iter().find(|row| row.source == "client authorities").unwrap();
        row.expires_in > 0 && row.problem.is_some_and(|problem| problem.contains("ca.pem"))
    })
    .await;
    assert_tells_of(&view(&server, &new.client(&["http/1.1"]), "closed.example").await.unwrap(), &new);
}

#[tokio::test]
async fn a_host_that_requests_a_certificate_serves_all_and_tells_its_worker_what_is_thought_of_it() {
    let (people, others) = (People::new(), People::new());
    let (alice, bob) = (people.alice(), people.bob());
    people.revoke(&[&bob]);
    let server = two_apps(&people, "request").words(&["--trusted-proxy=127.0.0.1"]).start().await;
    let client = |person: &Person| person.client(&["http/1.1"]);
    assert_tells_of(&view(&server, &client(&alice), "closed.example").await.unwrap(), &alice);
    for (client, verdict) in [
        (stranger(&["http/1.1"]), "NONE"),
        (client(&others.alice()), "FAILED:unable to get local issuer certificate"),
        (client(&people.late()), "FAILED:certificate has expired"),
        (client(&bob), "FAILED:certificate revoked"),
    ] {
        assert_tells(&view(&server, &client, "closed.example").await.unwrap(), verdict);
    }
}

#[tokio::test]
async fn a_host_that_requires_a_certificate_is_not_reached_over_the_connection_of_another() {
    let people = People::new();
    let server = two_apps(&people, "require").start().await;
    let alice = people.alice();
    for client in [stranger(&["http/1.1"]), alice.client(&["http/1.1"])] {
        for sni in ["open.example", "unknown.example"] {
            let reply = ask(&server, &client, sni, "closed.example").await.unwrap();
            assert_eq!((reply.status, reply.reason()), (421, "misdirected"), "{sni}");
        }
        let status = ask(&server, &client, "127.0.0.1", "closed.example").await.map(|reply| reply.status);
        let has_certificate = client.client_auth_cert_resolver.has_certs();
        assert_eq!(status, has_certificate.then_some(200), "127.0.0.1 is a host of the same app");
    }
    // Clients of HTTP/2 use a connection for all names of its certificate (RFC 9113 §9.1.1).
    for client in [stranger(&["h2"]), alice.client(&["h2"])] {
        let stream = tls::connect_as(&client, server.port(), "open.example").await.unwrap();
        let mut http2 = Http2::over_tls(stream).await;
        for (host, status) in [("open.example", 200), ("closed.example", 421), ("open.example", 200)] {
            let reply = http2.get_of(host, "/").await;
            assert_eq!(reply.status, status, "{host}");
        }
    }
    let stream = tls::connect_as(&alice.client(&["h2"]), server.port(), "closed.example").await.unwrap();
    let mut http2 = Http2::over_tls(stream).await;
    for (host, status) in [("closed.example", 200), ("open.example", 421), ("closed.example", 200)] {
        assert_eq!(http2.get_of(host, "/view").await.status, status, "{host}");
    }
    assert_tells_of(&http2.get_of("closed.example", "/view").await.view(), &alice);
}

#[tokio::test]
async fn a_connection_from_before_a_host_asks_for_certificates_does_not_reach_it() {
    let people = People::new();
    let server = Setup::scripted().tls().start().await;
    let mut before = server.connect().await;
    assert_eq!(before.get("/").await.status, 200);
    let settings = format!("app.client = {}", people.settings("require"));
    fs::write(server.root().join("server.toml"), settings).unwrap();
    server.ctl(&["deploy"]).await.expect(0);
    assert_eq!(before.get("/").await.status, 421);
    assert!(ask(&server, &stranger(&["http/1.1"]), "localhost", "localhost").await.is_none());
    let alice = people.alice();
    assert_tells_of(&view(&server, &alice.client(&["http/1.1"]), "localhost").await.unwrap(), &alice);
}

/// Remembers sessions without a look at whose they are.
#[derive(Debug)]
struct OneForAll(ClientSessionMemoryCache);

impl OneForAll {
    fn name() -> ServerName<'static> {
        ServerName::try_from("all.example").unwrap()
    }
}

impl ClientSessionStore for OneForAll {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(Self::name(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&Self::name())
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(Self::name(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&Self::name())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&Self::name());
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(Self::name(), value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&Self::name())
    }
}

#[tokio::test]
async fn a_session_leads_nowhere_but_where_it_was_begun() {
    let people = People::new();
    let server = two_apps(&people, "require").start().await;
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let clients = [None, Some(people.alice())].map(|person| {
            let identity = person.map(|person| person.identity());
            let mut config = tls::client_of(&[version], identity, &["http/1.1"]);
            config.resumption = Resumption::store(Arc::new(OneForAll(ClientSessionMemoryCache::new(8))));
            Arc::new(config)
        });
        let [stranger, alice] = clients;
        let kind = async |client: &Arc<ClientConfig>, name: &str| {
            let stream = tls::connect_as(client, server.port(), name).await.ok()?;
            let kind = stream.get_ref().1.handshake_kind();
            let mut conn = Conn::over_tls(stream);
            conn.try_send(format!("GET /view HTTP/1.1\r\nHost: {name}\r\n\r\n")).await.ok()?;
            conn.try_reply("GET").await.ok()?;
            kind
        };
        assert_eq!(kind(&stranger, "open.example").await, Some(HandshakeKind::Full));
        assert_eq!(kind(&stranger, "open.example").await, Some(HandshakeKind::Resumed), "{version:?}");
        assert_eq!(kind(&stranger, "closed.example").await, None, "{version:?}");
        assert_eq!(kind(&alice, "closed.example").await, Some(HandshakeKind::Full));
        assert_eq!(kind(&alice, "closed.example").await, Some(HandshakeKind::Full), "each is looked at anew");
        assert_eq!(kind(&alice, "open.example").await, Some(HandshakeKind::Full));
        assert_eq!(kind(&alice, "open.example").await, Some(HandshakeKind::Resumed));
        assert_eq!(kind(&alice, "closed.example").await, Some(HandshakeKind::Full));
    }
}

#[tokio::test]
async fn workers_that_speak_http2_are_told_too() {
    if !has("node", "nodejs") {
        return;
    }
    let people = People::new();
    let alice = people.alice();
    let server = two_apps(&people, "request").h2c().start().await;
    for alpn in ["h2", "http/1.1"] {
        for client in [alice.client(&[alpn]), stranger(&[alpn])] {
            let stream = tls::connect_as(&client, server.port(), "closed.example").await.unwrap();
            let reply = if alpn == "h2" {
                let mut request = Request::get("https://closed.example/view");
                for line in FORGED.lines() {
                    let (name, value) = line.split_once(": ").unwrap();
                    request = request.header(name.to_ascii_lowercase(), value);
                }
                let request = request.body(Full::default()).unwrap();
                whole(Http2::over_tls(stream).await.send(request).await.unwrap()).await.unwrap()
            } else {
                let mut conn = Conn::over_tls(stream);
                conn.send(format!("GET /view HTTP/1.1\r\nHost: closed.example\r\n{FORGED}\r\n")).await;
                conn.reply("GET").await
            };
            match client.client_auth_cert_resolver.has_certs() {
                true => assert_tells_of(&reply.view(), &alice),
                false => assert_tells(&reply.view(), "NONE"),
            }
        }
    }
}

#[tokio::test]
async fn what_is_said_for_all_hosts_holds_where_an_app_says_nothing_else() {
    let people = People::new();
    let hello = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apps/spa");
    let settings = format!(
        "tls.client = {}\n[app]\nhosts = [\"asked.example\"]\n[[apps]]\npath = \"{hello}\"\nhosts = [\"open.example\"]\n\
         client.mode = \"off\"",
        people.settings("require")
    );
    let server = Setup::scripted().tls().server(&settings).start().await;
    let (nobody, alice) = (stranger(&["http/1.1"]), people.alice().client(&["http/1.1"]));
    for (host, client, is_served) in [
        ("asked.example", &nobody, false),
        ("asked.example", &alice, true),
        // Without a name in the handshake.
        ("127.0.0.1", &nobody, false),
        ("127.0.0.1", &alice, true),
        ("open.example", &nobody, true),
        ("open.example", &alice, true),
    ] {
        let reply = ask(&server, client, host, host).await;
        assert_eq!(reply.is_some(), is_served, "{host}");
    }
    let reply = ask(&server, &nobody, "open.example", "asked.example").await.unwrap();
    assert_eq!(reply.status, 421);
}

#[tokio::test]
async fn of_several_apps_under_a_host_those_are_served_that_ask_for_what_the_handshake_asked_for() {
    let (people, others) = (People::new(), People::new());
    let sites = tempfile::tempdir().unwrap();
    let app = |route: &str, client: &str| {
        let site = sites.path().join(route);
        fs::create_dir(&site).unwrap();
        fs::write(site.join("index.html"), route).unwrap();
        fs::write(site.join("rip.toml"), "static = { spa = true }\n").unwrap();
        let path = site.display();
        format!("[[apps]]\npath = \"{path}\"\nhosts = [\"one.example/{route}\"]\nclient = {client}\n")
    };
    let settings = [
        format!("app.client = {}\n", people.settings("require")),
        app("open", "{ mode = \"off\" }"),
        app("same", &people.settings("require")),
        app("other", &others.settings("require")),
    ];
    let server =
        Setup::scripted().tls().rules("hosts = [\"one.example\"]").server(&settings.concat()).start().await;
    let alice = people.alice();
    for client in [stranger(&["http/1.1"]), others.alice().client(&["http/1.1"])] {
        assert!(ask(&server, &client, "one.example", "one.example").await.is_none(), "the host asks for one");
    }
    let mut conn = Conn::over_tls(
        tls::connect_as(&alice.client(&["http/1.1"]), server.port(), "one.example").await.unwrap(),
    );
    for (path, status) in [("/view", 200), ("/open/", 200), ("/same/", 200), ("/view", 200), ("/other/", 421)]
    {
        let head = format!("GET {path} HTTP/1.1\r\nHost: one.example\r\nAccept: text/html\r\n{FORGED}\r\n");
        conn.send(head).await;
        let reply = conn.reply("GET").await;
        assert_eq!(reply.status, status, "{path}: {reply:?}");
        match path.trim_matches('/') {
            "view" => assert_tells_of(&reply.view(), &alice),
            name if status == 200 => assert_eq!(reply.text(), name),
            _ => assert_eq!(reply.reason(), "misdirected"),
        }
    }
}

#[tokio::test]
async fn without_tls_nobody_has_a_certificate() {
    let people = People::new();
    for (mode, status) in [("require", 421), ("request", 200)] {
        let server =
            Setup::scripted().server(&format!("app.client = {}", people.settings(mode))).start().await;
        let mut conn = server.connect().await;
        conn.send(format!("GET /view HTTP/1.1\r\nHost: localhost\r\n{FORGED}\r\n")).await;
        let reply = conn.reply("GET").await;
        assert_eq!(reply.status, status, "{mode}");
        if status == 200 {
            assert_tells(&reply.view(), "NONE");
        }
    }
}

#[tokio::test]
async fn authorities_that_are_of_no_use_are_told_at_the_start() {
    let people = People::new();
    let home = tempfile::tempdir().unwrap();
    let (ca, none) = (people.path("ca.pem"), people.path("none.pem"));
    let (ca, none) = (ca.display(), none.display());
    for (text, code, said) in [
        (format!("[tls.client]\nca = \"{none}\"\n"), 2, "the file of tls.client.ca"),
        (format!("[tls.client]\nca = \"{ca}\"\ncrl = \"{ca}\"\n"), 2, "there is no list in it"),
        (format!("[app.client]\nca = \"{none}\"\n"), 1, "none.pem"),
        (format!("[app.client]\nca = \"{ca}\"\ncrl = \"{none}\"\n"), 1, "none.pem"),
        ("[tls.client]\nmode = \"require\"\n".into(), 2, "needs `tls.client.ca"),
        ("[app.client]\nmode = \"require\"\n".into(), 1, "set `client.ca` under [app]"),
    ] {
        fs::write(home.path().join("x.toml"), &text).unwrap();
        let app = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apps/spa");
        let words =
            [app, "https:0", "--no-redirect-http", "--config=x.toml", "--state-dir=s", "--runtime-dir=r"];
        let ran = rip_server(home.path(), &words).await;
        assert!(ran.code == code && ran.err.contains(said), "{text}: {ran:?}");
    }
}
