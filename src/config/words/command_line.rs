//! The command line as a whole: a page, an inner program, a verb of `rip-serverctl`, or words for a server.
//!
//! Never here: the words of each (`tokens`, `client`).

use std::ffi::OsString;
use std::path::Path;

use super::client;
use super::client::CtlCall;
use super::command::{GeneratedDoc, INNER, InnerProgram, page};
use super::tokens;
use super::tokens::Tokens;
use crate::config::error::ConfigError;

/// The meaning of the words.
#[derive(Debug, PartialEq)]
pub(crate) enum Parsed {
    /// Print this page and exit.
    GeneratedDoc(GeneratedDoc),
    /// Run an inner program; its words are passed on as they are.
    Inner(InnerProgram, Vec<OsString>),
    /// A verb of `rip-serverctl` with its words.
    Client(Box<CtlCall>),
    /// Words for a server.
    Words(Box<Tokens>),
}

/// Reads the words after the program's name.
///
/// # Errors
/// The first word that is unknown, wrong, said twice, or missing.
pub(crate) fn parse(words: &[OsString], exists: &dyn Fn(&Path) -> bool) -> Result<Parsed, ConfigError> {
    if let Some((first, rest)) = words.split_first()
        && let Some((_, inner)) = INNER.iter().find(|(name, _)| *name == first)
    {
        return Ok(Parsed::Inner(*inner, rest.to_vec()));
    }
    let (verb, note) = client::verb(words, exists);
    if let Some(at) = verb {
        return client::parse(words, at, exists, note).map(|client| Parsed::Client(Box::new(client)));
    }
    if let Some(page) = page(words)? {
        return Ok(Parsed::GeneratedDoc(page));
    }
    let tokens = tokens::read(words, exists, note)?;
    Ok(Parsed::Words(Box::new(tokens)))
}

#[cfg(test)]
mod tests;
