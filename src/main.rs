//! The program `rip-server`: words in, exit code out.

use std::process::ExitCode;

use rip_server::backend::{guard, shim};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    match words.next().as_deref().and_then(|word| word.to_str()) {
        Some("worker-exec") => shim::run_shim(words),
        Some("worker-guard") => guard::run_guard(words),
        _ => ExitCode::from(2),
    }
}
