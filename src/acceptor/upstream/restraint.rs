//! Holds back the requests of a client whose unread answers have used up its share of the spool files: the next answer
//! would hold its worker until the client reads. Streams of a connection that has many are held back, too.
//!
//! Never here: what answers take (`answer_sink`), or the queue (`pool`).

use std::time::Duration;

use tokio::time::Instant;

use crate::budget::Reservation;
use crate::name::ClientNet;
use crate::pool::ClaimError;
use crate::time::timer;

use super::outgoing::Outgoing;
use crate::acceptor::error::ServeError;
use crate::acceptor::limit::Limit;
use crate::acceptor::thread::shard::Connection;

/// Whether the request may claim no worker, and has to give back the one that it has.
pub(in crate::acceptor) fn is_due(request: &Outgoing<'_>) -> bool {
    request.upstreams.server.spooled_answers.is_used_up_by(request.client)
}

/// Reserves memory of answers for what a request's answer holds for its client, whether the client reads or not; `None`
/// while few requests are open. Waits for the memory as long as the request may wait for a worker. Cancel-safe.
///
/// # Errors
/// [`ServeError::QueueTimeout`] when there is no memory in time.
pub(in crate::acceptor) async fn room_of_answer(
    conn: &Connection,
    client: Option<ClientNet>,
    until: Instant,
) -> Result<Option<Box<Reservation>>, ServeError> {
    let server = &conn.shard.server;
    if !conn.is_crowded() || server.limits.reply_room == 0 {
        return Ok(None);
    }
    let mut room = Box::new(server.reply_room.reserve(client));
    let mut told = false;
    while !room.grow_to(ANSWER) {
        if !std::mem::replace(&mut told, true) {
            server.limit_log.reached(Limit::ReplyRoom, client);
        }
        if Instant::now() >= until {
            return Err(ServeError::QueueTimeout);
        }
        timer::sleep_until(until.min(Instant::now() + LOOK)).await;
        if !conn.is_crowded() {
            return Ok(None);
        }
    }
    Ok(Some(room))
}

/// Waits until the client has read enough, for as long as the request may wait for a worker. Cancel-safe.
///
/// # Errors
/// [`ClaimError::Expired`] when the client has not read enough in time.
pub(in crate::acceptor) async fn wait(request: &Outgoing<'_>) -> Result<(), ClaimError> {
    request.upstreams.server.limit_log.reached(Limit::ReplySpool, request.client);
    while is_due(request) {
        if Instant::now() >= request.queue_until {
            return Err(ClaimError::Expired { any_worker: true });
        }
        timer::sleep_until(request.queue_until.min(Instant::now() + LOOK)).await;
    }
    Ok(())
}

/// The bytes that an answer holds: a piece of it, the bytes on their way, and its head.
const ANSWER: u64 = 32 << 10;
/// The interval of looks whether the client has read.
const LOOK: Duration = Duration::from_millis(100);
