//! Asks a FastCGI worker for a path, as a client's request would.
//!
//! Never here: what the answer means (`probe`).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::fastcgi::records::Records;
use crate::fastcgi::request::{Params, STDIN_END, begin};
use crate::files::scripts::Script;

/// The status of the answer to a GET; returns when the worker has ended the answer.
///
/// # Errors
/// `InvalidData` when the bytes are no answer; the socket's error; `UnexpectedEof` when the socket closes before the
/// answer's end.
pub(super) async fn get(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    target: &str,
    script: Option<&Script>,
) -> io::Result<u16> {
    stream.write_all(&request(target, script)).await?;
    let (mut records, mut output) = (Records::default(), Vec::with_capacity(1024));
    while !records.is_over() {
        let from = output.len();
        if stream.read_buf(&mut output).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let unwrapped = records.unwrap(&mut output, from, |_| {});
        unwrapped.map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad))?;
        // The rest of the body is not needed.
        output.truncate(MAX_HEAD);
    }
    if records.is_refused() {
        return Ok(503);
    }
    status_of(&output).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The request, with a client's address, so that an app that looks at it finds one.
fn request(target: &str, script: Option<&Script>) -> Vec<u8> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut out = Vec::with_capacity(512);
    begin(&mut out, false);
    let mut params = Params::begin(&mut out);
    for (name, value) in [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_SOFTWARE", "rip-server"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", target),
        ("QUERY_STRING", query),
        ("SERVER_NAME", "localhost"),
        ("SERVER_PORT", "80"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REDIRECT_STATUS", "200"),
        ("HTTP_HOST", "localhost"),
        ("HTTP_USER_AGENT", "rip-server-probe"),
        ("HTTP_ACCEPT", "*/*"),
        ("HTTP_X_FORWARDED_FOR", "127.0.0.1"),
    ] {
        params.add(name, value);
    }
    params.add_script(script.map(Script::parts), "", path);
    params.end();
    out.extend_from_slice(&STDIN_END);
    out
}

/// The status of an answer: 200 where its head has none (RFC 3875 §6.3.3).
fn status_of(output: &[u8]) -> Option<u16> {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let Ok(httparse::Status::Complete((_, parsed))) = httparse::parse_headers(output, &mut fields) else {
        return None;
    };
    match parsed.iter().find(|field| field.name.eq_ignore_ascii_case("status")) {
        None => (!parsed.is_empty()).then_some(200),
        Some(field) => std::str::from_utf8(field.value.get(..3)?).ok()?.parse().ok(),
    }
}

/// The most bytes that an answer's head may have.
const MAX_HEAD: usize = 64 << 10;
