//! Owns the client's end of the control socket: one connection a call, every wait with a deadline, bounded answers.
//!
//! Never here: what an answer means, or which server is asked.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::trouble::{Exit, Trouble};
use crate::api::Failure;
use crate::tasks::{TaskGroup, TaskHandle};

/// Talks to one server.
#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
    patience: Duration,
    tasks: TaskGroup,
}

/// What is asked of the server.
#[derive(Clone, Debug)]
pub(super) struct Call {
    method: Method,
    path: String,
    body: Bytes,
}

impl Call {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: Bytes::new() }
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, path: path.into(), body: Bytes::new() }
    }

    pub(super) fn post(path: impl Into<String>, body: &impl Serialize) -> Result<Self, Trouble> {
        let body = serde_json::to_vec(body).map_err(|error| {
            Trouble::new(Exit::Failed, "internal", format!("cannot write the request: {error}"))
        })?;
        Ok(Self { method: Method::POST, path: path.into(), body: body.into() })
    }
}

impl Client {
    /// A client of the server behind `socket`; no single wait takes longer than `patience`.
    pub(super) fn new(socket: PathBuf, patience: Duration) -> Self {
        Self { socket, patience, tasks: TaskGroup::new() }
    }

    /// Where the server is.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks, and reads the whole answer within the client's patience.
    ///
    /// # Errors
    /// Also when the answer is a [`Failure`].
    pub(super) async fn call(&self, call: Call) -> Result<Bytes, Trouble> {
        let what = format!("{} {}", call.method, call.path);
        let whole = async {
            let (response, connection) = self.send(call).await?;
            let body = read_whole(response.into_body()).await;
            connection.abort();
            body
        };
        timeout(self.patience, whole).await.unwrap_or_else(|_| Err(Trouble::late(&what, self.patience)))
    }

    /// Asks, and hands over an answer that comes line by line. Only its start has a deadline.
    ///
    /// # Errors
    /// Also when the answer is a [`Failure`].
    pub(super) async fn stream(&self, call: Call) -> Result<Lines, Trouble> {
        let what = format!("{} {}", call.method, call.path);
        let (response, connection) = timeout(self.patience, self.send(call))
            .await
            .unwrap_or_else(|_| Err(Trouble::late(&what, self.patience)))?;
        Ok(Lines {
            body: response.into_body(),
            rest: BytesMut::new(),
            searched: 0,
            _connection: Abort(connection),
        })
    }

    async fn send(&self, call: Call) -> Result<(Response<Incoming>, TaskHandle), Trouble> {
        let stream = self.connect().await.map_err(|error| Trouble::connecting(&self.socket, &error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Trouble::garbled)?;
        // Its end is told to the request: nothing to do with the error here.
        let connection = self.tasks.spawn("control connection", async { drop(connection.await) });

        let mut request =
            Request::builder().method(call.method).uri(call.path).header(header::HOST, "localhost");
        if !call.body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(call.body)).map_err(Trouble::garbled)?;
        let response = sender.send_request(request).await.map_err(Trouble::garbled)?;
        if response.status().is_success() {
            return Ok((response, connection));
        }
        let status = response.status();
        let body = read_whole(response.into_body()).await?;
        Err(match serde_json::from_slice::<Failure>(&body) {
            Ok(failure) => Trouble::answered(failure),
            Err(_) => Trouble::garbled(format_args!("status {status} without a reason")),
        })
    }

    /// The kernel refuses at once while too many wait to be accepted: then we wait here, as long as the caller does.
    async fn connect(&self) -> io::Result<UnixStream> {
        loop {
            match UnixStream::connect(&self.socket).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(QUEUE_FULL).await,
                done => return done,
            }
        }
    }
}

async fn read_whole(body: Incoming) -> Result<Bytes, Trouble> {
    let collected = Limited::new(body, MAX_ANSWER).collect().await;
    Ok(collected.map_err(Trouble::garbled)?.to_bytes())
}

/// Reads one of the wire's types out of an answer.
pub(super) fn understood<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Trouble> {
    serde_json::from_slice(answer).map_err(Trouble::garbled)
}

/// An answer that comes line by line. Dropping it ends the connection.
#[derive(Debug)]
pub(super) struct Lines {
    body: Incoming,
    rest: BytesMut,
    /// How much of `rest` is known to hold no line end.
    searched: usize,
    _connection: Abort,
}

impl Lines {
    /// The next line without its end; `None` after the last. No deadline. Cancel-safe: what was read stays.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Trouble> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.rest[self.searched..]) {
                let mut line = self.rest.split_to(self.searched + at + 1);
                line.truncate(line.len() - 1);
                self.searched = 0;
                return Ok(Some(line.freeze()));
            }
            self.searched = self.rest.len();
            if self.rest.len() > MAX_LINE {
                return Err(Trouble::garbled("a line is longer than 1 MiB"));
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame.map_err(Trouble::garbled)?.into_data() {
                        self.rest.extend_from_slice(&data);
                    }
                }
                None if self.rest.is_empty() => return Ok(None),
                None => return Err(Trouble::garbled("it ended within a line")),
            }
        }
    }
}

#[derive(Debug)]
struct Abort(TaskHandle);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A host's name as a part of a path: all but RFC 3986's unreserved characters encoded.
pub(super) fn encoded(part: &str) -> String {
    use std::fmt::Write as _;

    part.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte))
            }
            _ => write!(text, "%{byte:02X}").expect("a String takes everything"),
        }
        text
    })
}

const QUEUE_FULL: Duration = Duration::from_millis(50);
const MAX_ANSWER: usize = 16 << 20;
const MAX_LINE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_encoded_for_a_path() {
        for (host, path) in [
            ("example.com", "example.com"),
            ("*.example.com", "%2A.example.com"),
            ("[::1]", "%5B%3A%3A1%5D"),
            ("my_app-1.local", "my_app-1.local"),
        ] {
            assert_eq!(encoded(host), path);
        }
    }
}
