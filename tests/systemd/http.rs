//! A request on a connection of its own.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::tls;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// GET over TLS, of the machine whose network this runs in.
pub(crate) async fn https(port: u16, host: &str, path: &str) -> io::Result<Answer> {
    get(tls::connect(port, host, &["http/1.1"]).await?, host, path).await
}

/// GET in plain.
pub(crate) async fn http(port: u16, host: &str, path: &str) -> io::Result<Answer> {
    get(TcpStream::connect(("127.0.0.1", port)).await?, host, path).await
}

/// GET over any connection.
pub(crate) async fn get(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    path: &str,
) -> io::Result<Answer> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.get(9..12).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// So many GETs over TLS on eight connections that are kept, and how many were answered by 2xx, 3xx or 4xx.
pub(crate) async fn many(port: u16, path: &'static str, count: u32) -> u32 {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        tasks.spawn(async move {
            let stream = tls::connect(port, "localhost", &["http/1.1"]).await.unwrap();
            let mut stream = tokio::io::BufReader::new(stream);
            let request = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let mut answered = 0;
            for _ in 0..count / CONNECTIONS {
                stream.write_all(request.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    stream.read_line(&mut line).await.unwrap();
                    answered +=
                        u32::from(["HTTP/1.1 2", "HTTP/1.1 4"].iter().any(|begin| line.starts_with(begin)));
                }
            }
            answered
        });
    }
    tasks.join_all().await.into_iter().sum()
}

const CONNECTIONS: u32 = 8;
