//! FastCGI 1.0 as bytes, in the web server's role: it writes requests (`request`) and reads what comes back
//! (`records`).
//!
//! The source is the FastCGI Specification of 29 April 1996; sections are named by its numbers. Every connection has
//! one request at a time, and its id is 1. Never here: which parameters a request has, CGI's head in an answer, or a
//! socket.

pub(crate) mod records;
pub(crate) mod request;

/// The length of the header of every record (§3.3).
const HEADER: usize = 8;
const VERSION: u8 = 1;
/// The id of every request.
const REQUEST: u16 = 1;
/// The most bytes that a record holds: its length has 16 bits.
const MAX_CONTENT: usize = 0xffff;

/// §8: the types of records.
mod kind {
    pub(super) const BEGIN_REQUEST: u8 = 1;
    pub(super) const END_REQUEST: u8 = 3;
    pub(super) const PARAMS: u8 = 4;
    pub(super) const STDIN: u8 = 5;
    pub(super) const STDOUT: u8 = 6;
    pub(super) const STDERR: u8 = 7;
    pub(super) const GET_VALUES: u8 = 9;
}
