//! Owns hearing `READY=1` from workers that run as users of their own, and from nobody else. Never here: workers that
//! are the server's user, whose sockets nobody else gets at.
//!
//! All workers of an instance see the folder of its notify sockets, and everybody can read with systemctl to which
//! worker a socket belongs, so that only the sender's user proves anything.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::sync::Arc;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use zbus::Variant;

use super::SystemdInner;
use super::bus::{SERVICE, object_of, property};
use super::starter::Target;
use crate::backend::WorkerEvent;
use crate::backend::contract::readiness::{MAX_DATAGRAM, says_ready};

/// Sends an event for the first `READY=1` of the unit's user, and reads on, because a full socket would block its
/// senders.
pub(super) async fn of_own_user(shared: Arc<SystemdInner>, notify: UnixDatagram, target: Target) {
    let mut user = None;
    let mut ready = false;
    let mut datagram = vec![0; MAX_DATAGRAM];
    while let Ok((count, sender)) = receive(&notify, &mut datagram).await {
        if ready || !says_ready(&datagram[..count]) {
            continue;
        }
        if user.is_none() {
            user = user_of(&shared, &target.unit).await;
        }
        if sender.is_none() || sender != user {
            tracing::warn!(worker = %target.worker, ?sender, "another user says that a worker is ready: not believed");
            continue;
        }
        ready = true;
        shared.events.send(WorkerEvent::Ready(target.worker)).await.ok();
    }
    std::future::pending().await
}

/// Receives a datagram: its length, and the user that sent it, as the kernel says. Cancel-safe.
async fn receive(notify: &UnixDatagram, datagram: &mut [u8]) -> io::Result<(usize, Option<u32>)> {
    let once = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let got = recvmsg(notify, &mut [IoSliceMut::new(datagram)], &mut beside, flags)?;
        let sender = beside.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmCredentials(sender) => Some(sender.uid.as_raw()),
            _ => None,
        });
        Ok((got.bytes, sender))
    };
    notify.async_io(Interest::READABLE, once).await
}

async fn user_of(shared: &SystemdInner, unit: &str) -> Option<u32> {
    let bus = shared.connection().await?;
    let asked = property(&bus, &object_of(unit), SERVICE, "UID").await;
    match &*asked.ok()? {
        // All bits set mean: none yet.
        Variant::U32(user) if *user != u32::MAX => Some(*user),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt::set_socket_passcred;

    use super::*;

    #[tokio::test]
    async fn a_datagram_comes_with_its_sender() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        set_socket_passcred(&ours, true).unwrap();
        theirs.send(b"READY=1").await.unwrap();
        let mut datagram = [0; 64];

        let (count, sender) = receive(&ours, &mut datagram).await.unwrap();

        assert_eq!(&datagram[..count], b"READY=1");
        assert_eq!(sender, Some(rustix::process::geteuid().as_raw()));
    }
}
