//! Owns the client's end of the control socket: one connection a call, every wait with a deadline, bounded answers.
//!
//! Never here: what an answer means, or which server is asked.

use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::sleep;

use super::error::{CtlError, Exit};
use crate::api::ErrorAnswer;
use crate::api::endpoint::{Endpoint, Input, Object, ObjectLines, Text};
use crate::tasks::{TaskGroup, TaskHandle};

#[derive(Debug)]
pub(super) struct ControlClient {
    socket: PathBuf,
    answer_timeout: Duration,
    tasks: TaskGroup,
}

/// The request that is sent to the server.
struct CallRequest {
    method: &'static str,
    target: String,
    body: Bytes,
}

impl CallRequest {
    fn new<I: Input, A>(endpoint: &Endpoint<I, A>, input: &I) -> Result<Self, CtlError> {
        let (target, body) = endpoint.request(input).map_err(|error| {
            CtlError::new(Exit::Failed, "internal", format!("cannot write the request: {error}"))
        })?;
        Ok(Self { method: endpoint.method, target, body: body.into() })
    }

    fn shown(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

impl ControlClient {
    /// A client of the server behind `socket`; no single wait takes longer than `answer_timeout`.
    pub(super) fn new(socket: PathBuf, answer_timeout: Duration) -> Self {
        Self { socket, answer_timeout, tasks: TaskGroup::new() }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends a request, and reads the whole answer within the time limit.
    ///
    /// # Errors
    /// Also when the answer is an [`ErrorAnswer`].
    pub(super) async fn call<I: Input, T>(
        &self,
        endpoint: &Endpoint<I, Object<T>>,
        input: &I,
    ) -> Result<Answered<T>, CtlError> {
        Ok(Answered::new(self.whole(CallRequest::new(endpoint, input)?).await?))
    }

    /// Does what [`Self::call`] does, for an answer that is no JSON.
    ///
    /// # Errors
    /// Also when the answer is an [`ErrorAnswer`].
    pub(super) async fn text<I: Input>(
        &self,
        endpoint: &Endpoint<I, Text>,
        input: &I,
    ) -> Result<Bytes, CtlError> {
        self.whole(CallRequest::new(endpoint, input)?).await
    }

    /// Sends a request whose answer comes line by line. Only the answer's start has a time limit.
    ///
    /// # Errors
    /// Also when the answer is an [`ErrorAnswer`].
    pub(super) async fn stream<I: Input, T>(
        &self,
        endpoint: &Endpoint<I, ObjectLines<T>>,
        input: &I,
    ) -> Result<AnswerLines<T>, CtlError> {
        let request = CallRequest::new(endpoint, input)?;
        let what = request.shown();
        let sent = CtlError::unless_within(Some(self.answer_timeout), &what, self.send(request));
        let (response, connection) = sent.await?;
        Ok(AnswerLines {
            body: response.into_body(),
            rest: BytesMut::new(),
            searched: 0,
            _connection: Abort(connection),
            line: PhantomData,
        })
    }

    async fn whole(&self, request: CallRequest) -> Result<Bytes, CtlError> {
        let what = request.shown();
        let whole = async {
            let (response, connection) = self.send(request).await?;
            let body = read_whole(response.into_body()).await;
            connection.abort();
            body
        };
        CtlError::unless_within(Some(self.answer_timeout), &what, whole).await
    }

    async fn send(&self, call: CallRequest) -> Result<(Response<Incoming>, TaskHandle), CtlError> {
        let stream = self.connect().await.map_err(|error| CtlError::connecting(&self.socket, &error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(CtlError::garbled)?;
        // An error also ends the request, which returns it.
        let connection = self.tasks.spawn("control connection", async { drop(connection.await) });

        let mut request =
            Request::builder().method(call.method).uri(call.target).header(header::HOST, "localhost");
        if !call.body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(call.body)).map_err(CtlError::garbled)?;
        let response = sender.send_request(request).await.map_err(CtlError::garbled)?;
        if response.status().is_success() {
            return Ok((response, connection));
        }
        let status = response.status();
        let body = read_whole(response.into_body()).await?;
        Err(match serde_json::from_slice::<ErrorAnswer>(&body) {
            Ok(failure) => CtlError::answered(failure),
            Err(_) => CtlError::garbled(format_args!("status {status} without a reason")),
        })
    }

    /// Connects. The kernel refuses at once while too many connections wait to be accepted; then this waits as long as
    /// the caller does.
    async fn connect(&self) -> io::Result<UnixStream> {
        loop {
            match UnixStream::connect(&self.socket).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(QUEUE_FULL).await,
                done => return done,
            }
        }
    }
}

async fn read_whole(body: Incoming) -> Result<Bytes, CtlError> {
    let collected = Limited::new(body, MAX_ANSWER).collect().await;
    Ok(collected.map_err(CtlError::garbled)?.to_bytes())
}

/// An answer as the server wrote it, or one line of it.
#[derive(Debug)]
pub(super) struct Answered<T> {
    bytes: Bytes,
    value: PhantomData<fn() -> T>,
}

impl<T> Answered<T> {
    fn new(bytes: Bytes) -> Self {
        Self { bytes, value: PhantomData }
    }

    /// The answer's bytes, with fields that only a newer server or client knows.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<T: DeserializeOwned> Answered<T> {
    /// Reads the answer.
    ///
    /// # Errors
    /// When it is not what the endpoint answers.
    pub(super) fn read(&self) -> Result<T, CtlError> {
        serde_json::from_slice(&self.bytes).map_err(CtlError::garbled)
    }
}

/// An answer that comes line by line. Dropping it ends the connection.
#[derive(Debug)]
pub(super) struct AnswerLines<T> {
    body: Incoming,
    rest: BytesMut,
    /// How much of `rest` is known to have no line end.
    searched: usize,
    _connection: Abort,
    line: PhantomData<fn() -> T>,
}

impl<T> AnswerLines<T> {
    /// The next line without its end; `None` after the last one. There is no time limit. Cancel-safe: bytes that were
    /// read stay.
    pub(super) async fn next(&mut self) -> Result<Option<Answered<T>>, CtlError> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.rest[self.searched..]) {
                let mut line = self.rest.split_to(self.searched + at + 1);
                line.truncate(line.len() - 1);
                self.searched = 0;
                return Ok(Some(Answered::new(line.freeze())));
            }
            self.searched = self.rest.len();
            if self.rest.len() > MAX_LINE {
                return Err(CtlError::garbled("a line is longer than 1 MiB"));
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame.map_err(CtlError::garbled)?.into_data() {
                        self.rest.extend_from_slice(&data);
                    }
                }
                None if self.rest.is_empty() => return Ok(None),
                None => return Err(CtlError::garbled("it ended within a line")),
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

const QUEUE_FULL: Duration = Duration::from_millis(50);
const MAX_ANSWER: usize = 16 << 20;
const MAX_LINE: usize = 1 << 20;
