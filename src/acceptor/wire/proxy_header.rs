//! The header by which a proxy says whose connection it passes on: the PROXY protocol's versions 1 and 2
//! (haproxy.org, proxy-protocol.txt).
//!
//! Pure: bytes in, addresses out; bytes behind the header are left alone. Never here: who may send a header, or reading
//! it from a connection.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// A header of which a part has come.
#[derive(Debug)]
pub(in crate::acceptor) struct ProxyHeader {
    /// The bytes that have come, as far as they matter: a line, or the binary header up to its addresses' end.
    kept: [u8; MOST_LINE],
    /// How many bytes have come.
    have: usize,
}

/// The facts that a header tells about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum ProxiedConnection {
    /// The header names nobody: the proxy speaks for itself, or for a client without an IP address. The connection's
    /// own addresses hold.
    Own,
    /// The connection is a client's, between these addresses.
    Of { client: SocketAddr, local: SocketAddr },
}

/// The result of taking some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::acceptor) struct Taken {
    /// How many of the bytes belong to the header; all of them before its end.
    pub(in crate::acceptor) length: usize,
    /// The content of the header, once it is complete.
    pub(in crate::acceptor) says: Option<ProxiedConnection>,
}

impl Default for ProxyHeader {
    fn default() -> Self {
        Self { kept: [0; MOST_LINE], have: 0 }
    }
}

impl ProxyHeader {
    /// Takes those of the next bytes that belong to the header, at least one.
    ///
    /// # Errors
    /// The fault of the header, in words that follow "the PROXY header".
    pub(in crate::acceptor) fn take(&mut self, bytes: &[u8]) -> Result<Taken, &'static str> {
        let first = if self.have > 0 { Some(&self.kept[0]) } else { bytes.first() };
        match first {
            None => Ok(Taken { length: 0, says: None }),
            Some(b'P') => self.take_line(bytes),
            Some(b'\r') => self.take_binary(bytes),
            Some(_) => Err(NONE),
        }
    }

    pub(in crate::acceptor) fn has_begun(&self) -> bool {
        self.have > 0
    }

    /// Takes bytes of a header of version 1.
    fn take_line(&mut self, bytes: &[u8]) -> Result<Taken, &'static str> {
        let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
        let length = self.keep(&bytes[..end], MOST_LINE);
        let line = &self.kept[..self.have];
        if !line.starts_with(&PREFIX[..line.len().min(PREFIX.len())]) {
            return Err(NONE);
        }
        let says = match line.strip_suffix(b"\n") {
            Some(line) => Some(parse_line(line)?),
            None if self.have == MOST_LINE => return Err("is a line of more than 107 bytes"),
            None => None,
        };
        Ok(Taken { length, says })
    }

    /// Takes bytes of a header of version 2.
    fn take_binary(&mut self, bytes: &[u8]) -> Result<Taken, &'static str> {
        let mut length = self.keep(bytes, FIXED);
        let signature = &self.kept[..self.have.min(SIGNATURE.len())];
        if !SIGNATURE.starts_with(signature) {
            return Err(NONE);
        }
        if self.have < FIXED {
            return Ok(Taken { length, says: None });
        }
        let end = FIXED + self.announced()?;
        length += self.keep(&bytes[length..], end);
        Ok(Taken { length, says: (self.have == end).then(|| self.addresses()) })
    }

    /// Takes bytes until `until` are there; returns how many it took.
    fn keep(&mut self, bytes: &[u8], until: usize) -> usize {
        let taken = bytes.len().min(until.saturating_sub(self.have));
        let room = self.kept.get_mut(self.have..).unwrap_or_default();
        let kept = taken.min(room.len());
        room[..kept].copy_from_slice(&bytes[..kept]);
        self.have += taken;
        taken
    }

    /// The number of bytes that follow the fixed part of version 2.
    fn announced(&self) -> Result<usize, &'static str> {
        let [version_and_command, family_and_transport, high, low] = self.fixed();
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (family, transport) = (family_and_transport >> 4, family_and_transport & 0xf);
        if version_and_command >> 4 != 2 {
            return Err("has the signature of version 2 and another version");
        }
        if FIXED + length > MOST_BINARY {
            return Err("is longer than 4096 bytes");
        }
        match version_and_command & 0xf {
            LOCAL => return Ok(length),
            PROXY => {}
            _ => return Err("has a command that is neither LOCAL nor PROXY"),
        }
        let least = match (family, transport) {
            (0..=3, 0) | (0, 1 | 2) => 0,
            (1, 1 | 2) => 12,
            (2, 1 | 2) => 36,
            (3, 1 | 2) => 216,
            _ => return Err("has a family of addresses or a transport that there is not"),
        };
        if length < least { Err("is too short for its addresses") } else { Ok(length) }
    }

    /// The addresses of a whole header of version 2.
    fn addresses(&self) -> ProxiedConnection {
        let [version_and_command, family_and_transport, ..] = self.fixed();
        let block = &self.kept[FIXED..];
        let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
        let v4 = |at: usize| block[at..].first_chunk::<4>().copied().map(Ipv4Addr::from);
        let v6 = |at: usize| block[at..].first_chunk::<16>().copied().map(Ipv6Addr::from);
        let of = |client: Option<SocketAddr>, local: Option<SocketAddr>| match (client, local) {
            (Some(client), Some(local)) => ProxiedConnection::Of { client, local },
            _ => ProxiedConnection::Own,
        };
        match (version_and_command & 0xf, family_and_transport) {
            (PROXY, TCP4) => of(
                v4(0).map(|ip| SocketAddr::new(ip.into(), port(8))),
                v4(4).map(|ip| SocketAddr::new(ip.into(), port(10))),
            ),
            (PROXY, TCP6) => of(
                v6(0).map(|ip| SocketAddr::new(ip.into(), port(32))),
                v6(16).map(|ip| SocketAddr::new(ip.into(), port(34))),
            ),
            _ => ProxiedConnection::Own,
        }
    }

    /// The bytes behind the signature of version 2.
    fn fixed(&self) -> [u8; 4] {
        let [a, b, c, d] = self.kept[SIGNATURE.len()..FIXED] else { return [0; 4] };
        [a, b, c, d]
    }
}

/// A line without its line feed.
fn parse_line(line: &[u8]) -> Result<ProxiedConnection, &'static str> {
    let line = line.strip_suffix(b"\r").ok_or("is a line that ends without CR LF")?;
    let text = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix("PROXY "));
    let mut words = text.ok_or(LINE)?.split(' ');
    let mut word = || words.next().ok_or(LINE);
    let family = word()?;
    if family == "UNKNOWN" {
        return Ok(ProxiedConnection::Own);
    }
    let [client, local, client_port, local_port] = [word()?, word()?, word()?, word()?];
    let address = |ip: &str, port: &str| -> Option<SocketAddr> {
        let ip = match family {
            "TCP4" => ip.parse::<Ipv4Addr>().ok()?.into(),
            "TCP6" => ip.parse::<Ipv6Addr>().ok()?.into(),
            _ => return None,
        };
        let plain = port.bytes().all(|byte| byte.is_ascii_digit()) && (port == "0" || !port.starts_with('0'));
        Some(SocketAddr::new(ip, port.parse().ok().filter(|_| plain)?))
    };
    match (address(client, client_port), address(local, local_port), words.next()) {
        (Some(client), Some(local), None) => Ok(ProxiedConnection::Of { client, local }),
        _ => Err(LINE),
    }
}

const NONE: &str = "is not there: the connection begins with something else";
const LINE: &str = "is a line that is none of `PROXY TCP4 CLIENT SERVER PORT PORT`, TCP6 or UNKNOWN";

/// The longest line, with CR LF.
const MOST_LINE: usize = 107;
/// The longest header of version 2, the same as nginx's. Bytes behind the addresses are skipped.
const MOST_BINARY: usize = 4096;
const PREFIX: &[u8] = b"PROXY ";
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = SIGNATURE.len() + 4;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, payload].concat()
    }

    /// Reads the content of a whole header; bytes behind it are left alone.
    fn read(header: &[u8]) -> Result<ProxiedConnection, &'static str> {
        let bytes = [header, b"GET / HTTP/1.1\r\n"].concat();
        let Taken { length, says } = ProxyHeader::default().take(&bytes)?;
        let says = says.ok_or("is not complete")?;
        assert_eq!(length, header.len());
        Ok(says)
    }

    fn of(client: &str, local: &str) -> Result<ProxiedConnection, &'static str> {
        Ok(ProxiedConnection::Of { client: client.parse().unwrap(), local: local.parse().unwrap() })
    }

    #[test]
    fn lines_of_version_1_are_read() {
        assert_eq!(
            read(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"),
            of("192.0.2.7:4711", "198.51.100.1:443")
        );
        assert_eq!(
            read(b"PROXY TCP6 2001:db8::7 2001:db8::1 65535 0\r\n"),
            of("[2001:db8::7]:65535", "[2001:db8::1]:0")
        );
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let unknown = format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n");
        assert_eq!(unknown.len(), MOST_LINE);
        for line in ["PROXY UNKNOWN\r\n", &unknown, "PROXY UNKNOWN whatever \r there\r\n"] {
            assert_eq!(read(line.as_bytes()), Ok(ProxiedConnection::Own), "{line:?}");
        }
    }

    #[test]
    fn lines_that_say_something_else_are_refused() {
        for line in [
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443 1\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443 \r\n",
            "PROXY TCP4  192.0.2.7 198.51.100.1 4711 443\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711 65536\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 +4711 443\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 04711 443\r\n",
            "PROXY TCP4 192.0.2.007 198.51.100.1 4711 443\r\n",
            "PROXY TCP4 2001:db8::7 2001:db8::1 4711 443\r\n",
            "PROXY TCP6 192.0.2.7 198.51.100.1 4711 443\r\n",
            "PROXY UDP4 192.0.2.7 198.51.100.1 4711 443\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY\r\n",
            "PROXY \r\n",
            "proxy TCP4 192.0.2.7 198.51.100.1 4711 443\r\n",
            "PRI * HTTP/2.0\r\n",
            "POST / HTTP/1.1\r\n",
            "GET / HTTP/1.1\r\n",
            "\x16\x03\x01",
        ] {
            assert!(read(line.as_bytes()).is_err(), "{line:?}");
        }
        assert_eq!(ProxyHeader::default().take(b"PROXY T"), Ok(Taken { length: 7, says: None }));
        let endless = ["PROXY UNKNOWN ", &"x".repeat(200)].concat();
        assert_eq!(read(endless.as_bytes()), Err("is a line of more than 107 bytes"));
    }

    #[test]
    fn addresses_of_version_2_are_read_and_what_follows_them_is_skipped() {
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 1, 187];
        let with_more = [&v4[..], &[4, 0, 1, 9], &[0xee; 3000]].concat();
        for payload in [&v4[..], &with_more] {
            assert_eq!(read(&binary(PROXY, TCP4, payload)), of("192.0.2.7:4711", "198.51.100.1:443"));
        }
        let mut v6 = [0; 36];
        (v6[15], v6[31], v6[33], v6[35]) = (7, 1, 80, 81);
        assert_eq!(read(&binary(PROXY, TCP6, &v6)), of("[::7]:80", "[::1]:81"));
    }

    #[test]
    fn connections_of_no_client_with_an_ip_address_keep_their_own() {
        for (command, family, length) in [
            (LOCAL, 0, 0),
            (LOCAL, TCP4, 12),
            (LOCAL, 0xff, 7),
            (PROXY, 0, 0),
            (PROXY, 0, 100),
            (PROXY, 0x12, 12),
            (PROXY, 0x31, 216),
            (PROXY, 0x31, 300),
        ] {
            let header = binary(command, family, &vec![1; length]);
            assert_eq!(read(&header), Ok(ProxiedConnection::Own), "{command} {family:x}");
        }
    }

    #[test]
    fn headers_of_version_2_that_cannot_be_are_refused() {
        for (command, family, length) in [
            (2, TCP4, 12),
            (PROXY, 0x41, 300),
            (PROXY, 0x13, 300),
            (PROXY, TCP4, 11),
            (PROXY, TCP6, 35),
            (PROXY, 0x31, 215),
            (LOCAL, 0, MOST_BINARY - FIXED + 1),
        ] {
            assert!(
                read(&binary(command, family, &vec![1; length])).is_err(),
                "{command} {family:x} {length}"
            );
        }
        let mut other = binary(PROXY, TCP4, &[1; 12]);
        other[12] = 0x11;
        assert!(read(&other).is_err());
        assert!(read(b"\r\nGET / HTTP/1.1\r\n").is_err());
    }
}
