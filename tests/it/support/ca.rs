//! An authority that speaks ACME: Debian's pebble, its DNS, and a proxy before it that can make everything go wrong.

use std::net::TcpListener as StdListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::tls;

/// The fault that the proxy makes of the requests that it is told.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Answers with this status and these fields in the authority's place.
    Status(u16, Vec<(&'static str, String)>),
    /// Answers 200 with a page.
    Page,
    /// Breaks the answer off half-way.
    Cut,
    /// Never answers.
    Silent,
    /// Answers with five bytes a second.
    Slow,
    /// Puts a nonce into the answer that the authority does not know.
    WrongNonce,
    /// Says of every order that it is being worked on.
    Processing,
    /// Says of every order that it has failed.
    Invalid,
    /// Answers with a certificate for another key.
    OtherKey,
}

/// The state that the proxy's connections share.
#[derive(Default)]
struct Shared {
    fault: Mutex<Option<(String, Fault)>>,
    /// An answer to when certificates are to be renewed, start and end.
    window: Mutex<Option<(String, String)>>,
    /// Method and path of each request.
    seen: Mutex<Vec<String>>,
    /// The payloads that were sent to make orders.
    orders: Mutex<Vec<Value>>,
}

/// How pebble is to behave.
#[derive(Clone, Default)]
pub(crate) struct Behaviour {
    /// Seconds that certificates live.
    pub(crate) life: u64,
    /// Variables for pebble.
    pub(crate) variables: Vec<(&'static str, &'static str)>,
    /// Names that it refuses.
    pub(crate) blocked: Vec<&'static str>,
    /// A key id and a key that accounts need.
    pub(crate) eab: Option<(&'static str, &'static str)>,
}

/// A running authority.
pub(crate) struct Ca {
    folder: TempDir,
    port: u16,
    pebble_port: u16,
    shared: Arc<Shared>,
    behaviour: Behaviour,
    up: watch::Sender<bool>,
    children: Vec<Child>,
    server_ports: Option<(u16, u16)>,
    management: u16,
    proxy: JoinHandle<()>,
}

impl Ca {
    /// Starts the proxy; pebble itself is started once it is known where it finds the server: [`asks`](Self::asks).
    pub(crate) async fn new(behaviour: Behaviour) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tls = write_identity(folder.path());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (up, is_up) = watch::channel(false);
        let (shared, pebble_port) = (Arc::new(Shared::default()), free_port());
        #[expect(clippy::disallowed_methods, reason = "aborted when the authority is dropped")]
        let proxy = tokio::spawn(serve(listener, tls, Arc::clone(&shared), pebble_port, is_up));
        Self {
            folder,
            port,
            pebble_port,
            shared,
            behaviour,
            up,
            children: Vec::new(),
            server_ports: None,
            management: 0,
            proxy,
        }
    }

    /// The URL of the authority's directory.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// The root of its own server.
    pub(crate) fn root(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }

    /// Lines of the server's config file.
    pub(crate) fn settings(&self) -> String {
        format!("tls.acme = {:?}\ntls.acme_root = {:?}\n", self.url(), self.root())
    }

    /// Starts pebble; names lead to these ports of this machine.
    pub(crate) async fn asks(&mut self, http: u16, https: u16) {
        self.server_ports = Some((http, https));
        let (dns, management) = (free_port(), free_port());
        self.management = management;
        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]);
        names.args([
            "-dns01",
            &format!("127.0.0.1:{dns}"),
            "-management",
            &format!("127.0.0.1:{management}"),
        ]);
        names.stdout(Stdio::null()).stderr(Stdio::null());
        self.children.push(names.spawn().unwrap());
        until_open(management).await;
        self.children.push(self.pebble(dns));
        until_open(self.pebble_port).await;
        self.up.send_replace(true);
    }

    fn pebble(&self, dns: u16) -> Child {
        let (http, https) = self.server_ports.unwrap();
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let mut config = json!({
            "listenAddress": format!("127.0.0.1:{}", self.pebble_port),
            "managementListenAddress": format!("127.0.0.1:{}", free_port()),
            "certificate": path("server.pem"), "privateKey": path("server.key"),
            "httpPort": http, "tlsPort": https, "ocspResponderURL": "",
            "externalAccountBindingRequired": self.behaviour.eab.is_some(),
            "domainBlocklist": self.behaviour.blocked,
        });
        if self.behaviour.life > 0 {
            config["certificateValidityPeriod"] = self.behaviour.life.into();
        }
        if let Some((id, key)) = self.behaviour.eab {
            config["externalAccountMACKeys"] = json!({ id: key });
        }
        std::fs::write(path("pebble.json"), json!({ "pebble": config }).to_string()).unwrap();
        let log = std::fs::File::create(path("pebble.log")).unwrap();
        let mut pebble = Command::new("pebble");
        pebble.args(["-config", &path("pebble.json"), "-dnsserver", &format!("127.0.0.1:{dns}")]);
        pebble.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "0").env("PEBBLE_AUTHZREUSE", "0");
        pebble.envs(self.behaviour.variables.iter().copied());
        pebble.stdout(log.try_clone().unwrap()).stderr(log);
        pebble.spawn().unwrap()
    }

    /// Ends pebble and starts another one, which knows no account, no order and no certificate.
    pub(crate) async fn forgets(&mut self) {
        let (http, https) = self.server_ports.unwrap();
        self.up.send_replace(false);
        self.end();
        self.asks(http, https).await;
    }

    /// Lets all requests go wrong whose path begins so.
    pub(crate) fn breaks(&self, path: &str, fault: Fault) {
        *self.shared.fault.lock().unwrap() = Some((path.to_owned(), fault));
    }

    /// Lets everything go well again.
    pub(crate) fn recovers(&self) {
        *self.shared.fault.lock().unwrap() = None;
    }

    /// Says when certificates are to be renewed (RFC 3339), for which pebble has no words here.
    pub(crate) fn suggests(&self, start: &str, end: &str) {
        *self.shared.window.lock().unwrap() = Some((start.to_owned(), end.to_owned()));
    }

    /// How many requests there were whose method and path begin so.
    pub(crate) fn count(&self, start: &str) -> usize {
        self.shared.seen.lock().unwrap().iter().filter(|seen| seen.starts_with(start)).count()
    }

    /// The payloads that were sent to make orders.
    pub(crate) fn orders(&self) -> Vec<Value> {
        self.shared.orders.lock().unwrap().clone()
    }

    /// Where records of the authority's DNS are set.
    pub(crate) fn dns_management(&self) -> u16 {
        self.management
    }

    fn end(&mut self) {
        for mut child in self.children.drain(..) {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Drop for Ca {
    fn drop(&mut self) {
        self.proxy.abort();
        self.end();
        if std::thread::panicking() {
            eprintln!("--- requests to the authority\n{}", self.shared.seen.lock().unwrap().join("\n"));
            let log = std::fs::read_to_string(self.folder.path().join("pebble.log")).unwrap_or_default();
            eprintln!("--- pebble\n{log}");
        }
    }
}

/// A root, and a certificate of localhost below it, in files; how the proxy speaks TLS.
fn write_identity(folder: &Path) -> TlsAcceptor {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()])
        .unwrap()
        .signed_by(&key, &root)
        .unwrap();
    std::fs::write(folder.join("ca.pem"), root.pem()).unwrap();
    std::fs::write(folder.join("server.pem"), own.pem()).unwrap();
    std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn free_port() -> u16 {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn until_open(port: u16) {
    super::until("a program listens", || async { TcpStream::connect(("127.0.0.1", port)).await.is_ok() })
        .await;
}

async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    shared: Arc<Shared>,
    pebble: u16,
    up: watch::Receiver<bool>,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (tls, shared, up) = (tls.clone(), Arc::clone(&shared), up.clone());
        #[expect(clippy::disallowed_methods, reason = "ends with its connection")]
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(move |request| answer(request, Arc::clone(&shared), pebble, up.clone()));
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
                .ok();
        });
    }
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    pebble: u16,
    mut up: watch::Receiver<bool>,
) -> Result<Response<Body>, std::io::Error> {
    let path = request.uri().path().to_owned();
    shared.seen.lock().unwrap().push(format!("{} {path}", request.method()));
    if let Some(suggested) = renewal_info(&shared, &path) {
        return Ok(suggested);
    }
    let fault = shared
        .fault
        .lock()
        .unwrap()
        .clone()
        .filter(|(start, _)| path.starts_with(start))
        .map(|(_, fault)| fault);
    match &fault {
        Some(Fault::Status(status, fields)) => {
            let mut response = Response::new(whole(""));
            *response.status_mut() = StatusCode::from_u16(*status).unwrap();
            for (name, value) in fields {
                response.headers_mut().insert(*name, value.parse().unwrap());
            }
            return Ok(response);
        }
        Some(Fault::Page) => {
            let mut response =
                Response::new(whole("<html><body>Please log in to the hotel's network</body></html>"));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
            return Ok(response);
        }
        Some(Fault::Silent) => std::future::pending::<()>().await,
        _ => {}
    }
    up.wait_for(|up| *up).await.unwrap();
    let (mut parts, mut body) = forward(request, pebble, &shared).await?;
    if path == "/dir" && shared.window.lock().unwrap().is_some() {
        let mut directory: Value = serde_json::from_slice(&body).unwrap();
        let base = directory["newNonce"].as_str().unwrap().rsplit_once('/').unwrap().0.to_owned();
        directory["renewalInfo"] = format!("{base}/renewal-info").into();
        body = serde_json::to_vec(&directory).unwrap().into();
    }
    match &fault {
        Some(Fault::WrongNonce) => {
            parts.headers.insert("replay-nonce", HeaderValue::from_static("d3Jvbmcgbm9uY2U"));
        }
        Some(Fault::Processing) => body = with_status(&body, "processing"),
        Some(Fault::Invalid) => body = with_status(&body, "invalid"),
        Some(Fault::OtherKey) if body.starts_with(b"-----BEGIN") => {
            let key = KeyPair::generate().unwrap();
            let other =
                CertificateParams::new(vec!["blog.example".into()]).unwrap().self_signed(&key).unwrap();
            body = other.pem().into();
        }
        _ => {}
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::TRANSFER_ENCODING);
    let body = match fault {
        Some(Fault::Cut) => {
            let half = body.slice(..body.len() / 2);
            parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
            let cut = futures_util::stream::iter([
                Ok(hyper::body::Frame::data(half)),
                Err(std::io::Error::other("cut off")),
            ]);
            http_body_util::StreamBody::new(cut).boxed_unsync()
        }
        Some(Fault::Slow) => {
            let slow = futures_util::stream::unfold(body, |mut rest| async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let next = rest.split_to(rest.len().min(5));
                (!next.is_empty()).then(|| (Ok(hyper::body::Frame::data(next)), rest))
            });
            http_body_util::StreamBody::new(slow).boxed_unsync()
        }
        _ => whole(body),
    };
    Ok(Response::from_parts(parts, body))
}

async fn forward(
    request: Request<Incoming>,
    pebble: u16,
    shared: &Shared,
) -> Result<(http::response::Parts, Bytes), std::io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    if parts.uri.path().ends_with("/order-plz") {
        shared.orders.lock().unwrap().push(payload(&body));
    }
    let stream = tls::connect(pebble, "localhost", &["http/1.1"]).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
    #[expect(clippy::disallowed_methods, reason = "ends with its connection")]
    tokio::spawn(connection);
    let request = Request::from_parts(parts, Full::new(body));
    let answer = sender.send_request(request).await.map_err(std::io::Error::other)?;
    let (parts, body) = answer.into_parts();
    Ok((parts, body.collect().await.map_err(std::io::Error::other)?.to_bytes()))
}

fn renewal_info(shared: &Shared, path: &str) -> Option<Response<Body>> {
    if !path.contains("/renewal-info/") {
        return None;
    }
    let (start, end) = shared.window.lock().unwrap().clone()?;
    let info = json!({ "suggestedWindow": { "start": start, "end": end } });
    let mut response = Response::new(whole(info.to_string()));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Some(response)
}

/// The content of a signed request.
fn payload(body: &[u8]) -> Value {
    let signed: Value = serde_json::from_slice(body).unwrap();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(signed["payload"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap_or(Value::Null)
}

/// An order with another status; anything else as it is.
fn with_status(body: &Bytes, status: &str) -> Bytes {
    match serde_json::from_slice::<Value>(body) {
        Ok(mut order) if order.get("finalize").is_some() => {
            order["status"] = status.into();
            order.as_object_mut().unwrap().remove("certificate");
            order.to_string().into()
        }
        _ => body.clone(),
    }
}
