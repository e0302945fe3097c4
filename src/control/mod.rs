//! Owns the server's end of the control socket.
//!
//! Never here: what a call does to apps and hosts (`manager`), or how answers look to a person (`ctl`).

mod socket;

pub use socket::{BindError, ControlSocket, bind};
