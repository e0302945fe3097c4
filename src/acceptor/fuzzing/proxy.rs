//! Targets of the PROXY headers that balancers send. Never in a program that serves.

use super::cut_of;
use crate::acceptor::wire::proxy_header::{ProxiedConnection, ProxyHeader, Taken};

/// The content and the end of a PROXY header do not depend on how its bytes were cut; the header ends within the
/// longest one that is allowed.
pub fn proxy_header(data: &[u8]) {
    let (cut, bytes) = cut_of(data);
    let whole = read(bytes, bytes.len().max(1));
    assert_eq!(read(bytes, cut), whole, "cut every {cut}");
    if let Ok(Some((length, _))) = whole {
        assert!((15..=4096).contains(&length), "{length} bytes");
        assert_eq!(read(&bytes[..length], length), whole, "it is complete without what follows it");
        assert_eq!(read(&bytes[..length - 1], length), Ok(None), "it is not complete before its end");
    }
}

/// The header's length, and what it says; `None`: it is not complete.
fn read(bytes: &[u8], cut: usize) -> Result<Option<(usize, ProxiedConnection)>, &'static str> {
    let (mut header, mut length) = (ProxyHeader::default(), 0);
    for piece in bytes.chunks(cut) {
        let taken = header.take(piece)?;
        assert!(taken.length > 0, "it would never end");
        length += taken.length;
        match taken {
            Taken { says: Some(says), .. } => return Ok(Some((length, says))),
            Taken { length, says: None } => assert_eq!(length, piece.len(), "what is left belongs to nobody"),
        }
    }
    Ok(None)
}
