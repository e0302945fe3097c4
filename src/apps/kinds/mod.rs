//! The kinds of apps: how each language, and what an app says of itself, is recognised and run.
//!
//! Never here: the order in which they are tried (`detect`).

mod client_address;
pub(in crate::apps) mod declared;
mod development;
pub(in crate::apps) mod executable;
pub(in crate::apps) mod javascript;
pub(in crate::apps) mod package;
pub(in crate::apps) mod python;
pub(in crate::apps) mod python_target;
pub(in crate::apps) mod ruby;
pub(in crate::apps) mod shell;
pub(in crate::apps) mod site;
pub(in crate::apps) mod source;
