//! One request and its worker: claimed, asked, answered, and the answer taken in.
//!
//! Never here: which app a request is for (`request`), or the client's connection (`downstream`).

pub(in crate::acceptor) mod drain;
pub(in crate::acceptor) mod draining;
pub(in crate::acceptor) mod forward;
pub(in crate::acceptor) mod h2c;
pub(in crate::acceptor) mod h2c_answer;
pub(in crate::acceptor) mod in_hand;
pub(in crate::acceptor) mod putting;
pub(in crate::acceptor) mod respond;
pub(in crate::acceptor) mod tunnel;
