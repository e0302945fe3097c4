//! Clients: [`Conn`] sends bytes as given and reads answers strictly; [`Http2`] speaks HTTP/2.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::task::JoinHandle;

use super::meeting::View;
use super::{Server, soon, tls};

/// An answer, whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HeaderMap,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The one value of the field; empty when it is not there.
    pub(crate) fn field(&self, name: &str) -> &str {
        let values: Vec<_> = self.headers.get_all(name).iter().collect();
        assert!(values.len() < 2, "{name} is there {} times", values.len());
        values.first().map_or("", |value| value.to_str().unwrap())
    }

    /// Why the server answered itself.
    pub(crate) fn reason(&self) -> &str {
        self.field("x-rip-reason")
    }

    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The answer of `/view`.
    pub(crate) fn view(&self) -> View {
        assert_eq!(self.status, 200, "{:?}", String::from_utf8_lossy(&self.body));
        self.json()
    }
}

/// The path at which the scripted worker answers with exactly these bytes.
pub(crate) fn path_of_bytes(answer: impl AsRef<[u8]>) -> String {
    let hex: String = answer.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("/bytes?hex={hex}")
}

/// An HTTP/1.1 connection on which everything can be said.
pub(crate) struct Conn {
    stream: Stream,
    buffer: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Conn {
    pub(crate) async fn plain(port: u16) -> Self {
        Self::over(Stream::Plain(TcpStream::connect(("127.0.0.1", port)).await.unwrap()))
    }

    /// From another address of this machine, as another client.
    pub(crate) async fn plain_from(address: [u8; 4], port: u16) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        Self::over(Stream::Plain(socket.connect(([127, 0, 0, 1], port).into()).await.unwrap()))
    }

    pub(crate) async fn tls(port: u16, name: &str) -> Self {
        Self::over(Stream::Tls(Box::new(tls::connect(port, name, &["http/1.1"]).await.unwrap())))
    }

    /// Over a handshake of its own.
    pub(crate) fn over_tls(stream: tokio_rustls::client::TlsStream<TcpStream>) -> Self {
        Self::over(Stream::Tls(Box::new(stream)))
    }

    /// Over a connection of its own, without TLS.
    pub(crate) fn over_tcp(stream: TcpStream) -> Self {
        Self::over(Stream::Plain(stream))
    }

    fn over(stream: Stream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Ends the sending side: over TLS by its closing message too.
    pub(crate) async fn end(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Leaves for good, which the server can see at once: with a reset.
    pub(crate) fn reset(self) {
        let socket = match &self.stream {
            Stream::Plain(stream) => stream.as_fd(),
            Stream::Tls(stream) => stream.get_ref().0.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        };
        rustix::net::sockopt::set_socket_linger(socket, Some(std::time::Duration::ZERO)).unwrap();
    }

    /// Our port of a connection over TCP.
    fn port(&self) -> u16 {
        let socket = match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
            Stream::Unix(_) => panic!("a Unix socket has no port"),
        };
        socket.local_addr().unwrap().port()
    }

    /// Sends the bytes as they are.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    /// The same, where the server may have closed.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        self.stream.flush().await
    }

    /// Sends `GET path` for the host `localhost`.
    pub(crate) async fn send_get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
    }

    /// `GET path` and its answer.
    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.send_get(path).await;
        self.reply("GET").await
    }

    /// The next answer, whole. The method tells whether it has a body.
    pub(crate) async fn reply(&mut self, method: &str) -> Reply {
        soon("an answer", self.try_reply(method)).await.unwrap()
    }

    /// The same, where the connection may end before the answer does.
    pub(crate) async fn try_reply(&mut self, method: &str) -> io::Result<Reply> {
        let mut reply = self.try_head().await?;
        let bodiless = method == "HEAD" || matches!(reply.status, 100..200 | 204 | 304);
        if bodiless {
            return Ok(reply);
        }
        if reply.headers.contains_key("transfer-encoding") {
            while let Some(chunk) = self.try_chunk(&mut reply.trailers).await? {
                reply.body.extend(chunk);
            }
        } else if let Some(length) = reply.headers.get("content-length") {
            let length = length.to_str().unwrap().parse().unwrap();
            reply.body = self.exactly(length).await?;
        } else {
            while self.fill().await? > 0 {}
            reply.body = std::mem::take(&mut self.buffer);
        }
        Ok(reply)
    }

    /// The next head, interim ones too.
    pub(crate) async fn head(&mut self) -> Reply {
        soon("a head", self.try_head()).await.unwrap()
    }

    async fn try_head(&mut self) -> io::Result<Reply> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 100];
            let mut head = httparse::Response::new(&mut fields);
            if let httparse::Status::Complete(length) = head.parse(&self.buffer).map_err(io::Error::other)? {
                let mut reply = Reply { status: head.code.unwrap(), ..Reply::default() };
                for field in head.headers.iter() {
                    let name = HeaderName::from_bytes(field.name.as_bytes()).unwrap();
                    reply.headers.append(name, HeaderValue::from_bytes(field.value).unwrap());
                }
                self.buffer.drain(..length);
                let both = reply.headers.contains_key("content-length")
                    && reply.headers.contains_key("transfer-encoding");
                assert!(!both, "an answer with two framings: {reply:?}");
                return Ok(reply);
            }
            self.more().await?;
        }
    }

    /// The next chunk of a chunked body; `None` after the last.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut trailers = HeaderMap::new();
        soon("a chunk", self.try_chunk(&mut trailers)).await.unwrap()
    }

    async fn try_chunk(&mut self, trailers: &mut HeaderMap) -> io::Result<Option<Vec<u8>>> {
        let line = self.line().await?;
        let size = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
        if size > 0 {
            let data = self.exactly(size).await?;
            assert_eq!(self.exactly(2).await?, b"\r\n");
            return Ok(Some(data));
        }
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(": ") else { return Ok(None) };
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            trailers.append(name, HeaderValue::from_str(value).unwrap());
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n") {
                let line = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            self.more().await?;
        }
    }

    /// So many bytes of what comes.
    pub(crate) async fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            soon("more bytes", self.more()).await?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    async fn more(&mut self) -> io::Result<()> {
        if self.fill().await? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        // TLS without a closing message counts as the end; whether a body is whole is told by its framing.
        match self.stream.read_buf(&mut self.buffer).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            other => other,
        }
    }

    /// Everything until the server closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        soon("the connection's end", async { while matches!(self.fill().await, Ok(read) if read > 0) {} })
            .await;
        std::mem::take(&mut self.buffer)
    }
}

impl Server {
    /// A new connection to the main listener, for `localhost`.
    pub(crate) async fn connect(&self) -> Conn {
        if self.is_tls() { Conn::tls(self.port(), "localhost").await } else { Conn::plain(self.port()).await }
    }

    /// Of the server's end of a connection: whether the client's end has come, and what is not read, in bytes; the end
    /// counts as one. `None` once it is closed. See /proc/net/tcp in proc(5).
    pub(crate) fn unread(&self, conn: &Conn) -> Option<(bool, usize)> {
        const CLOSE_WAIT: &str = "08";
        let ends = [self.port(), conn.port()].map(|port| format!(":{port:04X}"));
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
        let row = rows.into_iter().find(|row| row[1].ends_with(&ends[0]) && row[2].ends_with(&ends[1]))?;
        let (_, unread) = row[4].split_once(':')?;
        Some((row[3] == CLOSE_WAIT, usize::from_str_radix(unread, 16).unwrap()))
    }

    /// `GET path` on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], b"").await
    }

    /// `POST path` with a body on a connection of its own.
    pub(crate) async fn post(&self, path: &str, body: &[u8]) -> Reply {
        self.ask("POST", path, &[], body).await
    }

    /// A request with its own fields, on a connection of its own. `Host` is `localhost` unless given.
    pub(crate) async fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut conn = self.connect().await;
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str("Host: localhost\r\n");
        }
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        // A server that has answered already may not take the rest.
        let _ = conn.try_send([head.as_bytes(), body].concat()).await;
        conn.reply(method).await
    }

    /// The same request without a body over HTTP/1.1, by the quick way and by hyper's, and over HTTP/2.
    pub(crate) async fn ask_each_way(&self, method: &str, path: &str, fields: &[(&str, &str)]) -> [Reply; 3] {
        let quick = self.ask(method, path, fields, b"").await;
        let general = self.ask(method, path, &[fields, &[("TE", "trailers")]].concat(), b"").await;
        let mut request = Request::builder().method(method).uri(format!("https://localhost{path}"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let mut http2 = Http2::connect(self.port(), "localhost").await;
        let over_http2 = whole(http2.send(request).await.unwrap()).await.unwrap();
        [quick, general, over_http2]
    }

    /// Sends the bytes on a connection of their own and reads until the server closes it.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut conn = self.connect().await;
        // The server may close before it has read all.
        let _ = conn.try_send(bytes).await;
        String::from_utf8_lossy(&conn.rest().await).into_owned()
    }

    /// An HTTP/2 connection to the main listener.
    pub(crate) async fn http2(&self) -> Http2 {
        Http2::connect(self.port(), "localhost").await
    }
}

/// An HTTP/2 connection.
pub(crate) struct Http2 {
    pub(crate) sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<hyper::Result<()>>,
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Http2 {
    pub(crate) async fn connect(port: u16, name: &str) -> Self {
        Self::over_tls(tls::connect(port, name, &["h2", "http/1.1"]).await.unwrap()).await
    }

    /// Over a handshake of its own.
    pub(crate) async fn over_tls(stream: tokio_rustls::client::TlsStream<TcpStream>) -> Self {
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        #[expect(clippy::disallowed_methods, reason = "aborted when the connection is dropped")]
        let task = tokio::spawn(connection);
        Self { sender, task }
    }

    /// Sends a request; its answer's head.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        self.sender.ready().await?;
        soon("an answer's head", self.sender.send_request(request)).await
    }

    /// `GET path` and its answer, whole.
    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.get_of("localhost", path).await
    }

    /// `GET path` of a host and its answer, whole.
    pub(crate) async fn get_of(&mut self, host: &str, path: &str) -> Reply {
        let request = Request::get(format!("https://{host}{path}")).body(Full::default()).unwrap();
        whole(self.send(request).await.unwrap()).await.unwrap()
    }
}

/// Reads an answer to its end.
pub(crate) async fn whole(response: Response<Incoming>) -> hyper::Result<Reply> {
    let (head, body) = response.into_parts();
    let collected = soon("an answer's end", body.collect()).await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let body = collected.to_bytes().to_vec();
    Ok(Reply { status: head.status.as_u16(), headers: head.headers, body, trailers })
}

/// Asks a control socket.
pub(super) async fn control(socket: &Path, method: &str, path: &str, body: &str) -> io::Result<Reply> {
    let mut conn = Conn::over(Stream::Unix(UnixStream::connect(socket).await?));
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: control\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    conn.try_send(request).await?;
    conn.try_reply(method).await
}

impl Stream {
    fn inner(self: Pin<&mut Self>) -> Pin<&mut dyn Duplex> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream as &mut dyn Duplex),
            Self::Tls(stream) => Pin::new(stream.as_mut() as &mut dyn Duplex),
            Self::Unix(stream) => Pin::new(stream as &mut dyn Duplex),
        }
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.inner().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(cx)
    }
}
