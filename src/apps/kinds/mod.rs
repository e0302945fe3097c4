//! The kinds of apps: how each language, and what an app says of itself, is recognised and run.
//!
//! Never here: the order in which they are tried (`detect`).

mod client_address;
pub(in crate::apps) mod declared;
mod development;
pub(in crate::apps) mod executable;
pub(in crate::apps) mod javascript;
mod package;
pub(in crate::apps) mod python;
mod python_target;
pub(in crate::apps) mod ruby;
mod shell;
pub(in crate::apps) mod site;
mod source;
