//! The kinds of apps: one file for each runtime, and the table of them all.
//!
//! Never here: what is done with a recognised app (`detect`).

mod client_address;
pub(in crate::apps) mod declared;
pub(in crate::apps) mod deno;
mod development;
pub(in crate::apps) mod executable;
pub(in crate::apps) mod java;
pub(in crate::apps) mod javascript;
mod known_servers;
pub(in crate::apps) mod package;
pub(in crate::apps) mod perl;
pub(in crate::apps) mod php;
pub(in crate::apps) mod python;
mod python_place;
pub(in crate::apps) mod python_target;
pub(in crate::apps) mod ruby;
pub(in crate::apps) mod shell;
pub(in crate::apps) mod source;
pub(in crate::apps) mod static_site;

use super::programs::Program;
use super::recogniser::Recogniser;

/// The recognisers, in the order in which a folder is looked at; the first that fits is taken.
pub(super) static RECOGNISERS: [&Recogniser; 15] = [
    &declared::BY_COMMAND,
    &static_site::BY_SETTINGS,
    &php::BY_SETTINGS,
    &declared::BY_PROCFILE,
    &declared::BY_PACKAGE_JSON,
    &executable::BY_PROGRAM,
    &deno::BY_DENO_JSON,
    &javascript::BY_INDEX,
    &javascript::BY_SERVER,
    &python::BY_MODULE,
    &ruby::BY_RUBY,
    &perl::BY_PSGI,
    &java::BY_JAR,
    &php::BY_INDEX,
    &static_site::BY_PAGE,
];

/// The programs that run apps.
fn programs() -> impl Iterator<Item = &'static Program<'static>> {
    RECOGNISERS.iter().flat_map(|row| row.programs)
}

/// The program of that name, with how to install it.
fn program(name: &str) -> Program<'_> {
    let install = programs().find(|program| program.name == name).map(|program| program.install);
    let install = install.unwrap_or("install it, or give its full path in rip.toml `command`");
    Program { name, install }
}

/// Whether a program, or a Python module, takes several requests at once.
fn is_event_loop(name: &str) -> bool {
    RECOGNISERS.iter().any(|row| row.event_loops.contains(&name))
}
