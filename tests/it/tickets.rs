//! Session tickets over a restart: the keys are with systemd meanwhile.

use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustls::{ClientConfig, HandshakeKind};

use crate::support::{Conn, Server, Setup, tls};

/// The descriptors that systemd keeps for a service.
struct DescriptorStore {
    socket: UnixDatagram,
    path: PathBuf,
}

impl DescriptorStore {
    fn new(folder: &Path) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Self { socket, path }
    }

    /// A server that talks to this, and is given what was kept.
    async fn start(&self, kept: Option<&File>) -> Server {
        let setup = Setup::scripted().tls().variable("NOTIFY_SOCKET", self.path.to_str().unwrap());
        let Some(kept) = kept else { return setup.start().await };
        let kept = format!("/proc/{}/fd/{}", std::process::id(), kept.as_raw_fd());
        let script = "exec 3<\"$KEPT\"; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=tickets exec \"$0\" \"$@\"";
        setup.variable("KEPT", &kept).within(&["/bin/sh", "-c", script]).start().await
    }

    /// The file that the server has given to the store.
    fn taken(&self) -> File {
        for _ in 0..200 {
            let mut text = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let received =
                recvmsg(&self.socket, &mut [IoSliceMut::new(&mut text)], &mut ancillary, RecvFlags::empty());
            let Ok(received) = received else { continue };
            let text = String::from_utf8_lossy(&text[..received.bytes]).into_owned();
            let mut given: Vec<OwnedFd> = ancillary
                .drain()
                .filter_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(given) => Some(given),
                    _ => None,
                })
                .flatten()
                .collect();
            if let Some(given) = given.pop() {
                assert_eq!(text, "FDSTORE=1\nFDNAME=tickets");
                return given.into();
            }
        }
        panic!("the server has given systemd nothing to keep");
    }
}

/// How the client's next handshake goes.
async fn kind(client: &Arc<ClientConfig>, server: &Server) -> Option<HandshakeKind> {
    let stream = tls::connect_as(client, server.port(), "localhost").await.unwrap();
    let kind = stream.get_ref().1.handshake_kind();
    // A ticket comes with the first answer at the latest.
    assert_eq!(Conn::over_tls(stream).get("/").await.status, 200);
    kind
}

#[tokio::test]
async fn a_session_goes_on_after_a_restart_when_systemd_has_kept_the_keys_and_not_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let store = DescriptorStore::new(folder.path());
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let client = Arc::new(tls::client_of(versions, None, &["http/1.1"]));
        let server = store.start(None).await;
        let mut kept = store.taken();
        assert!(kept.write_all(b"x").is_err(), "nobody can change what is kept");
        assert_eq!(kind(&client, &server).await, Some(HandshakeKind::Full));
        drop(server);

        let server = store.start(Some(&kept)).await;
        let kept = store.taken();
        assert_eq!(kind(&client, &server).await, Some(HandshakeKind::Resumed));
        drop(server);
        let server = store.start(Some(&kept)).await;
        drop(store.taken());
        assert_eq!(kind(&client, &server).await, Some(HandshakeKind::Resumed));
        drop(server);

        let server = store.start(None).await;
        drop(store.taken());
        assert_eq!(kind(&client, &server).await, Some(HandshakeKind::Full), "the keys are others");
    }
}

#[tokio::test]
async fn keys_that_are_damaged_are_no_reason_not_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = DescriptorStore::new(folder.path());
    let mut damaged = tempfile::tempfile().unwrap();
    damaged.write_all(&[7; 57]).unwrap();
    let server = store.start(Some(&damaged)).await;
    let client = Arc::new(tls::client(None, &["http/1.1"]));
    assert_eq!(kind(&client, &server).await, Some(HandshakeKind::Full));
    assert_eq!(kind(&client, &server).await, Some(HandshakeKind::Resumed));
}
