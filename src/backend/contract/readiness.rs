//! Owns how a worker says that it takes requests: `READY=1` on its notify socket, sd_notify(3).
//!
//! Never here: whether that is believed of an app (`supervisor`).

use tokio::net::UnixDatagram;
use tokio::sync::mpsc;

use super::WorkerEvent;
use crate::name::WorkerId;

/// Sends an event for the first `READY=1`, and reads on, because a full socket would block its senders.
pub(in crate::backend) async fn tell_readiness(
    notify: UnixDatagram,
    worker: WorkerId,
    events: mpsc::Sender<WorkerEvent>,
) {
    let mut ready = false;
    let mut datagram = vec![0; MAX_DATAGRAM];
    while let Ok(count) = notify.recv(&mut datagram).await {
        if !ready && says_ready(&datagram[..count]) {
            ready = true;
            events.send(WorkerEvent::Ready(worker)).await.ok();
        }
    }
    std::future::pending().await
}

/// Whether a datagram says `READY=1`.
pub(in crate::backend) fn says_ready(datagram: &[u8]) -> bool {
    datagram.split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}

/// The most bytes that are read of a datagram.
pub(in crate::backend) const MAX_DATAGRAM: usize = 4096;
