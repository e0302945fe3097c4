//! The settings: one table of all, what each takes, and reading a value of it.
//!
//! Never here: where a value was said (`layer`), or what follows from it (`app`, `server`).

pub(crate) mod compound;
pub(crate) mod form;
pub(crate) mod kind;
mod setting;
pub(crate) mod table;
pub(crate) mod units;
pub(crate) mod value;
