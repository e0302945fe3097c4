//! Owns the listener for HAProxy's `agent-check`: the server sends one line and closes the connection.
//!
//! Never here: whether the server is ready (`readiness`).

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::tasks::TaskGroup;

use super::readiness::{Readiness, ReadinessParts};
use super::side_listener::{SideService, serve_at};

/// Answers agent checks at `address` until stop is requested.
///
/// # Errors
/// When nothing can listen there.
pub(crate) async fn serve_agent_check(
    address: SocketAddr,
    readiness: ReadinessParts,
    stop: &TaskGroup,
) -> io::Result<()> {
    serve_at(address, AgentCheck(readiness), stop).await
}

struct AgentCheck(ReadinessParts);

impl SideService for AgentCheck {
    const NAME: &'static str = "agent-check";

    async fn serve(&self, mut stream: TcpStream) {
        let line = line(&self.0.now().await);
        // The write fails when the checker has left; it asks again.
        let _ = stream.write_all(line.as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}

/// The line, in the words of HAProxy's manual, §5.2 `agent-check`: `ready` and `drain` say what is wanted, `up` and
/// `down` how the server is. HAProxy's status page shows the text behind `#`.
fn line(readiness: &Readiness) -> String {
    match readiness {
        Readiness { ready: true, .. } => "ready up\n".to_owned(),
        Readiness { draining: true, .. } => "drain\n".to_owned(),
        _ => format!("ready down#{}\n", readiness.why.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readiness(ready: bool, draining: bool) -> Readiness {
        Readiness { ready, why: vec!["no worker is ready of blog".to_owned()], draining, apps: Vec::new() }
    }

    #[test]
    fn haproxy_is_told_what_is_wished_and_how_the_server_is() {
        assert_eq!(line(&readiness(true, false)), "ready up\n");
        assert_eq!(line(&readiness(false, true)), "drain\n");
        assert_eq!(line(&readiness(false, false)), "ready down#no worker is ready of blog\n");
    }
}
