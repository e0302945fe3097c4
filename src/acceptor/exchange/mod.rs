//! Owns one request and its worker: the worker is claimed and asked, and its answer taken in.
//!
//! Never here: which app a request is for (`request`), or the client's connection (`downstream`).

pub(in crate::acceptor) mod answer_sink;
pub(in crate::acceptor) mod forward;
pub(in crate::acceptor) mod h2c;
pub(in crate::acceptor) mod h2c_answer;
pub(in crate::acceptor) mod in_flight;
pub(in crate::acceptor) mod pump_context;
pub(in crate::acceptor) mod respond;
pub(in crate::acceptor) mod response_pump;
pub(in crate::acceptor) mod tunnel;
