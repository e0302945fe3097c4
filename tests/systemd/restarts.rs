//! The fate of clients' connections when the server is restarted.

crate::on_both! {
    finish_what_is_in_hand_and_end_the_rest
    keep_the_sessions_of_clients
}

mod cases {
    use std::io;
    use std::sync::Arc;

    use rustls::{ClientConfig, HandshakeKind};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::Instant;
    use tokio_rustls::client::TlsStream;

    use crate::app::SERVICE;
    use crate::http;
    use crate::machine::Machine;
    use crate::tls;

    #[allow(clippy::disallowed_methods, reason = "the task is awaited or aborted below")]
    pub(super) fn finish_what_is_in_hand_and_end_the_rest(m: Machine) {
        let m = m.serving();
        let workers = m.worker_pids();
        let seen = m.within(async || {
            let mut resting = asked("/version", "").await;
            // Not "v1" alone, which an id may have in it.
            until_said(&mut resting, "\r\n\r\nv1").await;
            let mut events = asked("/endless-events?name=events", "").await;
            let ticks = until_said(&mut events, "data: tick").await;
            let mut tunnel = asked("/upgrade", "Connection: upgrade\r\nUpgrade: echo\r\n").await;
            until_said(&mut tunnel, "101 ").await;
            tunnel.write_all(b"hello").await.unwrap();
            until_said(&mut tunnel, "hello").await;
            let held = tokio::spawn(http::https(443, "localhost", "/gate?name=hold"));
            m.until("it is at the gate", || m.run("test -e /srv/meet/at.hold").code == 0);

            m.ok(&format!("systemctl restart --no-block {SERVICE}"));
            m.until("it is ending", || m.show(SERVICE, "StatusText").starts_with("finishing"));
            let rests = rest_of(resting).await;
            // All of it: there may have been nothing but the end after the first tick.
            let events = ticks + &rest_of(events).await;
            let tunnel = rest_of(tunnel).await;
            let new = tokio::spawn(http::https(443, "localhost", "/version"));
            let ending = m.show(SERVICE, "SubState");
            let waits = !new.is_finished() && !held.is_finished();
            let opened = Instant::now();
            m.write("/srv/meet/open.hold", "");
            let held = held.await.unwrap().unwrap();
            let new = new.await.unwrap().unwrap();
            m.report(
                "time",
                &format!(
                    "restart: {} ms from the last request in hand to the first one that waited for its end",
                    opened.elapsed().as_millis()
                ),
            );
            (rests, events, tunnel, (ending, waits), held, new)
        });
        let (resting, events, tunnel, (ending, waits), held, new) = seen;
        m.same("a restart ends connections that rest", resting, String::new());
        let last = events.rsplit("data: tick\n\n").next().unwrap_or_default();
        m.same("event streams end as if the worker had ended them", last, "\r\n0\r\n\r\n");
        m.same("tunnels end", tunnel, String::new());
        m.same(
            "new connections wait while a request is in hand",
            (ending.as_str(), waits),
            ("stop-sigterm", true),
        );
        m.same("which is finished", (held.status, held.body.as_str()), (200, "through hold\n"));
        m.holds("as the last one of its connection", held.head.to_lowercase().contains("connection: close"));
        m.same("and then the new server serves them", (new.status, new.body.as_str()), (200, "v1"));
        m.same("with the same workers", m.worker_pids(), workers);
        m.assert_no_violations();
    }

    pub(super) fn keep_the_sessions_of_clients(m: Machine) {
        let m = m.serving();
        for (protocol, version) in [("1.3", &rustls::version::TLS13), ("1.2", &rustls::version::TLS12)] {
            let client = Arc::new(tls::client_of(&[version], None, &["http/1.1"]));
            let session = |m: &Machine| m.within(async || handshake(&client).await);
            m.same(
                &format!("the first handshake of TLS {protocol} is whole"),
                session(&m),
                HandshakeKind::Full,
            );
            for (what, command) in [
                ("a restart", format!("systemctl restart {SERVICE}")),
                ("a crash", format!("systemctl kill -s KILL {SERVICE}")),
                ("an upgrade", "apt-get install -y --reinstall /root/rip-server.deb".into()),
            ] {
                let before = m.show(SERVICE, "MainPID");
                m.ok(&command);
                m.until("there is a new server", || {
                    !["0", &before].contains(&&*m.show(SERVICE, "MainPID"))
                        && m.show(SERVICE, "SubState") == "running"
                });
                m.same(&format!("after {what} the session goes on"), session(&m), HandshakeKind::Resumed);
            }
            m.ok(&format!("systemctl stop {SERVICE}; systemctl start {SERVICE}"));
            m.same("a stop ends all sessions", session(&m), HandshakeKind::Full);
        }
        m.assert_no_violations();
    }

    /// How a client's next handshake goes; its sessions are in its settings.
    async fn handshake(client: &Arc<ClientConfig>) -> HandshakeKind {
        let stream = tls::connect_as(client, 443, "localhost").await.unwrap();
        let kind = stream.get_ref().1.handshake_kind().unwrap();
        // A ticket comes with the first answer at the latest.
        assert_eq!(http::get(stream, "localhost", "/version").await.unwrap().status, 200);
        kind
    }

    /// A connection on which something was asked.
    async fn asked(path: &str, fields: &str) -> TlsStream<TcpStream> {
        let mut stream = tls::connect(443, "localhost", &["http/1.1"]).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        stream
    }

    /// The bytes that came up to these words, and with them.
    async fn until_said(stream: &mut TlsStream<TcpStream>, words: &str) -> String {
        let mut said = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&said);
            if text.contains(words) {
                return text.into_owned();
            }
            let count = stream.read_buf(&mut said).await.unwrap();
            assert!(count > 0, "{:?} has no {words}", String::from_utf8_lossy(&said));
        }
    }

    /// The bytes that came until the other side ended the connection, in whichever way.
    async fn rest_of(mut stream: TlsStream<TcpStream>) -> String {
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => panic!("{error}"),
        }
        String::from_utf8_lossy(&rest).into_owned()
    }
}
