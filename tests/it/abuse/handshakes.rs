//! TLS handshakes, very many at once, and what a session allows beside requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;

use super::others::{Other, tcp_from};
use crate::support::{Setup, tls, until};

#[tokio::test]
async fn others_are_answered_while_a_client_begins_handshake_after_handshake() {
    let server = Setup::scripted().words(&["w:2"]).tls().start().await;
    let quiet = Other::alone(&server, 9, Duration::from_secs(2)).await;
    let beside = Other::start(&server, 9);
    let (stop, shaken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    // On a thread of its own: the other client is not to wait for it here.
    let (port, stopped, counted) = (server.port(), Arc::clone(&stop), Arc::clone(&shaken));
    let flood = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(join_all((0..100).map(|_| shake_on(port, &stopped, &counted))));
    });
    let many = async || shaken.load(Ordering::SeqCst) > 300 && beside.answered() >= 20;
    until("both have had many answers", many).await;
    stop.store(true, Ordering::SeqCst);
    let during = beside.end().await;
    flood.join().unwrap();
    let shaken = shaken.load(Ordering::SeqCst);
    println!("handshakes | {shaken} by 100 tasks | quiet: {quiet} | during: {during}");
    assert_eq!(during.bad, [""; 0]);
}

async fn shake_on(port: u16, stop: &AtomicBool, shaken: &AtomicUsize) {
    while !stop.load(Ordering::SeqCst) {
        let Ok(stream) = tcp_from(2, port).await else { continue };
        let done = tls::over(stream, "localhost", &["http/1.1"]).await.is_ok();
        shaken.fetch_add(usize::from(done), Ordering::SeqCst);
    }
}
