//! Owns the question for CAA records (RFC 8659), which the system's resolver has no words for: one question over UDP to
//! this machine's name server for each label of the name.
//!
//! Never here: what follows from a record. TCP, DNSSEC and other record types are left out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::name::HostName;

/// A CAA record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// `issue`, `issuewild`, `iodef` or another, in lower case.
    pub(super) tag: String,
    pub(super) value: String,
}

impl Record {
    /// The domain of the authority that may issue; empty: none may.
    pub(super) fn issuer(&self) -> &str {
        self.value.split(';').next().unwrap_or_default().trim()
    }
}

/// Asks for the records that count for a host: its own, else those of the nearest name above it that has any.
///
/// # Errors
/// Why the records cannot be known, in a sentence.
pub(super) async fn records(host: &HostName) -> Result<Vec<Record>, String> {
    if host.address().is_some() {
        return Ok(Vec::new());
    }
    let server = name_server(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    let mut name = host.as_str().trim_start_matches("*.");
    loop {
        let found = ask(server, name).await?;
        if !found.is_empty() {
            return Ok(found);
        }
        match name.split_once('.') {
            Some((_, parent)) => name = parent,
            None => return Ok(found),
        }
    }
}

/// The first name server of a resolv.conf(5), or 127.0.0.1 where it names none.
fn name_server(text: &str) -> SocketAddr {
    let named = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok());
    SocketAddr::new({ named }.next().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), 53)
}

async fn ask(server: SocketAddr, name: &str) -> Result<Vec<Record>, String> {
    let failed = |error: std::io::Error| format!("the name server {server} cannot be asked: {error}");
    let any = match server {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await.map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;
    let (id, mut answer) = (fastrand::u16(..), [0; 4096]);
    for _ in 0..TRIES {
        socket.send(&question(id, name)).await.map_err(failed)?;
        if let Ok(received) = timeout(WAITING, socket.recv(&mut answer)).await {
            let length = received.map_err(failed)?;
            return read(id, &answer[..length])
                .ok_or_else(|| format!("the name server's answer for {name} is of no use"));
        }
    }
    Err(format!("the name server {server} does not answer"))
}

/// A message with one question (RFC 1035 §4.1).
fn question(id: u16, name: &str) -> Vec<u8> {
    // The flags say: recursion desired, one question.
    let mut message = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.') {
        // A label of a host name has 63 bytes at most.
        message.push(u8::try_from(label.len()).unwrap_or(0));
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&CAA.to_be_bytes());
    message.extend_from_slice(&INTERNET.to_be_bytes());
    message
}

/// Reads the records of an answer; there are none where the name does not exist. `None`: the message is no answer, or
/// was cut.
fn read(id: u16, message: &[u8]) -> Option<Vec<Record>> {
    let mut at = 0;
    let head: Vec<u16> = (0..6).map(|_| u16_at(message, &mut at)).collect::<Option<_>>()?;
    let (flags, questions, answers) = (head[1], head[2], head[3]);
    let is_answer = head[0] == id && flags & RESPONSE != 0 && flags & CUT == 0;
    if !is_answer || !matches!(flags & 0xf, 0 | NO_SUCH_NAME) {
        return None;
    }
    for _ in 0..questions {
        skip_name(message, &mut at)?;
        at += 4;
    }
    let mut found = Vec::new();
    for _ in 0..answers {
        skip_name(message, &mut at)?;
        let kind = u16_at(message, &mut at)?;
        at += 6;
        let length = usize::from(u16_at(message, &mut at)?);
        let data = message.get(at..at + length)?;
        at += length;
        if kind == CAA {
            // RFC 8659 §4.1: flags, the tag's length, the tag, the value.
            let tag_length = usize::from(*data.get(1)?);
            let (tag, value) = data.get(2..)?.split_at_checked(tag_length)?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_ascii_lowercase();
            found.push(Record { tag: text(tag), value: text(value) });
        }
    }
    Some(found)
}

fn u16_at(message: &[u8], at: &mut usize) -> Option<u16> {
    let bytes = message.get(*at..*at + 2)?;
    *at += 2;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// Skips labels up to an empty one, or up to and with a pointer (RFC 1035 §4.1.4), which is not followed.
fn skip_name(message: &[u8], at: &mut usize) -> Option<()> {
    loop {
        let length = *message.get(*at)?;
        *at += 1;
        match length {
            0 => return Some(()),
            0xc0.. => {
                *at += 1;
                return Some(());
            }
            length => *at += usize::from(length),
        }
    }
}

const CAA: u16 = 257;
const INTERNET: u16 = 1;
const RESPONSE: u16 = 0x8000;
const CUT: u16 = 0x0200;
const NO_SUCH_NAME: u16 = 3;
const TRIES: u32 = 2;
const WAITING: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with one record to a question for `example.com`.
    fn answer(flags: u16, record: &[u8]) -> Vec<u8> {
        let mut message = question(7, "example.com");
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message[7] = 1;
        message.extend_from_slice(&[
            0xc0,
            12,
            1,
            1,
            0,
            1,
            0,
            0,
            0,
            60,
            0,
            u8::try_from(record.len()).unwrap(),
        ]);
        message.extend_from_slice(record);
        message
    }

    #[test]
    fn a_record_is_read_and_what_is_no_answer_is_none() {
        let good = answer(0x8180, b"\x00\x05issueletsencrypt.org");
        let record = Record { tag: "issue".into(), value: "letsencrypt.org".into() };
        assert_eq!(read(7, &good), Some(vec![record]));
        assert_eq!(read(8, &good), None, "another question's");
        assert_eq!(read(7, &answer(0x0180, b"")), None, "no answer");
        assert_eq!(read(7, &answer(0x8380, b"")), None, "cut");
        assert_eq!(read(7, &answer(0x8182, b"")), None, "the server failed");
        for end in 0..good.len() {
            assert_eq!(read(7, &good[..end]), None, "{end} bytes of it");
        }
        assert_eq!(read(7, &answer(0x8180, b"\x00\xffissue")), None, "a tag longer than the record");
    }

    #[test]
    fn the_first_name_server_is_asked_else_this_machine() {
        for (text, expected) in [
            ("search x\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n", "10.0.0.1:53"),
            ("nameserver fe80::1%eth0\nnameserver fd00::1", "[fd00::1]:53"),
            ("", "127.0.0.1:53"),
        ] {
            assert_eq!(name_server(text).to_string(), expected);
        }
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_has_no_records() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = server.local_addr().unwrap();
        let serving = async {
            let mut asked = [0; 512];
            loop {
                let (length, from) = server.recv_from(&mut asked).await.unwrap();
                let mut message = asked[..length].to_vec();
                message[2..4].copy_from_slice(&0x8183_u16.to_be_bytes());
                server.send_to(&message, from).await.unwrap();
            }
        };
        tokio::select! {
            found = ask(at, "no.example.com") => assert_eq!(found, Ok(vec![])),
            never = serving => never,
        }
    }
}
