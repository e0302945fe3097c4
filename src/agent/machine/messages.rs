//! Owns the messages between servers and the agent, and how they go over a socket.
//!
//! Both ends are of one package, and an upgrade restarts both: the messages may change with each version. Never here:
//! acting on a message.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::agent::Standing;
use crate::api::CertPlan;
use crate::challenges::Answers;
use crate::name::{HostName, InstanceName};
use crate::spec::acme::Acme;

/// A message of a server.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToAgent {
    /// The server wants certificates for these hosts, and for no others any more.
    Want { instance: InstanceName, acme: Acme, hosts: Vec<HostName> },
    /// The server answers authorities by this version of the answers.
    Answering { version: u64 },
    /// The server wants a new certificate now; the reply has the same `call`.
    Renew { call: u64, host: HostName, force: bool },
    /// The server wants the checks of an order; the reply has the same `call`.
    Plan { call: u64, host: HostName },
}

/// A message of the agent.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToServer {
    /// The answers to authorities from now on.
    Answer { version: u64, answers: Answers },
    /// The hosts of all servers, for which authorities are to be answered.
    Hosts(Vec<HostName>),
    /// How the certificates of this server's hosts stand.
    Stand(Standing),
    /// How a renewal ended.
    Renewed { call: u64, ended: Result<(), String> },
    /// The checks of an order, as a server asked for them.
    Planned { call: u64, plan: Result<CertPlan, String> },
    /// The agent does nothing for this server; the connection ends.
    Refuse { why: String },
}

/// The next message; `None` when the other end has gone between two messages. Not cancel-safe.
///
/// # Errors
/// When the connection breaks within a message, or what comes is no message.
pub(super) async fn read<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<T>> {
    let length = match from.read_u32().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > LONGEST {
        let text = format!("a message of {length} bytes is longer than {LONGEST}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    // The buffer grows as the bytes come: a peer that announces a length has not sent the bytes yet.
    let mut bytes = Vec::new();
    from.take(length.into()).read_to_end(&mut bytes).await?;
    if bytes.len() < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(serde_json::from_slice(&bytes)?))
}

/// Sends a message. Not cancel-safe.
///
/// # Errors
/// When the connection breaks, or the message is too long.
pub(super) async fn write(to: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= LONGEST);
    let length = length.ok_or_else(|| io::Error::other("a message is too long"))?;
    to.write_all(&[&length.to_be_bytes(), &bytes[..]].concat()).await
}

/// The most bytes of one message: a hundred thousand hosts fit in.
const LONGEST: u32 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_arrive_whole_and_in_their_order_and_what_is_none_is_an_error() {
        let mut bytes = Vec::new();
        for version in [1, 2] {
            write(&mut bytes, &ToAgent::Answering { version }).await.unwrap();
        }
        let mut from = &bytes[..];
        for expected in [1, 2] {
            let message = read(&mut from).await.unwrap();
            assert!(matches!(message, Some(ToAgent::Answering { version }) if version == expected));
        }
        assert!(read::<ToAgent>(&mut from).await.unwrap().is_none());
        for broken in [&b"\x00\x00\x00\x09{}"[..], b"\xff\xff\xff\xff", b"\x00\x00\x00\x02{}"] {
            assert!(read::<ToAgent>(&mut &broken[..]).await.is_err(), "{broken:?}");
        }
    }
}
