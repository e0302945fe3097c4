//! Owns requests to authorities as bytes: their limits of time and size, and the content of a refusal.
//!
//! Never here: what is asked (`authority`).

use std::error::Error as StdError;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient, Problem};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use super::failure::{Failure, FailureKind};

/// A client for authorities. Clones share their connections.
#[derive(Clone)]
pub(super) struct Https {
    client: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
}

impl Https {
    /// A client that believes the roots of the machine, and those in the PEM file `root`. Blocks on the disk.
    ///
    /// # Errors
    /// When `root` cannot be read or has no certificate in it.
    pub(super) fn new(root: Option<&Path>) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = root {
            let before = roots.len();
            let file = BufReader::new(File::open(path)?);
            let found = CertificateDer::pem_reader_iter(file).filter_map(Result::ok);
            roots.add_parsable_certificates(found);
            if roots.len() == before {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "there is no certificate in it"));
            }
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECTING));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().wrap_connector(tcp);
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector) })
    }
}

impl HttpClient for Https {
    fn request(
        &self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let asked = self.client.request(request);
        Box::pin(async move {
            let answer = async {
                let answer = asked.await.map_err(|error| unreachable_at(&host, &error))?;
                let (parts, body) = answer.into_parts();
                let body = Limited::new(body, LONGEST_ANSWER).collect().await;
                let body = body.map_err(|error| unreachable_at(&host, error.as_ref()))?.to_bytes();
                judge(&host, parts.status, &parts.headers, &body, SystemTime::now())?;
                Ok(BytesResponse { parts, body: Box::new(body) })
            };
            let seconds = ANSWERING.as_secs();
            let silent = || {
                let text = format!("{host} did not answer within {seconds} s");
                Refusal { failure: Failure::new(FailureKind::Unreachable, text), problem: None }
            };
            timeout(ANSWERING, answer)
                .await
                .unwrap_or_else(|_| Err(silent()))
                .map_err(|no| Error::Other(Box::new(no)))
        })
    }
}

/// An answer that refuses, or the lack of one.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) failure: Failure,
    /// The kind of problem that the authority names (RFC 8555 §6.7), without its prefix.
    pub(super) problem: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.failure.text)
    }
}

impl StdError for Refusal {}

fn unreachable_at(host: &str, error: &(dyn StdError + 'static)) -> Refusal {
    let text = format!("cannot reach {host}: {}", innermost(error));
    Refusal { failure: Failure::new(FailureKind::Unreachable, text), problem: None }
}

/// The innermost cause of an error.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

/// Whether an answer may go on to the protocol's library. An answer that refuses a nonce may go on: the library then
/// tries again by itself.
fn judge(
    host: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: SystemTime,
) -> Result<(), Refusal> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !status.is_client_error() && !status.is_server_error() {
        let page = kind.starts_with("text/html") || body.trim_ascii_start().starts_with(b"<");
        if status.is_success() && !page {
            return Ok(());
        }
        let text = format!(
            "{host} answered {} with what is no answer of an authority{}",
            status.as_u16(),
            excerpt(body)
        );
        return Err(Refusal { failure: Failure::new(FailureKind::Answer, text), problem: None });
    }
    let problem = serde_json::from_slice::<Problem>(body).ok();
    let name = problem.as_ref().and_then(|problem| problem.r#type.as_deref());
    let name = name.map(|name| name.strip_prefix(PROBLEM).unwrap_or(name).to_owned());
    if name.as_deref() == Some("badNonce") {
        return Ok(());
    }
    let failure_kind = match name.as_deref() {
        _ if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => FailureKind::Busy,
        Some("rateLimited") => FailureKind::Busy,
        Some("accountDoesNotExist" | "externalAccountRequired" | "userActionRequired" | "invalidContact") => {
            FailureKind::Account
        }
        Some(_) => FailureKind::Order,
        None => FailureKind::Answer,
    };
    let said = match &problem {
        Some(problem) => {
            let parts = problem.subproblems.iter().filter_map(|part| part.detail.clone());
            let all: Vec<String> = problem.detail.iter().cloned().chain(parts).collect();
            let name = name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
            format!(": {}{name}", plain(&all.join("; ")))
        }
        None => excerpt(body),
    };
    let text = format!("{host} answered {}{said}", status.as_u16());
    let retry_after = headers.get(RETRY_AFTER).and_then(|value| retry_after(value, now));
    Err(Refusal { failure: Failure { retry_after, ..Failure::new(failure_kind, text) }, problem: name })
}

/// Reads a `Retry-After`: seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<SystemTime> {
    let text = value.to_str().ok()?.trim();
    match text.parse::<u64>() {
        Ok(seconds) => now.checked_add(Duration::from_secs(seconds.min(LONGEST_WAIT))),
        Err(_) => httpdate::parse_http_date(text).ok(),
    }
}

/// The beginning of a body that is not what was asked for, as the end of a sentence.
fn excerpt(body: &[u8]) -> String {
    let text = plain(&String::from_utf8_lossy(&body[..body.len().min(200)]));
    let short: String = text.chars().take(80).collect();
    if short.is_empty() { String::new() } else { format!(": `{short}…`") }
}

/// A text of an authority's in one line, without characters that a terminal would act on.
pub(super) fn plain(text: &str) -> String {
    text.split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

const AGENT: &str = concat!("rip-server/", env!("CARGO_PKG_VERSION"), " (instant-acme)");
const PROBLEM: &str = "urn:ietf:params:acme:error:";
const CONNECTING: Duration = Duration::from_secs(10);
/// The time limit of a whole answer, body and all.
const ANSWERING: Duration = Duration::from_secs(30);
const LONGEST_ANSWER: usize = 1 << 20;
/// The longest `Retry-After` that is believed: ten years, in seconds.
const LONGEST_WAIT: u64 = 315_360_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000)
    }

    fn answered(status: u16, fields: &[(&'static str, &str)], body: &str) -> Option<Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, value.parse().unwrap());
        }
        judge("ca.example", StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes(), now()).err()
    }

    #[test]
    fn good_answers_and_refused_nonces_pass() {
        assert!(answered(200, &[("content-type", "application/json")], "{}").is_none());
        assert!(answered(204, &[], "").is_none());
        let nonce = r#"{"type":"urn:ietf:params:acme:error:badNonce"}"#;
        assert!(answered(400, &[("content-type", "application/problem+json")], nonce).is_none());
    }

    #[test]
    fn pages_of_others_are_no_answers_and_their_status_is_kept() {
        let page = "<html>\n<body>Welcome to hotel \u{1b}[31mwifi</body></html>";
        let refusal = answered(200, &[("content-type", "text/html")], page).unwrap();
        assert_eq!(refusal.failure.kind, FailureKind::Answer);
        assert_eq!(
            refusal.failure.text,
            "ca.example answered 200 with what is no answer of an authority: `<html> <body>Welcome to hotel [31mwifi</body></html>…`"
        );
        let refusal = answered(502, &[("content-type", "text/html")], "<h1>Bad gateway</h1>").unwrap();
        assert_eq!(refusal.failure.kind, FailureKind::Busy);
        assert_eq!(refusal.failure.text, "ca.example answered 502: `<h1>Bad gateway</h1>…`");
        assert_eq!(answered(301, &[], "").unwrap().failure.kind, FailureKind::Answer);
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_as_a_date() {
        let problem = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates"}"#;
        let refusal = answered(429, &[("retry-after", "120")], problem).unwrap();
        assert_eq!(refusal.failure.kind, FailureKind::Busy);
        assert_eq!(refusal.failure.text, "ca.example answered 429: too many certificates (rateLimited)");
        assert_eq!(refusal.failure.retry_after, Some(now() + Duration::from_secs(120)));
        let date = httpdate::fmt_http_date(now() + Duration::from_secs(600));
        let refusal = answered(503, &[("retry-after", &date)], "").unwrap();
        assert_eq!(refusal.failure.retry_after, Some(now() + Duration::from_secs(600)));
        for nonsense in ["soon", "-1", ""] {
            assert_eq!(answered(503, &[("retry-after", nonsense)], "").unwrap().failure.retry_after, None);
        }
        answered(503, &[("retry-after", "18446744073709551615")], "").unwrap();
    }

    #[test]
    fn what_the_problem_is_of_is_told_apart() {
        for (name, kind) in [
            ("accountDoesNotExist", FailureKind::Account),
            ("externalAccountRequired", FailureKind::Account),
            ("rejectedIdentifier", FailureKind::Order),
            ("malformed", FailureKind::Order),
        ] {
            let problem = format!(r#"{{"type":"{PROBLEM}{name}"}}"#);
            let refusal = answered(403, &[], &problem).unwrap();
            assert_eq!((refusal.failure.kind, refusal.problem.as_deref()), (kind, Some(name)));
        }
    }
}
