//! `rip-server-launcher`: starts workers' units for servers that may not do it themselves.

use std::process::ExitCode;

fn main() -> ExitCode {
    rip_server::launcher::run(std::env::args_os().skip(1))
}
