//! Owns the question to a program about a request, the meaning of the program's answer, and asking a program that
//! listens at an address: one short exchange over plain HTTP/1.1, on a connection of its own.
//!
//! Never here: asking an app of this server, or what becomes of the request (`request`).

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::identity::Identity;
use crate::acceptor::error::ServeError;
use crate::acceptor::wire::headers::{Named, passes_to_worker};
use crate::budget::Budget;
use crate::name::{ClientNet, RequestId};
use crate::spec::auth::{AuthAddress, ForwardAuth};
use crate::time::timer;

/// The questions to programs about requests, of all threads; the budget bounds how many requests are asked about at a
/// time.
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

impl AskedRequest<'_> {
    /// The fields of the client that the program gets.
    pub(in crate::acceptor) fn fields(&self, auth: &ForwardAuth) -> HeaderMap {
        let named = Named::of(self.headers);
        let passes = |name: &HeaderName| {
            let is_of_the_body = name.as_str().starts_with("content-") || name.as_str().starts_with("if-");
            let is_left_out = is_of_the_body || name == header::RANGE || auth.hides(name);
            !is_left_out && passes_to_worker(name, &named, false)
        };
        let mut fields = HeaderMap::new();
        for (name, value) in self.headers.iter().filter(|(name, _)| passes(name)) {
            fields.append(name.clone(), value.clone());
        }
        fields
    }

    /// The fields that describe the request to the program that is asked, by the names that such programs read.
    ///
    /// # Errors
    /// [`ServeError::AuthFailed`] when a part of the request may not stand in a field.
    pub(in crate::acceptor) fn told(&self) -> Result<Vec<(HeaderName, HeaderValue)>, ServeError> {
        let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
        [
            ("x-forwarded-method", self.method.as_str()),
            ("x-forwarded-uri", target),
            ("x-original-method", self.method.as_str()),
            ("x-original-url", &format!("{}://{}{target}", self.proto, self.host)),
        ]
        .into_iter()
        .map(|(name, value)| Ok((HeaderName::from_static(name), field_value(value)?)))
        .collect()
    }
}

impl AuthAnswer {
    /// Reads an answer: the request may pass, or the client gets this answer in its place.
    ///
    /// # Errors
    /// [`ServeError::AuthFailed`] when the answer's status says neither, or its body breaks off or is too large.
    pub(in crate::acceptor) async fn of<B: Body<Error: Into<BoxError>>>(
        auth: &ForwardAuth,
        status: StatusCode,
        headers: &HeaderMap,
        body: B,
    ) -> Result<Self, ServeError> {
        if status.is_success() {
            // The body of an answer that lets the request pass is not read.
            return Ok(Self::Passes(Identity::copied(&auth.copy, headers)));
        }
        let is_for_the_client = status.is_redirection() && headers.contains_key(header::LOCATION)
            || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if !is_for_the_client {
            return Err(ServeError::AuthFailed("the program that is asked fails itself"));
        }
        let large =
            |_| ServeError::AuthFailed("the answer of the program that is asked breaks off, or is too large");
        let body = Limited::new(body, LARGEST).collect().await.map_err(large)?.to_bytes();
        let fields = PASSED
            .iter()
            .flat_map(|name| headers.get_all(name).iter().map(move |value| (name.clone(), value.clone())));
        Ok(Self::Instead { status, headers: fields.collect(), body })
    }
}

impl AuthCalls {
    pub(in crate::acceptor) fn new() -> Self {
        Self(Budget::new(PLACES))
    }

    /// The places of requests that a program is asked about, and how many each client has.
    pub(in crate::acceptor) fn places(&self) -> &Budget {
        &self.0
    }

    /// Asks the program at an address about a request. Cancel-safe: dropping the future closes the connection.
    ///
    /// # Errors
    /// [`ServeError::AuthCallsFull`]; [`ServeError::AuthFailed`] when no answer comes in time, or the answer neither
    /// lets the request pass nor is one for the client.
    pub(in crate::acceptor) async fn ask(
        &self,
        auth: &ForwardAuth,
        program: &AuthAddress,
        asked: AskedRequest<'_>,
    ) -> Result<AuthAnswer, ServeError> {
        let mut place = self.0.reserve(asked.client);
        if !place.grow_to(1) {
            return Err(ServeError::AuthCallsFull);
        }
        let request = request(auth, program, &asked)?;
        let late = |_| ServeError::AuthFailed("the program that is asked does not answer in time");
        timer::timeout(LIMIT, exchange(auth, program, request)).await.map_err(late)?
    }
}

fn request(
    auth: &ForwardAuth,
    program: &AuthAddress,
    asked: &AskedRequest<'_>,
) -> Result<Request<Empty<Bytes>>, ServeError> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = Uri::from(auth.path.clone());
    let mut headers = asked.fields(auth);
    for (name, value) in asked.told()? {
        headers.insert(name, value);
    }
    for (name, value) in [
        ("host", program.authority.as_str()),
        ("x-forwarded-proto", asked.proto),
        ("x-forwarded-host", asked.host),
        ("x-forwarded-for", asked.forwarded_for),
        ("x-request-id", &asked.id.to_string()),
    ] {
        headers.insert(HeaderName::from_static(name), field_value(value)?);
    }
    *request.headers_mut() = headers;
    Ok(request)
}

fn field_value(text: &str) -> Result<HeaderValue, ServeError> {
    HeaderValue::from_str(text).map_err(|_| ServeError::AuthFailed("a field cannot be passed on"))
}

async fn exchange(
    auth: &ForwardAuth,
    program: &AuthAddress,
    request: Request<Empty<Bytes>>,
) -> Result<AuthAnswer, ServeError> {
    let stream = TcpStream::connect(&program.address).await;
    let stream = stream.map_err(|_| ServeError::AuthFailed("the program that is asked cannot be reached"))?;
    let broken = |_| ServeError::AuthFailed("the program that is asked breaks off");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let ask = async move {
        let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        AuthAnswer::of(auth, head.status, &head.headers, body).await
    };
    let mut ask = pin!(ask);
    tokio::select! {
        biased;
        answer = &mut ask => return answer,
        _closed = connection => {}
    }
    ask.await
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

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
