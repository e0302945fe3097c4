//! Files below a folder: reached safely (`beneath`, `step_lookup`), answered for over HTTP (`site`), sent out of an
//! app's folders (`sent_folder`), and told from the scripts among them (`scripts`).
//!
//! Never here: sockets, or what runs a script.

pub(crate) mod beneath;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub(crate) mod fuzzing;
pub(crate) mod request_path;
pub(crate) mod scripts;
pub(crate) mod sent_folder;
pub(crate) mod site;
mod step_lookup;
