//! Owns the map of the control socket: method and path in, what is asked out.
//!
//! Never here: bodies, or doing it.

use std::fmt::Display;

use http::{Method, StatusCode, Uri};

use crate::name::{AppName, HostName};

use super::reply::Refusal;

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Route {
    Registry,
    AddHost,
    RemoveHost(HostName),
    SetIntent(HostName),
    Status,
    Workers,
    Deploy,
    Scale,
    Stop,
    Metrics,
    Logs(LogQuery),
}

/// Which lines.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LogQuery {
    pub(super) app: Option<AppName>,
    pub(super) lines: usize,
    pub(super) follow: bool,
}

impl Route {
    /// Whether it changes what the server does.
    pub(super) fn changes(&self) -> bool {
        match self {
            Self::Registry | Self::Status | Self::Workers | Self::Metrics | Self::Logs(_) => false,
            Self::AddHost
            | Self::RemoveHost(_)
            | Self::SetIntent(_)
            | Self::Deploy
            | Self::Scale
            | Self::Stop => true,
        }
    }

    /// Finds what is asked.
    ///
    /// # Errors
    /// A refusal that shows what was read and names what would be right.
    pub(super) fn find(method: &Method, uri: &Uri) -> Result<Self, Refusal> {
        let path = uri.path();
        let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
        match (parts.as_slice(), method.as_str()) {
            (["registry"], "GET") => Ok(Self::Registry),
            (["registry"], "POST") => Ok(Self::AddHost),
            (["registry"], _) => Err(wrong_method(method, path, "GET, POST")),
            (["registry", host], "DELETE") => host_name(host).map(Self::RemoveHost),
            (["registry", _], _) => Err(wrong_method(method, path, "DELETE")),
            (["registry", host, "intent"], "POST") => host_name(host).map(Self::SetIntent),
            (["registry", _, "intent"], _) => Err(wrong_method(method, path, "POST")),
            (["status"], "GET") => Ok(Self::Status),
            (["workers"], "GET") => Ok(Self::Workers),
            (["metrics"], "GET") => Ok(Self::Metrics),
            (["logs"], "GET") => log_query(uri.query().unwrap_or_default()).map(Self::Logs),
            (["status" | "workers" | "metrics" | "logs"], _) => Err(wrong_method(method, path, "GET")),
            (["deploy"], "POST") => Ok(Self::Deploy),
            (["workers", "scale"], "POST") => Ok(Self::Scale),
            (["stop"], "POST") => Ok(Self::Stop),
            (["deploy"] | ["workers", "scale"] | ["stop"], _) => Err(wrong_method(method, path, "POST")),
            (["worker"], _) => Err(joined_by_itself()),
            _ => Err(Refusal::new(StatusCode::NOT_FOUND, "no-such-path", format!("there is no `{path}`"))
                .hint(
                    "paths: /registry /registry/HOST /registry/HOST/intent /status /workers /workers/scale \
                       /deploy /stop /metrics /logs",
                )),
        }
    }
}

fn wrong_method(method: &Method, path: &str, allow: &'static str) -> Refusal {
    let message = format!("`{path}` takes no {method}");
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", message).allow(allow)
}

fn joined_by_itself() -> Refusal {
    let message = "workers no longer join by themselves: the manager starts them and hands them their socket";
    Refusal::new(StatusCode::GONE, "gone", message).hint("`POST /workers/scale` changes how many there are")
}

fn host_name(part: &str) -> Result<HostName, Refusal> {
    let text = decoded(part)?;
    HostName::parse(&text).map_err(bad)
}

fn log_query(query: &str) -> Result<LogQuery, Refusal> {
    let mut asked = LogQuery { app: None, lines: DEFAULT_LINES, follow: false };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value)?;
        match key {
            "app" => asked.app = Some(AppName::parse(&value).map_err(bad)?),
            "lines" => asked.lines = line_count(&value)?,
            "follow" => asked.follow = yes_or_no(&value)?,
            _ => {
                return Err(
                    bad(format!("`{key}` cannot be asked for")).hint("use app=NAME, lines=N, follow=1")
                );
            }
        }
    }
    Ok(asked)
}

fn line_count(value: &str) -> Result<usize, Refusal> {
    let number = value.parse().ok().filter(|lines| *lines <= MAX_LINES);
    number.ok_or_else(|| bad(format!("lines={value}: expected a number from 0 to {MAX_LINES}")))
}

fn yes_or_no(value: &str) -> Result<bool, Refusal> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(bad(format!("follow={value}: expected 1 or 0"))),
    }
}

/// Percent-decoding, RFC 3986 §2.1; what is encoded wrongly is refused, not guessed at.
fn decoded(part: &str) -> Result<String, Refusal> {
    let wrong = || bad(format!("`{part}` is not percent-encoded UTF-8"));
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

fn bad(message: impl Display) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad-request", message.to_string())
}

const DEFAULT_LINES: usize = 100;
const MAX_LINES: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn find(method: &str, uri: &str) -> Result<Route, Refusal> {
        Route::find(&method.parse().unwrap(), &uri.parse().unwrap())
    }

    fn host(text: &str) -> HostName {
        HostName::parse(text).unwrap()
    }

    fn logs(app: Option<&str>, lines: usize, follow: bool) -> Route {
        Route::Logs(LogQuery { app: app.map(|name| AppName::parse(name).unwrap()), lines, follow })
    }

    #[test]
    fn every_path_leads_to_what_it_says() {
        for (method, uri, route) in [
            ("GET", "/registry", Route::Registry),
            ("POST", "/registry", Route::AddHost),
            ("DELETE", "/registry/Blog.Example", Route::RemoveHost(host("blog.example"))),
            ("DELETE", "/registry/%2A.blog.example", Route::RemoveHost(host("*.blog.example"))),
            ("DELETE", "/registry/%5B%3a%3A1%5D", Route::RemoveHost(host("[::1]"))),
            ("POST", "/registry/b%C3%BCcher.example/intent", Route::SetIntent(host("bücher.example"))),
            ("GET", "/status", Route::Status),
            ("GET", "/workers", Route::Workers),
            ("POST", "/deploy", Route::Deploy),
            ("POST", "/workers/scale", Route::Scale),
            ("POST", "/stop", Route::Stop),
            ("GET", "/metrics", Route::Metrics),
            ("GET", "/logs", logs(None, 100, false)),
            ("GET", "/logs?follow=1&app=api&lines=0", logs(Some("api"), 0, true)),
            ("GET", "/logs?lines=100000&follow=false&", logs(None, 100_000, false)),
        ] {
            assert_eq!(find(method, uri), Ok(route), "{method} {uri}");
        }
    }

    #[test]
    fn what_leads_nowhere_is_refused_with_what_was_read() {
        for (method, uri, status, code, message) in [
            ("GET", "/", 404, "no-such-path", "there is no `/`"),
            ("GET", "/registry/", 405, "wrong-method", "`/registry/` takes no GET"),
            ("GET", "/status/", 404, "no-such-path", "there is no `/status/`"),
            ("GET", "//status", 404, "no-such-path", "there is no `//status`"),
            ("PUT", "/registry", 405, "wrong-method", "`/registry` takes no PUT"),
            ("POST", "/status", 405, "wrong-method", "`/status` takes no POST"),
            ("GET", "/stop", 405, "wrong-method", "`/stop` takes no GET"),
            ("DELETE", "/registry/", 400, "bad-request", "a host name is empty"),
            ("DELETE", "/registry/a%2", 400, "bad-request", "`a%2` is not percent-encoded UTF-8"),
            ("DELETE", "/registry/a%+1", 400, "bad-request", "`a%+1` is not percent-encoded UTF-8"),
            ("DELETE", "/registry/%FF", 400, "bad-request", "`%FF` is not percent-encoded UTF-8"),
            ("GET", "/logs?lines=", 400, "bad-request", "lines=: expected a number from 0 to 100000"),
            (
                "GET",
                "/logs?lines=100001",
                400,
                "bad-request",
                "lines=100001: expected a number from 0 to 100000",
            ),
            ("GET", "/logs?lines=-1", 400, "bad-request", "lines=-1: expected a number from 0 to 100000"),
            ("GET", "/logs?follow", 400, "bad-request", "follow=: expected 1 or 0"),
            ("GET", "/logs?line=1", 400, "bad-request", "`line` cannot be asked for"),
        ] {
            let refusal = find(method, uri).unwrap_err();
            let text = refusal.failure().error;
            let got = refusal.into_reply().status().as_u16();
            assert_eq!(
                (got, text.code.as_str(), text.message.as_str()),
                (status, code, message),
                "{method} {uri}"
            );
        }
    }

    #[test]
    fn only_calls_that_change_something_say_so() {
        for (method, uri, changes) in [
            ("GET", "/registry", false),
            ("GET", "/logs", false),
            ("POST", "/registry", true),
            ("DELETE", "/registry/a.example", true),
            ("POST", "/deploy", true),
            ("POST", "/stop", true),
        ] {
            assert_eq!(find(method, uri).unwrap().changes(), changes, "{method} {uri}");
        }
    }
}
