//! An authority that fails, is slow, forgets, refuses or lies: what works goes on, the status says why, and it heals
//! alone.

use std::time::{Duration, SystemTime};

use crate::acme::{another, has_pebble, in_time, is_served, setup, standing, stored};
use crate::support::Server;
use crate::support::ca::{Behaviour, Ca, Fault};

async fn problem(server: &Server) -> String {
    in_time("the status says what is wrong", || async { standing(server).await?.problem }).await
}

async fn is_well(server: &Server) {
    in_time("nothing is wrong any more", || async {
        standing(server).await.filter(|status| status.problem.is_none() && !status.ordering)
    })
    .await;
}

/// The first certificate is got, then all renewals fail in this way, and after that nothing does.
async fn comes_through(path: &str, fault: Fault, said: &str) {
    if !has_pebble() {
        return;
    }
    let mut ca = Ca::new(Behaviour { life: 15, ..Behaviour::default() }).await;
    let server = setup(&ca).start().await;
    ca.asks(server.redirect_port(), server.port()).await;
    let first = another(&server, None).await;
    ca.breaks(path, fault);
    let problem = problem(&server).await;
    assert!(problem.contains(said), "{problem}");
    assert!(standing(&server).await.unwrap().retry_in.is_some(), "it is said when it is tried again");
    assert_eq!(stored(&server).as_deref(), Some(first.as_str()));
    is_served(&server).await;
    assert_eq!(server.get("/").await.status, 200);
    ca.recovers();
    another(&server, Some(&first)).await;
    is_served(&server).await;
    is_well(&server).await;
    assert_eq!(ca.count("POST /sign-me-up"), 1);
}

#[tokio::test]
async fn a_limit_with_seconds_to_wait() {
    let fields = vec![("retry-after", "2".to_owned())];
    comes_through("/order-plz", Fault::Status(429, fields), "answered 429").await;
}

#[tokio::test]
async fn a_busy_authority_with_a_date_to_wait_for() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(15));
    comes_through("/", Fault::Status(503, vec![("retry-after", date)]), "answered 503").await;
}

#[tokio::test]
async fn a_page_in_place_of_an_answer() {
    comes_through("/", Fault::Page, "answered 200 with what is no answer of an authority").await;
}

#[tokio::test]
async fn answers_that_break_off() {
    comes_through("/order-plz", Fault::Cut, "cannot reach localhost").await;
}

#[tokio::test]
async fn silence() {
    comes_through("/order-plz", Fault::Silent, "did not answer within 30 s").await;
}

#[tokio::test]
async fn five_bytes_a_second() {
    comes_through("/order-plz", Fault::Slow, "did not answer within 30 s").await;
}

#[tokio::test]
async fn nonces_that_are_never_right() {
    comes_through("/", Fault::WrongNonce, "badNonce").await;
}

#[tokio::test]
async fn an_order_that_is_worked_on_for_ever() {
    comes_through("/my-order/", Fault::Processing, "has not finished the order yet").await;
}

#[tokio::test]
async fn orders_that_turn_invalid() {
    comes_through("/my-order/", Fault::Invalid, "does not see that blog.example leads here").await;
}

#[tokio::test]
async fn a_chain_for_another_key() {
    comes_through("/certZ/", Fault::OtherKey, "the private key does not belong to the first certificate")
        .await;
}

#[tokio::test]
async fn an_account_that_the_authority_has_forgotten_is_made_anew_once() {
    if !has_pebble() {
        return;
    }
    let mut ca = Ca::new(Behaviour { life: 15, ..Behaviour::default() }).await;
    let server = setup(&ca).start().await;
    ca.asks(server.redirect_port(), server.port()).await;
    let first = another(&server, None).await;
    ca.forgets().await;
    another(&server, Some(&first)).await;
    is_well(&server).await;
    assert_eq!(ca.count("POST /sign-me-up"), 2);
}

#[tokio::test]
async fn authorisations_that_are_valid_already_and_nonces_that_are_often_refused() {
    if !has_pebble() {
        return;
    }
    let variables = vec![("PEBBLE_AUTHZREUSE", "100"), ("PEBBLE_WFE_NONCEREJECT", "50")];
    let mut ca = Ca::new(Behaviour { life: 15, variables, ..Behaviour::default() }).await;
    let server = setup(&ca).start().await;
    ca.asks(server.redirect_port(), server.port()).await;
    let first = another(&server, None).await;
    let second = another(&server, Some(&first)).await;
    another(&server, Some(&second)).await;
}

#[tokio::test]
async fn a_name_that_the_authority_refuses_is_told_with_its_reason() {
    if !has_pebble() {
        return;
    }
    let mut ca = Ca::new(Behaviour { blocked: vec!["blog.example"], ..Behaviour::default() }).await;
    let server = setup(&ca).start().await;
    ca.asks(server.redirect_port(), server.port()).await;
    let problem = problem(&server).await;
    assert!(problem.contains("rejectedIdentifier"), "{problem}");
    assert_eq!(server.get("/").await.status, 200, "what it had before serves");
}

#[tokio::test]
async fn external_account_binding_that_is_refused_is_told_and_taken_when_it_is_right() {
    if !has_pebble() {
        return;
    }
    let right = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let mut ca = Ca::new(Behaviour { eab: Some(("kid-1", right)), ..Behaviour::default() }).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "kid-1\nb10lLJs8l1GPIzsLP0s6pMt8O0XVGnfTaCeROxQM0BIt2XrJMDHJZBM5NuQmQJQH\n")
        .unwrap();
    let eab = format!("tls.acme_eab = {:?}", file.path().display().to_string());
    let server = setup(&ca).server(&eab).start().await;
    ca.asks(server.redirect_port(), server.port()).await;
    let problem = problem(&server).await;
    assert!(problem.contains("localhost"), "{problem}");
    assert_eq!(ca.count("POST /order-plz"), 0);
    std::fs::write(file.path(), format!("kid-1\n{right}\n")).unwrap();
    another(&server, None).await;
    is_well(&server).await;
}
