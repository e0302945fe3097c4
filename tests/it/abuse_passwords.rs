//! Clients that guess passwords: they wait for each other, and others hardly for them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::join_all;

use crate::support::{Conn, Setup, folder_with, until};

/// `correct horse`, at a cost that makes a check take a while.
const ANNA: &str = "anna:$2y$08$abcdefghijklmnopqrstuubAvJmxpQuyV3jn7x.SUSPxe.DearCPe\n";

fn request(pair: &str) -> String {
    let pair = BASE64_STANDARD.encode(pair);
    format!("GET /view HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {pair}\r\n\r\n")
}

#[tokio::test]
async fn who_guesses_is_refused_at_the_limit_and_others_are_let_in() {
    let folder = folder_with(&[("scripted/staff", ANNA)]);
    let setup = Setup::scripted().rules("auth = { users = \"staff\" }");
    let server = setup.start_in(folder).await;
    let port = server.port();
    let guess = async |number: usize| {
        let mut conn = Conn::plain_from([127, 0, 0, 2], port).await;
        conn.send(request(&format!("anna:{number}"))).await;
        let reply = conn.reply("GET").await;
        (reply.status, reply.reason().to_owned())
    };
    let guesses = join_all((0..100).map(guess));
    let other = async {
        until("the guesses have met the limit", async || {
            server.control("GET", "/metrics", "").await.is_ok_and(|page| {
                page.text().lines().any(|line| {
                    line.starts_with("rip_limits_reached_total{limit=\"passwords\"}") && !line.ends_with(" 0")
                })
            })
        })
        .await;
        let mut conn = Conn::plain_from([127, 0, 0, 3], port).await;
        conn.send(request("anna:correct horse")).await;
        conn.reply("GET").await.status
    };
    let (guesses, other) = tokio::join!(guesses, other);
    assert_eq!(other, 200);
    let of = |status| guesses.iter().filter(move |guess| guess.0 == status);
    assert!(of(503).count() > 0 && of(503).all(|guess| guess.1 == "auth-busy"), "{guesses:?}");
    assert_eq!(of(503).count() + of(401).count(), 100, "{guesses:?}");
    let told = "a client shows very many passwords at once";
    until("the log has it", async || server.output().contains(told)).await;
    assert_eq!(server.get("/view").await.status, 401, "nothing is left behind");
}
