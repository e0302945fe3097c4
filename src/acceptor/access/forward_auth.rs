//! Owns asking another program whether a request may pass: one short exchange over plain HTTP/1.1, on a connection of
//! its own.
//!
//! Never here: what becomes of the request (`request`).

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::identity::Identity;
use crate::acceptor::error::ServeError;
use crate::acceptor::wire::headers::{Named, passes_to_worker};
use crate::budget::Budget;
use crate::name::{ClientNet, RequestId};
use crate::spec::auth::ForwardAuth;
use crate::time::timer;

/// Asks programs about requests, for all threads; the budget bounds how many requests are asked about at a time.
pub(in crate::acceptor) struct AuthCalls(Budget);

/// A request as the program is told of it.
pub(in crate::acceptor) struct AskedRequest<'a> {
    pub(in crate::acceptor) method: &'a Method,
    /// The target as the client sent it.
    pub(in crate::acceptor) uri: &'a Uri,
    pub(in crate::acceptor) headers: &'a HeaderMap,
    pub(in crate::acceptor) proto: &'a str,
    pub(in crate::acceptor) host: &'a str,
    pub(in crate::acceptor) forwarded_for: &'a str,
    pub(in crate::acceptor) id: &'a RequestId,
    pub(in crate::acceptor) client: Option<ClientNet>,
}

/// The answer of the program about a request.
pub(in crate::acceptor) enum AuthAnswer {
    /// The request passes, from this client.
    Passes(Identity),
    /// The client gets this answer in place of the app's.
    Instead { status: StatusCode, headers: HeaderMap, body: Bytes },
}

impl AuthCalls {
    pub(in crate::acceptor) fn new() -> Self {
        Self(Budget::new(PLACES))
    }

    /// The places of requests that a program is asked about, and how many each client has.
    pub(in crate::acceptor) fn places(&self) -> &Budget {
        &self.0
    }

    /// Asks the program about a request. Cancel-safe: dropping the future closes the connection.
    ///
    /// # Errors
    /// [`ServeError::AuthCallsFull`]; [`ServeError::AuthFailed`] when no answer comes in time, or one that means
    /// neither.
    pub(in crate::acceptor) async fn ask(
        &self,
        auth: &ForwardAuth,
        asked: AskedRequest<'_>,
    ) -> Result<AuthAnswer, ServeError> {
        let mut place = self.0.reserve(asked.client);
        if !place.grow_to(1) {
            return Err(ServeError::AuthCallsFull);
        }
        let request = request(auth, &asked).ok_or(ServeError::AuthFailed("a field cannot be passed on"))?;
        let late = |_| ServeError::AuthFailed("the program that is asked does not answer in time");
        let (status, headers, body) =
            timer::timeout(LIMIT, exchange(auth, request)).await.map_err(late)??;
        if status.is_success() {
            return Ok(AuthAnswer::Passes(Identity::copied(&auth.copy, &headers)));
        }
        let is_for_the_client = status.is_redirection() && headers.contains_key(header::LOCATION)
            || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if !is_for_the_client {
            return Err(ServeError::AuthFailed("the program that is asked fails itself"));
        }
        let fields = PASSED
            .iter()
            .flat_map(|name| headers.get_all(name).iter().map(move |value| (name.clone(), value.clone())));
        let headers = fields.collect();
        Ok(AuthAnswer::Instead { status, headers, body })
    }
}

fn request(auth: &ForwardAuth, asked: &AskedRequest<'_>) -> Option<Request<Empty<Bytes>>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = auth.path.parse().ok()?;
    let headers = request.headers_mut();
    let named = Named::of(asked.headers);
    for (name, value) in asked.headers {
        let is_of_the_body = name.as_str().starts_with("content-") || name.as_str().starts_with("if-");
        let is_left_out = is_of_the_body || name == header::RANGE || auth.hides(name);
        if !is_left_out && passes_to_worker(name, &named, false) {
            headers.append(name.clone(), value.clone());
        }
    }
    let target = asked.uri.path_and_query().map_or("/", |target| target.as_str());
    for (name, value) in [
        ("host", auth.authority.as_str()),
        ("x-forwarded-method", asked.method.as_str()),
        ("x-forwarded-proto", asked.proto),
        ("x-forwarded-host", asked.host),
        ("x-forwarded-uri", target),
        ("x-forwarded-for", asked.forwarded_for),
        ("x-original-method", asked.method.as_str()),
        ("x-original-url", &format!("{}://{}{target}", asked.proto, asked.host)),
        ("x-request-id", &asked.id.to_string()),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).ok()?);
    }
    Some(request)
}

async fn exchange(
    auth: &ForwardAuth,
    request: Request<Empty<Bytes>>,
) -> Result<(StatusCode, HeaderMap, Bytes), ServeError> {
    let stream = TcpStream::connect(&auth.address).await;
    let stream = stream.map_err(|_| ServeError::AuthFailed("the program that is asked cannot be reached"))?;
    let broken = |_| ServeError::AuthFailed("the program that is asked breaks off");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let ask = async move {
        let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let large =
            |_| ServeError::AuthFailed("the answer of the program that is asked breaks off, or is too large");
        // The body of an answer that lets the request pass is not read.
        let body = if head.status.is_success() {
            Bytes::new()
        } else {
            Limited::new(body, LARGEST).collect().await.map_err(large)?.to_bytes()
        };
        Ok((head.status, head.headers, body))
    };
    let mut ask = pin!(ask);
    tokio::select! {
        biased;
        answer = &mut ask => return answer,
        _closed = connection => {}
    }
    ask.await
}

/// The fields of the program's answer that the client gets.
const PASSED: [HeaderName; 6] = [
    header::LOCATION,
    header::SET_COOKIE,
    header::WWW_AUTHENTICATE,
    header::CONTENT_TYPE,
    header::CONTENT_LANGUAGE,
    header::CACHE_CONTROL,
];
/// The time limit from connecting to the last byte of the answer.
const LIMIT: Duration = Duration::from_secs(10);
/// The largest body of an answer, in bytes.
const LARGEST: usize = 64 << 10;
/// The most requests that are asked about at a time, each with a connection.
const PLACES: u64 = 512;
