//! Files of certificates and keys, as a function of bytes that panics when a promise about them is broken.
//!
//! Every test run calls the functions here with seeded inputs, and the targets of `tests/fuzz` call them for as long as
//! one likes. Never in a program that serves.

use super::certificate::Certificate;
use super::reasons::Instead;

/// A file with a chain and its key: read, or refused with a text that says why.
pub fn certificate(data: &[u8]) {
    let instead = Instead::of(data);
    match Certificate::from_pem(data, data) {
        Ok(certificate) => {
            assert!(certificate.renew_at() <= certificate.overdue_at().max(certificate.urgent_at()))
        }
        Err(error) => assert!(!error.to_string().trim().is_empty(), "{error:?}, {instead:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::feed_kept;

    const ROUNDS: usize = 2_000;

    #[test]
    fn files_of_certificates_keep_their_promises() {
        feed_kept("certificate", ROUNDS, certificate);
    }
}
