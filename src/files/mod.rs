//! Files: whole small ones (`plain_file`), and those below a folder, reached safely (`beneath`, `step_lookup`), served
//! over HTTP (`site`), sent out of an app's folders (`sent_folder`), told from scripts (`scripts`), and read as error
//! pages (`error_pages`).
//!
//! Never here: sockets, or what runs a script.

pub(crate) mod beneath;
pub(crate) mod error_pages;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub(crate) mod fuzzing;
pub(crate) mod plain_file;
pub(crate) mod request_path;
pub(crate) mod scripts;
pub(crate) mod sent_folder;
pub(crate) mod site;
mod step_lookup;
