//! Owns what an endpoint of the control socket is: a method, a path with parameters, and the types of request and
//! answer. Client and server both read and write requests here, so that they cannot disagree.
//!
//! Never here: which endpoints there are (`endpoints`), or connections.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::name::{AppName, HostName, RouteName};

/// An endpoint that takes an `I` and answers an `A`, which is an [`Object`], [`ObjectLines`] or [`Text`].
pub(crate) struct Endpoint<I, A> {
    pub(crate) method: &'static str,
    /// The path; a part `{name}` is a parameter.
    pub(crate) path: &'static str,
    types: PhantomData<fn(I) -> A>,
}

/// The answer is one JSON object.
pub(crate) struct Object<T>(PhantomData<T>);

/// The answer is a JSON object a line (`application/x-ndjson`), each sent when it comes.
pub(crate) struct ObjectLines<T>(PhantomData<T>);

/// The answer is text of another type.
pub(crate) struct Text;

impl<I, A> Endpoint<I, A> {
    pub(crate) const fn new(method: &'static str, path: &'static str) -> Self {
        Self { method, path, types: PhantomData }
    }
}

impl<I: Input, A> Endpoint<I, A> {
    /// The request that asks for `input`: its target, and its body, empty where there is none.
    ///
    /// # Errors
    /// When JSON cannot hold the input: a path that is not UTF-8.
    pub(crate) fn request(&self, input: &I) -> serde_json::Result<(String, Vec<u8>)> {
        let mut parts = RequestParts::default();
        input.write(&mut parts)?;
        let mut target = String::new();
        for part in self.path.split('/').skip(1) {
            let param = is_param(part).then(|| parts.params.pop_front()).flatten();
            let _ = write!(target, "/{}", param.as_deref().unwrap_or(part));
        }
        if !parts.query.is_empty() {
            let _ = write!(target, "?{}", parts.query);
        }
        Ok((target, parts.body))
    }
}

/// The parameters of a path, still percent-encoded, if the path fits the template.
pub(crate) fn params_of(template: &str, path: &str) -> Option<VecDeque<String>> {
    let mut params = VecDeque::new();
    let (mut wanted, mut parts) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), parts.next()) {
            (None, None) => return Some(params),
            (Some(wanted), Some(part)) if is_param(wanted) => params.push_back(part.to_owned()),
            (Some(wanted), Some(part)) if wanted == part => {}
            _ => return None,
        }
    }
}

/// A template for people: `/registry/HOST/state`.
pub(crate) fn shown(template: &str) -> String {
    template
        .split('/')
        .map(|part| if is_param(part) { part.to_uppercase() } else { part.to_owned() })
        .collect::<Vec<_>>()
        .join("/")
        .replace(['{', '}'], "")
}

fn is_param(part: &str) -> bool {
    part.starts_with('{')
}

/// The variable parts of a request: the parameters of its path, its query, its body.
#[derive(Debug, Default)]
pub(crate) struct RequestParts {
    /// The parameters of the path, percent-encoded, in order.
    pub(crate) params: VecDeque<String>,
    pub(crate) query: String,
    pub(crate) body: Vec<u8>,
}

pub(crate) trait Input: Sized {
    /// Whether a part of the input is in the body.
    const HAS_BODY: bool = false;

    /// Writes the input into the parts of a request.
    ///
    /// # Errors
    /// When JSON cannot hold the input.
    fn write(&self, parts: &mut RequestParts) -> serde_json::Result<()>;

    /// Reads the input from the parts of a request.
    ///
    /// # Errors
    /// The text that was read, and the form that would be right.
    fn read(parts: &mut RequestParts) -> Result<Self, InputError>;
}

/// Why a request cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct InputError {
    pub(crate) message: String,
    pub(crate) hint: Option<&'static str>,
}

impl InputError {
    fn new(message: impl ToString) -> Self {
        Self { message: message.to_string(), hint: None }
    }
}

impl Input for () {
    fn write(&self, _: &mut RequestParts) -> serde_json::Result<()> {
        Ok(())
    }

    fn read(_: &mut RequestParts) -> Result<Self, InputError> {
        Ok(())
    }
}

impl<A: Input, B: Input> Input for (A, B) {
    const HAS_BODY: bool = A::HAS_BODY || B::HAS_BODY;

    fn write(&self, parts: &mut RequestParts) -> serde_json::Result<()> {
        self.0.write(parts)?;
        self.1.write(parts)
    }

    fn read(parts: &mut RequestParts) -> Result<Self, InputError> {
        Ok((A::read(parts)?, B::read(parts)?))
    }
}

/// The types that are parameters of the path.
macro_rules! path_params {
    ($($name:ident),+) => {$(
        impl Input for $name {
            fn write(&self, parts: &mut RequestParts) -> serde_json::Result<()> {
                parts.params.push_back(encoded(&self.to_string()));
                Ok(())
            }

            fn read(parts: &mut RequestParts) -> Result<Self, InputError> {
                Self::parse(&decoded(&parts.params.pop_front().unwrap_or_default())?).map_err(InputError::new)
            }
        }
    )+};
}

path_params!(HostName, RouteName);

/// A body of JSON.
pub(crate) trait JsonBody: Serialize + DeserializeOwned {
    /// The right form, for a person whose body was wrong.
    const EXPECTED: &str;
    /// Whether the body may be left out, because every field may.
    const MAY_BE_EMPTY: bool = false;
}

impl<T: JsonBody> Input for T {
    const HAS_BODY: bool = true;

    fn write(&self, parts: &mut RequestParts) -> serde_json::Result<()> {
        parts.body = serde_json::to_vec(self)?;
        Ok(())
    }

    fn read(parts: &mut RequestParts) -> Result<Self, InputError> {
        let body = &parts.body;
        let body = if T::MAY_BE_EMPTY && body.is_empty() { b"{}" } else { body.as_slice() };
        serde_json::from_slice(body).map_err(|error| InputError {
            message: format!("cannot use the body `{}`: {error}", excerpt(body)),
            hint: Some(T::EXPECTED),
        })
    }
}

/// The query of `/logs`: which lines of the workers are asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LogQuery {
    /// The app; `None`: all apps.
    pub(crate) app: Option<AppName>,
    /// How many of the last lines, up to [`MAX_LINES`].
    pub(crate) lines: usize,
    /// Whether new lines follow.
    pub(crate) follow: bool,
}

impl Input for LogQuery {
    fn write(&self, parts: &mut RequestParts) -> serde_json::Result<()> {
        parts.query = format!("lines={}", self.lines);
        if let Some(app) = &self.app {
            let _ = write!(parts.query, "&app={}", encoded(app.as_str()));
        }
        if self.follow {
            parts.query += "&follow=1";
        }
        Ok(())
    }

    fn read(parts: &mut RequestParts) -> Result<Self, InputError> {
        let mut wanted = Self { app: None, lines: DEFAULT_LINES, follow: false };
        for pair in parts.query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value)?;
            match key {
                "app" => wanted.app = Some(AppName::parse(&value).map_err(InputError::new)?),
                "lines" => wanted.lines = line_count(&value)?,
                "follow" => wanted.follow = yes_or_no(&value)?,
                _ => {
                    return Err(InputError {
                        message: format!("`{key}` cannot be asked for"),
                        hint: Some("use app=NAME, lines=N, follow=1"),
                    });
                }
            }
        }
        Ok(wanted)
    }
}

fn line_count(value: &str) -> Result<usize, InputError> {
    let number = value.parse().ok().filter(|lines| *lines <= MAX_LINES);
    number.ok_or_else(|| InputError::new(format!("lines={value}: expected a number from 0 to {MAX_LINES}")))
}

fn yes_or_no(value: &str) -> Result<bool, InputError> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(InputError::new(format!("follow={value}: expected 1 or 0"))),
    }
}

/// Encodes all but the unreserved characters (percent-encoding, RFC 3986 §2.1).
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
        encoded
    })
}

/// Undoes the percent-encoding; a wrong encoding is an error.
fn decoded(part: &str) -> Result<String, InputError> {
    let wrong = || InputError::new(format!("`{part}` is not percent-encoded UTF-8"));
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = after;
            continue;
        }
        let digits = after.get(..2).filter(|two| two.iter().all(u8::is_ascii_hexdigit)).ok_or_else(wrong)?;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// The beginning of a text, long enough to know it again.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(EXCERPT)]);
    if bytes.len() > EXCERPT { format!("{text}…") } else { text.into_owned() }
}

const EXCERPT: usize = 200;
const DEFAULT_LINES: usize = 100;
const MAX_LINES: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Endpoint<RouteName, ()> = Endpoint::new("DELETE", "/registry/{host}");
    const LOGS: Endpoint<LogQuery, ()> = Endpoint::new("GET", "/logs");

    fn read<I: Input>(template: &str, target: &str) -> Result<I, InputError> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let params = params_of(template, path).unwrap();
        I::read(&mut RequestParts { params, query: query.into(), body: vec![] })
    }

    fn logs(app: Option<&str>, lines: usize, follow: bool) -> LogQuery {
        LogQuery { app: app.map(|name| AppName::parse(name).unwrap()), lines, follow }
    }

    #[test]
    fn a_path_is_matched_part_by_part() {
        let params = |path| params_of("/registry/{host}/state", path).map(Vec::from);
        assert_eq!(params("/registry/a%2Eb/state"), Some(vec!["a%2Eb".into()]));
        assert_eq!(params("/registry//state"), Some(vec![String::new()]));
        for path in ["/registry/a", "/registry/a/state/", "//registry/a/state", "/registry/a/b/state", ""] {
            assert_eq!(params(path), None, "{path}");
        }
    }

    #[test]
    fn what_the_client_writes_the_server_reads() {
        for (host, target) in [
            ("example.com", "/registry/example.com"),
            ("*.example.com", "/registry/%2A.example.com"),
            ("[::1]", "/registry/%5B%3A%3A1%5D"),
            ("example.com/blog", "/registry/example.com%2Fblog"),
            ("my_app-1.local", "/registry/my_app-1.local"),
        ] {
            let host = RouteName::parse(host).unwrap();
            assert_eq!(HOST.request(&host).unwrap(), (target.into(), vec![]));
            assert_eq!(read::<RouteName>(HOST.path, target).unwrap(), host);
        }
        for (query, target) in [
            (logs(None, 100, false), "/logs?lines=100"),
            (logs(Some("api"), 5, true), "/logs?lines=5&app=api&follow=1"),
        ] {
            assert_eq!(LOGS.request(&query).unwrap(), (target.into(), vec![]));
            assert_eq!(read::<LogQuery>(LOGS.path, target).unwrap(), query);
        }
    }

    #[test]
    fn other_spellings_are_read_too() {
        for (target, host) in [
            ("/registry/Blog.Example", "blog.example"),
            ("/registry/%5B%3a%3A1%5D", "[::1]"),
            ("/registry/b%C3%BCcher.example", "bücher.example"),
        ] {
            assert_eq!(read::<RouteName>(HOST.path, target).unwrap(), RouteName::parse(host).unwrap());
        }
        for (target, query) in [
            ("/logs", logs(None, 100, false)),
            ("/logs?follow=1&app=api&lines=0", logs(Some("api"), 0, true)),
            ("/logs?lines=100000&follow=false&", logs(None, 100_000, false)),
        ] {
            assert_eq!(read::<LogQuery>(LOGS.path, target).unwrap(), query, "{target}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_shown() {
        for (target, message) in [
            ("/registry/", "a host name is empty"),
            ("/registry/a%2", "`a%2` is not percent-encoded UTF-8"),
            ("/registry/a%+1", "`a%+1` is not percent-encoded UTF-8"),
            ("/registry/%FF", "`%FF` is not percent-encoded UTF-8"),
        ] {
            assert_eq!(read::<RouteName>(HOST.path, target).unwrap_err().message, message);
        }
        for (query, message) in [
            ("lines=", "lines=: expected a number from 0 to 100000"),
            ("lines=100001", "lines=100001: expected a number from 0 to 100000"),
            ("lines=-1", "lines=-1: expected a number from 0 to 100000"),
            ("follow", "follow=: expected 1 or 0"),
            ("line=1", "`line` cannot be asked for"),
        ] {
            let error = read::<LogQuery>(LOGS.path, &format!("/logs?{query}")).unwrap_err();
            assert_eq!(error.message, message);
        }
    }
}
