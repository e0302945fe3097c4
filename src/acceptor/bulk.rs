//! A client's socket that is read in large pieces while much comes: the TLS library behind it asks for 4 KiB at a time.
//!
//! Never here: what the bytes mean.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

use super::stock::Stock;

/// See the module. A socket that little comes from holds no piece.
pub(super) struct Bulk {
    socket: TcpStream,
    stock: Stock,
    /// Read, and not yet asked for from `at` on.
    ahead: Vec<u8>,
    at: usize,
    /// The last read got all that it asked for: there may be more.
    much: bool,
}

impl Bulk {
    pub(super) fn new(socket: TcpStream, stock: Stock) -> Self {
        Self { socket, stock, ahead: Vec::new(), at: 0, much: false }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let rest = &self.ahead[self.at..];
        let part = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..part]);
        self.at += part;
        if self.at == self.ahead.len() {
            self.stock.give_back(std::mem::take(&mut self.ahead));
            self.at = 0;
        }
    }

    fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut piece = self.stock.take();
        let room = piece.capacity();
        let read = poll_read_buf(Pin::new(&mut self.socket), cx, &mut piece);
        match read {
            Poll::Ready(Ok(count)) if count > 0 => {
                self.much = count == room;
                self.ahead = piece;
            }
            _ => self.stock.give_back(piece),
        }
        read
    }
}

impl AsyncRead for Bulk {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            if !self.much {
                let before = buf.filled().len();
                let read = Pin::new(&mut self.socket).poll_read(cx, buf);
                self.much = buf.filled().len() > before && buf.remaining() == 0;
                return read;
            }
            if ready!(self.poll_read_ahead(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        self.hand_on(buf);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bulk {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn little_and_much_come_whole_and_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut bulk = Bulk::new(listener.accept().await.unwrap().0, Stock::default());
        let sent: Vec<u8> = (0..251).cycle().take(1_000_000).collect();
        let sending = async {
            client.write_all(&sent[..10]).await.unwrap();
            client.write_all(&sent[10..]).await.unwrap();
            drop(client);
        };
        let reading = async {
            let (mut all, mut buf) = (Vec::new(), [0; 4096]);
            loop {
                match bulk.read(&mut buf).await.unwrap() {
                    0 => return all,
                    count => all.extend_from_slice(&buf[..count]),
                }
            }
        };
        let ((), read) = tokio::join!(sending, reading);
        assert!(read == sent);
        assert!(bulk.ahead.is_empty(), "nothing is held when nothing is left");
    }
}
