//! Bodies on their way: in memory, in spool files, and which side they wait for.
//!
//! Never here: the connections they come from and go to.

pub(in crate::acceptor) mod blocked_workers;
pub(in crate::acceptor) mod buffer;
pub(in crate::acceptor) mod buffer_pool;
pub(in crate::acceptor) mod client_body;
pub(in crate::acceptor) mod compressor;
pub(in crate::acceptor) mod cut_short;
pub(in crate::acceptor) mod pace;
pub(in crate::acceptor) mod reader_pace;
pub(in crate::acceptor) mod request_body;
pub(in crate::acceptor) mod spool;
pub(in crate::acceptor) mod upload_clock;
pub(in crate::acceptor) mod uploads;
