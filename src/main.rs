//! `rip-server`: serves apps.

use std::process::ExitCode;

fn main() -> ExitCode {
    rip_server::boot::run(std::env::args_os().skip(1))
}
