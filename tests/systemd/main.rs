//! The package on real systemd: clean Debian 12 and 13 systems, booted in containers, in which it is installed with
//! apt.
//!
//! Each test boots a system of its own. A test prints each thing that it has seen hold, a line each:
//! `systemd | bookworm | CASE | …`. `tests/systemd/prepare` makes the systems and the packages.

#![allow(missing_docs, reason = "test names say what they are about")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so")]

mod app;
mod authorities;
mod ends;
mod faults;
mod fields;
mod hierarchy;
mod http;
mod jobs;
mod journal;
mod launcher;
#[path = "../it/support/load.rs"]
#[allow(dead_code, reason = "made for more tests than these")]
mod load;
mod machine;
mod names;
mod neighbours;
mod notify;
mod package;
mod php;
mod reloading;
mod restarts;
mod runtimes;
mod sandbox;
mod shutdown;
mod sockets;
mod stopping;
mod times;
#[path = "../it/support/tls.rs"]
#[allow(dead_code, reason = "made for more tests than these")]
mod tls;
mod told;
mod triggers;
mod units;
mod user;
mod walls;
mod workers;

use machine::{Hierarchy, Machine, System};

/// Runs a case on both systems.
macro_rules! on_both {
    ($($(#[$about:meta])* $case:ident)*) => {$(
        $(#[$about])*
        mod $case {
            #[test]
            fn bookworm() {
                crate::on(crate::machine::System::Bookworm, module_path!(), super::cases::$case);
            }

            #[test]
            fn trixie() {
                crate::on(crate::machine::System::Trixie, module_path!(), super::cases::$case);
            }
        }
    )*};
}
pub(crate) use on_both;

/// Runs the case of a module on a system with the package's file in it, or says why not.
fn on(system: System, module: &'static str, case: impl FnOnce(Machine)) {
    if is_there(system) {
        case(Machine::boot(system, name_of(module)));
    }
}

/// Runs the case of a module on Debian 12 with the old hierarchy of control groups; systemd 257 refuses to boot with
/// it.
fn on_legacy(module: &'static str, case: impl FnOnce(Machine)) {
    if Hierarchy::Legacy.folder().is_none() {
        skip("this host's kernel has no hierarchy of control groups but the unified one");
    } else if is_there(System::Bookworm) {
        case(Machine::boot_with(System::Bookworm, name_of(module), Hierarchy::Legacy));
    }
}

fn name_of(module: &'static str) -> &'static str {
    module.split_once("::").map_or(module, |(_, name)| name)
}

fn is_there(system: System) -> bool {
    let cache = machine::cache();
    let there =
        cache.join(format!("{}.list", system.name())).exists() && cache.join("rip-server-next.deb").exists();
    if !rustix::process::geteuid().is_root() || !there {
        skip("no system to boot: run tests/systemd/prepare as root");
        return false;
    }
    true
}

/// Says why a case does not run here. With `TESTS_STRICT` that is a failure.
fn skip(why: &str) {
    assert!(std::env::var_os("TESTS_STRICT").is_none(), "SKIPPED {why}");
    eprintln!("SKIPPED {why}");
}
