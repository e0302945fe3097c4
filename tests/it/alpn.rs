//! The protocols that a TLS client may offer.

use crate::support::{Conn, Setup, tls};

#[tokio::test]
async fn a_client_that_speaks_only_http_1_0_may_say_so_in_its_handshake() {
    let server = Setup::scripted().tls().start().await;
    for offered in [&["http/1.0"][..], &["http/1.0", "http/1.1"], &[]] {
        let stream = tls::connect(server.port(), "localhost", offered).await;
        let mut conn = Conn::over_tls(stream.unwrap());
        conn.send("GET / HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
        assert_eq!(conn.reply("GET").await.text(), "hello from the worker\n", "{offered:?}");
    }
}
