//! Answers to plain requests (`fast_head`) on their way to the client: heads put into words, bodies framed.
//!
//! The client has said nothing of trailers, so it gets none (RFC 9110 §6.5.1). Never here: what an answer says.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::Poll;
use std::time::SystemTime;

use bytes::{Buf, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Response, StatusCode};
use http_body::{Body, Frame};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::name::RequestId;

use super::ahead::Ahead;
use crate::acceptor::body::buffer::UNRESERVED;
use crate::acceptor::body::cut_short::CutShort;
use crate::acceptor::connection::read_ahead::ReadAhead;
use crate::acceptor::request::client_answer::Answer;
use crate::acceptor::request::reply::REQUEST_ID;
use crate::acceptor::thread::date::HttpDate;
use crate::acceptor::upstream::reply_body::ReplyBody;
use crate::acceptor::wire::body_framing::SendFraming;
use crate::acceptor::wire::encode::{CHUNK_END, LAST_CHUNK, write_chunk_size, write_field};
use crate::acceptor::wire::headers::{has_token, is_bodiless};

/// The fate of the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum After {
    Keep,
    Close,
}

/// Sends a whole answer. `out` is memory to use again.
///
/// # Errors
/// When the client is gone, or the answer breaks off: the connection is to be cut, for the client to see that.
///
/// # Cancel safety
/// None: the client may have got any part of it.
pub(in crate::acceptor) async fn send(
    answer: Answer,
    client: &mut ReadAhead<'_>,
    ahead: &mut Ahead<'_>,
    out: &mut Vec<u8>,
    date: &HttpDate,
) -> io::Result<After> {
    let Answer { mut response, id } = answer;
    let framing = framing_of(response.status(), response.body().size_hint().exact());
    out.clear();
    let after = write_head(out, &response, &id, framing, date);
    let body = response.body_mut();
    let mut left = match framing {
        SendFraming::Length(length) => Some(length),
        SendFraming::None | SendFraming::Chunked => None,
    };
    while framing != SendFraming::None && !body.is_end_stream() {
        let frame = match next_frame(body, client, out).await? {
            Some(Ok(frame)) => frame,
            Some(Err(cut)) => {
                write_out(client, out).await?;
                return Err(io::Error::other(cut));
            }
            None => break,
        };
        if let Ok(data) = frame.into_data() {
            left = less(left, data.len())?;
            if data.len() > UNRESERVED {
                ahead.widen(client.stream);
            }
            put(data, framing, client, out).await?;
        }
    }
    if left.is_some_and(|left| left > 0) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if framing == SendFraming::Chunked {
        out.extend_from_slice(LAST_CHUNK);
        out.extend_from_slice(b"\r\n");
    }
    write_out(client, out).await?;
    ahead.narrow(client.stream);
    Ok(after)
}

/// The rest of a length after `data` bytes. A body longer than its head says is an error: it would be taken for the
/// next answer.
fn less(left: Option<u64>, data: usize) -> io::Result<Option<u64>> {
    let rest = left.map(|left| left.checked_sub(data as u64).ok_or(io::ErrorKind::InvalidData));
    Ok(rest.transpose()?)
}

/// Waits for the next frame of a body; bytes that wait to be written are written before.
async fn next_frame(
    body: &mut ReplyBody,
    client: &mut ReadAhead<'_>,
    out: &mut Vec<u8>,
) -> io::Result<Option<Result<Frame<Bytes>, CutShort>>> {
    if let Poll::Ready(frame) = poll_fn(|cx| Poll::Ready(Pin::new(&mut *body).poll_frame(cx))).await {
        return Ok(frame);
    }
    write_out(client, out).await?;
    let frame = client.unless_gone(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
    frame.ok_or_else(|| io::ErrorKind::ConnectionReset.into())
}

/// Adds few bytes to `out`, and writes many.
async fn put(
    data: Bytes,
    framing: SendFraming,
    client: &mut ReadAhead<'_>,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    if data.is_empty() {
        // An empty chunk would end the body.
        return Ok(());
    }
    if framing == SendFraming::Chunked {
        write_chunk_size(out, data.len());
    }
    if out.len() + data.len() <= LITTLE {
        out.extend_from_slice(&data);
    } else {
        write_both(client, out, data).await?;
        out.clear();
    }
    if framing == SendFraming::Chunked {
        out.extend_from_slice(CHUNK_END);
    }
    Ok(())
}

async fn write_both(client: &mut ReadAhead<'_>, out: &[u8], data: Bytes) -> io::Result<()> {
    let mut both = Buf::chain(out, data);
    while both.has_remaining() {
        let mut pieces = [IoSlice::new(&[]); 2];
        let count = both.chunks_vectored(&mut pieces);
        let written =
            poll_fn(|cx| Pin::new(&mut *client.stream).poll_write_vectored(cx, &pieces[..count])).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        both.advance(written);
    }
    Ok(())
}

async fn write_out(client: &mut ReadAhead<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    client.stream.write_all(out).await?;
    out.clear();
    client.stream.flush().await
}

/// The framing of an answer to a GET (RFC 9112 §6.3).
fn framing_of(status: StatusCode, length: Option<u64>) -> SendFraming {
    match length {
        _ if is_bodiless(status) => SendFraming::None,
        Some(length) => SendFraming::Length(length),
        None => SendFraming::Chunked,
    }
}

fn write_head(
    out: &mut Vec<u8>,
    head: &Response<ReplyBody>,
    id: &RequestId,
    framing: SendFraming,
    date: &HttpDate,
) -> After {
    let mut after = After::Keep;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status().as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.status().canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in head.headers() {
        match *name {
            CONTENT_LENGTH | TRANSFER_ENCODING => continue,
            _ if *name == REQUEST_ID => continue,
            CONNECTION if has_token(value, "close") => after = After::Close,
            _ => {}
        }
        write_field(out, name.as_str(), value.as_bytes());
    }
    match framing {
        SendFraming::None => {}
        SendFraming::Length(length) => {
            write_field(out, "content-length", itoa::Buffer::new().format(length).as_bytes());
        }
        SendFraming::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    write_field(out, "x-request-id", id.as_bytes());
    write_field(out, "date", &date.at(SystemTime::now()));
    out.extend_from_slice(b"\r\n");
    after
}

/// The largest piece that is copied behind what goes before it, to be written together.
const LITTLE: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use http::header::{CONTENT_TYPE, HeaderValue};
    use http::{HeaderName, Response};

    use super::*;

    fn head_of(
        status: u16,
        length: Option<u64>,
        fields: &[(HeaderName, &'static str)],
    ) -> (String, SendFraming, After) {
        let mut response = Response::new(ReplyBody::full(Bytes::new()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in fields {
            response.headers_mut().append(name.clone(), HeaderValue::from_static(value));
        }
        let framing = framing_of(response.status(), length);
        let mut out = Vec::new();
        let id = RequestId::parse(b"request-1").unwrap();
        let after = write_head(&mut out, &response, &id, framing, &HttpDate::default());
        let text = String::from_utf8(out).unwrap();
        let (head, date) = text.split_once("date: ").unwrap();
        assert!(date.ends_with(" GMT\r\n\r\n"), "{date}");
        (head.replace("\r\n", "|"), framing, after)
    }

    #[test]
    fn a_head_says_how_its_body_ends_once_whatever_the_worker_said() {
        let said = [(CONTENT_LENGTH, "0005"), (CONTENT_TYPE, "text/plain"), (CONTENT_LENGTH, "5")];
        let (head, framing, after) = head_of(200, Some(5), &said);
        assert_eq!(
            head,
            "HTTP/1.1 200 OK|content-type: text/plain|content-length: 5|x-request-id: request-1|"
        );
        assert_eq!((framing, after), (SendFraming::Length(5), After::Keep));

        let (head, framing, _) = head_of(404, None, &[(TRANSFER_ENCODING, "chunked")]);
        assert_eq!(head, "HTTP/1.1 404 Not Found|transfer-encoding: chunked|x-request-id: request-1|");
        assert_eq!(framing, SendFraming::Chunked);
    }

    #[test]
    fn a_body_may_not_be_longer_than_its_head_says() {
        assert_eq!(less(Some(5), 5).unwrap(), Some(0));
        assert_eq!(less(None, 5).unwrap(), None);
        assert!(less(Some(4), 5).is_err());
    }

    #[test]
    fn what_has_no_body_says_nothing_of_one() {
        for status in [204, 304] {
            let (head, framing, _) = head_of(status, Some(0), &[(CONTENT_LENGTH, "7")]);
            assert_eq!(framing, SendFraming::None);
            assert!(!head.contains("content-length"), "{head}");
        }
    }

    #[test]
    fn the_id_is_the_request_s_and_a_code_without_a_name_has_none() {
        let (head, ..) = head_of(299, Some(0), &[(REQUEST_ID, "of-the-worker")]);
        assert_eq!(head, "HTTP/1.1 299 |content-length: 0|x-request-id: request-1|");
    }

    #[test]
    fn an_answer_that_closes_says_so_and_does() {
        let (head, _, after) = head_of(400, Some(0), &[(CONNECTION, "close")]);
        assert!(head.contains("connection: close|"), "{head}");
        assert_eq!(after, After::Close);
    }
}
