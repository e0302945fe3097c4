//! A request from its head to its answer, whichever protocol brought it: which app, which answer, which error.
//!
//! Never here: workers (`exchange`), or the bytes of a protocol (`downstream`).

mod accel;
mod accept_encoding;
mod asked_app;
mod auth;
pub(in crate::acceptor) mod builtin;
pub(in crate::acceptor) mod client_answer;
pub(in crate::acceptor) mod client_request;
pub(in crate::acceptor) mod collect;
mod compress;
pub(in crate::acceptor) mod http;
mod pause;
mod redirect;
pub(in crate::acceptor) mod reply;
pub(in crate::acceptor) mod route;
pub(in crate::acceptor) mod scripts;
mod sent_file;
pub(in crate::acceptor) mod setting_notice;
mod sticky;
mod worker_target;
