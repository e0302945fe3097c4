//! How much of a connection's answers is encrypted ahead of its socket: more for large ones, while there is room for
//! it.
//!
//! Fewer and larger writes wake the client less often. Never here: encrypting, or writing (`client_stream`).

use crate::budget::Reservation;

use crate::acceptor::body::buffer::UNRESERVED;
use crate::acceptor::body::buffer_pool::READ;
use crate::acceptor::connection::client_stream::ClientStream;
use crate::acceptor::thread::shard::Connection;

/// The bytes that one connection may encrypt ahead.
pub(in crate::acceptor) struct Ahead<'a> {
    conn: &'a Connection,
    room: Option<Reservation>,
}

impl<'a> Ahead<'a> {
    /// Sets the stream to encrypt a little ahead.
    pub(in crate::acceptor) fn new(conn: &'a Connection, stream: &mut ClientStream) -> Self {
        stream.encrypt_ahead(UNRESERVED);
        Self { conn, room: None }
    }

    /// Sets the stream to encrypt much ahead, if there is room in the memory that answers share.
    pub(in crate::acceptor) fn widen(&mut self, stream: &mut ClientStream) {
        if self.room.is_some() || !stream.is_tls() {
            return;
        }
        let server = &self.conn.shard.server;
        let mut room = server.reply_room.reserve(self.conn.peer.share(&server.trusted));
        if room.grow_to(READ as u64) {
            stream.encrypt_ahead(READ);
            self.room = Some(room);
        }
    }

    /// Sets the stream to encrypt a little ahead again, when all of an answer was written.
    pub(in crate::acceptor) fn narrow(&mut self, stream: &mut ClientStream) {
        if self.room.take().is_some() {
            stream.encrypt_ahead(UNRESERVED);
        }
    }
}
