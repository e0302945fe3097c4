//! Fields: how a request is written for its worker, who is said to have sent it, trailers, lines of the access log.
//!
//! Never here: where messages end (`fuzzing`).

#![allow(clippy::unwrap_used, reason = "a promise that is broken is to panic")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri, Version};
use ipnet::IpNet;

use super::{Decoded, decoded};
use crate::acceptor::peer::{Peer, RequestClient};
use crate::acceptor::records::access_line;
use crate::acceptor::records::access_line::{AccessEntry, Calendar};
use crate::acceptor::records::access_record::{AccessRecord, Outcome, Particulars};
use crate::acceptor::request::route;
use crate::acceptor::upstream::fastcgi;
use crate::acceptor::upstream::worker_head::{Origin, RequestHead, write_request};
use crate::acceptor::wire::body_framing::{ReceiveFraming, SendFraming};
use crate::acceptor::wire::chunks::{Chunks, Followed};
use crate::acceptor::wire::framing::{Framing, FramingError};
use crate::acceptor::wire::headers::is_forwarding;
use crate::acceptor::wire::trailers;
use crate::name::{AppName, RequestId};

/// A request that is let in reaches a worker as one head, which ends where the server thinks, with one host and one
/// framing, and without a client's field that only the server may set.
pub fn worker_request(data: &[u8]) {
    let Some(asked) = AskedField::read(data) else { return };
    let id = RequestId::random();
    for (framing, trusted) in [
        (SendFraming::None, false),
        (SendFraming::Length(7), true),
        (SendFraming::Chunked, false),
        (SendFraming::Chunked, true),
    ] {
        let origin = Origin {
            forwarded_for: "192.0.2.7",
            proto: "https",
            host: &asked.authority,
            port: 8443,
            prefix: "/blog",
            id: &id,
            start_ms: 1,
            client: IpAddr::from([192, 0, 2, 7]),
            trusted,
            client_cert: &[],
            identity: &[],
        };
        let head = RequestHead {
            method: &asked.method,
            uri: &asked.uri,
            version: Version::HTTP_11,
            headers: &asked.headers,
            authority: &asked.authority,
            upgrade: None,
        };
        let mut out = Vec::new();
        write_request(&mut out, head, &origin, framing, true);
        assert_worker_request(&out, &asked, framing, trusted);
        let mut out = Vec::new();
        fastcgi::write_request(&mut out, head, &origin, None, Some(7), true);
        super::fastcgi::assert_variables(&out, &asked.headers, trusted);
    }
}

fn assert_worker_request(out: &[u8], asked: &AskedField, framing: SendFraming, trusted: bool) {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut head = httparse::Request::new(&mut fields);
    assert_eq!(head.parse(out), Ok(httparse::Status::Complete(out.len())), "{}", out.escape_ascii());
    assert_eq!(head.method, Some(asked.method.as_str()));
    assert!(head.path.is_some_and(|path| path == "*" || path.starts_with('/')), "{:?}", head.path);
    let values = |name: &str| -> Vec<&[u8]> {
        let named = head.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value).collect()
    };
    assert_eq!(values("host"), [asked.authority.as_bytes()]);
    assert_eq!(values("x-forwarded-for"), [b"192.0.2.7"]);
    assert_eq!(values("x-forwarded-port"), [b"8443"]);
    assert_eq!(values("x-forwarded-prefix"), [b"/blog"]);
    assert_eq!(values("x-request-id").len(), 1);
    assert!(values("cookie").len() <= 1);
    let (lengths, encodings) = (values("content-length"), values("transfer-encoding"));
    match framing {
        SendFraming::None => assert!(encodings.is_empty() && lengths.iter().all(|length| *length == b"0")),
        SendFraming::Length(_) => assert!(encodings.is_empty() && lengths == [b"7"]),
        SendFraming::Chunked => assert!(encodings == [b"chunked"] && lengths.is_empty()),
    }
    for field in head.headers.iter() {
        let name = field.name.to_ascii_lowercase();
        assert!(!KEPT_BACK.contains(&&*name) && !name.contains('_') && !name.starts_with("rip-"), "{name}");
        assert!(trusted || !is_forwarding(&name) || OWN.contains(&&*name), "{name} of a stranger");
    }
    let mut watched = Framing::default();
    watched.feed(out);
    // The sign may also stand in a method; a request with it is refused.
    let refused = asked.method.as_str().contains('#').then_some(FramingError::Fragment);
    assert_eq!(watched.flaw(0), refused);
}

/// Fields of a client that never reach a worker.
const KEPT_BACK: [&str; 8] =
    ["connection", "keep-alive", "te", "trailer", "upgrade", "expect", "proxy", "proxy-connection"];
/// Forwarding fields that the server writes itself.
const OWN: [&str; 6] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-request-start",
];

/// Trailers that pass are the same when they are read again, end where the server thinks, and do not change when they
/// are cleaned a second time.
pub fn trailers(data: &[u8]) {
    let Some(fields) = fields(data) else { return };
    let mut passed = fields.clone();
    trailers::clean(&mut passed);
    let end = trailers::last_chunk(&fields);
    assert_eq!(Chunks::default().follow(&end), Followed::Ended(end.len()), "{}", end.escape_ascii());
    if passed.len() <= MOST_TRAILERS && end.len() <= MOST_TRAILER_BYTES {
        let read = decoded(ReceiveFraming::Chunked, &end, end.len()).unwrap();
        let Decoded { data, end: Some(again), left: Some(0) } = read else { panic!("{read:?}") };
        assert!(data.is_empty());
        assert_eq!(again.unwrap_or_default(), passed);
    }
    let mut twice = passed.clone();
    trailers::clean(&mut twice);
    assert_eq!(twice, passed);

    let mut answered = fields;
    trailers::clean_answer(&mut answered, None);
    for name in ["content-length", "transfer-encoding", "connection", "set-cookie", "x-request-id"] {
        assert!(!answered.contains_key(name), "{name}");
    }
}

/// The limits of trailers that are read of an answer.
const MOST_TRAILERS: usize = 32;
const MOST_TRAILER_BYTES: usize = 16 << 10;

/// A stranger's forwarding fields change nothing. A trusted proxy's name an address that stands in them, and what the
/// worker is told ends with the proxy's address.
pub fn client_address(data: &[u8]) {
    let Some(fields) = fields(data) else { return };
    let address = Ipv4Addr::new(192, 0, 2, 1);
    let peer = Peer::new((address, 5000).into());
    let stranger = RequestClient::of(&peer, &fields, &[]);
    assert_eq!((stranger.address, &*stranger.forwarded_for), (IpAddr::V4(address), "192.0.2.1"));
    assert!(stranger.told.is_none());

    let trusted: [IpNet; 2] = ["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let client = RequestClient::of(&peer, &fields, &trusted);
    let said: Vec<&str> = client.forwarded_for.split(',').map(str::trim).collect();
    assert_eq!(said.last(), Some(&"192.0.2.1"));
    assert!(client.forwarded_for.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'!'..=b'~')));
    let bare = |text: &str| -> Option<IpAddr> {
        let inside = text.trim_start_matches('[').trim_end_matches(']');
        let socket = || text.parse().map(|socket: std::net::SocketAddr| socket.ip());
        inside.parse().or_else(|_| socket()).ok().map(|address: IpAddr| address.to_canonical())
    };
    let is_trusted = |hop: &IpAddr| trusted.iter().any(|net| net.contains(hop));
    // The chain is read from the right: all trusted proxies, then at most one stranger.
    let hops: Vec<IpAddr> = said.iter().rev().map_while(|text| bare(text)).collect();
    let strange = hops.iter().position(|hop| !is_trusted(hop));
    assert_eq!(client.address, strange.map_or(*hops.last().unwrap(), |at| hops[at]));
}

/// A record is one line, whatever the client sent. The line has no control characters for a terminal, and the object is
/// JSON that says the same.
pub fn access_line(data: &[u8]) {
    let Some(asked) = AskedField::read(data) else { return };
    let kind = asked.headers.get(header::CONTENT_TYPE).cloned();
    let user = asked.headers.get("remote-user").map(|user| String::from_utf8_lossy(user.as_bytes()).into());
    let particulars = Particulars {
        id: RequestId::random(),
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        host: Some(asked.authority),
        user,
        method: asked.method,
        uri: asked.uri,
        version: Version::HTTP_11,
        kind,
    };
    let record = AccessRecord { status: 200, outcome: Outcome::Complete, ..AccessRecord::blank() };
    let app = AppName::parse("app").unwrap();
    let entry = AccessEntry {
        time: SystemTime::UNIX_EPOCH,
        total: Duration::from_millis(data.len() as u64),
        app: Some(&app),
        record: &record,
        particulars: &particulars,
    };
    let mut line = Vec::new();
    access_line::human(&mut line, &entry, &mut Calendar::human(), false);
    let text = line.strip_suffix(b"\n").unwrap();
    assert!(text.iter().all(|byte| matches!(byte, b' '..=b'~')), "{}", text.escape_ascii());
    let mut object = Vec::new();
    access_line::json(&mut object, &entry, &mut Calendar::json());
    let text = object.strip_suffix(b"\n").unwrap();
    assert!(!text.iter().any(u8::is_ascii_control), "{}", text.escape_ascii());
    let value: serde_json::Value = serde_json::from_slice(text).unwrap();
    let path = particulars.uri.path_and_query().map_or("/", |target| target.as_str());
    assert_eq!(value["path"], path);
    assert_eq!(value["method"], particulars.method.as_str());
    assert_eq!(value["user"].as_str(), particulars.user.as_deref());
}

/// A request's head, and its host if the server would take that.
struct AskedField {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    authority: String,
}

impl AskedField {
    fn read(data: &[u8]) -> Option<Self> {
        let mut parsed = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Request::new(&mut parsed);
        let httparse::Status::Complete(_) = head.parse(data).ok()? else { return None };
        let headers = map_of(head.headers)?;
        let authority = headers.get(header::HOST)?.to_str().ok()?.to_owned();
        route::canonical(&authority)?;
        Some(Self {
            method: Method::from_bytes(head.method?.as_bytes()).ok()?,
            uri: Uri::try_from(head.path?).ok()?,
            headers,
            authority,
        })
    }
}

/// Fields as they stand in a head, without its first line.
fn fields(data: &[u8]) -> Option<HeaderMap> {
    let mut parsed = [httparse::EMPTY_HEADER; 64];
    match httparse::parse_headers(data, &mut parsed).ok()? {
        httparse::Status::Complete((_, fields)) => map_of(fields),
        httparse::Status::Partial => None,
    }
}

fn map_of(fields: &[httparse::Header<'_>]) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        map.append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some(map)
}
