//! The ordinary way of a request, over HTTP/1.1 and HTTP/2.

use crate::support::Setup;

#[tokio::test]
async fn a_request_is_answered_by_the_worker() {
    let server = Setup::scripted().start().await;
    let reply = server.get("/").await;
    assert_eq!((reply.status, reply.text()), (200, "hello from the worker\n"));
}
