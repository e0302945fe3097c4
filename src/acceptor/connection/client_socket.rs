//! A client's socket: bytes in one piece are sent by send(2), which costs the kernel less than writev(2).
//!
//! Never here: what the bytes mean, or whether they are encrypted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

#[derive(Debug)]
pub(in crate::acceptor) struct ClientSocket {
    stream: TcpStream,
    received: Arc<AtomicUsize>,
}

impl ClientSocket {
    pub(in crate::acceptor) fn new(stream: TcpStream) -> Self {
        Self { stream, received: Arc::default() }
    }

    pub(in crate::acceptor) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The counter of the bytes that have come, which stays readable when the socket has another owner.
    pub(in crate::acceptor) fn received(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.received)
    }

    fn pinned(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(&mut self.get_mut().stream)
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = self.as_mut().pinned().poll_read(cx, buf);
        self.received.fetch_add(buf.filled().len() - before, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.pinned().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [all] = pieces {
            return self.pinned().poll_write(cx, all);
        }
        let mut joined = [0; LITTLE];
        match join(pieces, &mut joined) {
            Some(all) => self.pinned().poll_write(cx, all),
            None => self.pinned().poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_shutdown(cx)
    }
}

/// Joins the pieces in `room`, if they fit.
fn join<'a>(pieces: &[io::IoSlice<'_>], room: &'a mut [u8; LITTLE]) -> Option<&'a [u8]> {
    let mut filled = 0;
    for piece in pieces {
        room.get_mut(filled..filled + piece.len())?.copy_from_slice(piece);
        filled += piece.len();
    }
    Some(&room[..filled])
}

/// Up to so many bytes, copying costs less than several pieces do: the head and the body of a short answer.
const LITTLE: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (ClientSocket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (ClientSocket::new(listener.accept().await.unwrap().0), client)
    }

    #[tokio::test]
    async fn pieces_of_any_sizes_arrive_in_order() {
        let (mut socket, mut client) = pair().await;
        for sizes in
            [&[1][..], &[0, 2], &[LITTLE - 1, 1], &[LITTLE, 1], &[1, 0, LITTLE], &[LITTLE + 1, 5, 70_000]]
        {
            let pieces: Vec<Vec<u8>> =
                sizes.iter().enumerate().map(|(at, size)| vec![at as u8; *size]).collect();
            let mut left: Vec<_> = pieces.iter().map(|piece| io::IoSlice::new(piece)).collect();
            let mut left = &mut left[..];
            while left.iter().any(|piece| !piece.is_empty()) {
                let written = socket.write_vectored(left).await.unwrap();
                io::IoSlice::advance_slices(&mut left, written);
            }
            let mut arrived = vec![9; sizes.iter().sum()];
            client.read_exact(&mut arrived).await.unwrap();
            assert!(arrived == pieces.concat(), "{sizes:?}");
        }
    }
}
