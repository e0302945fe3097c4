//! `rip-serverctl`: looks at a running `rip-server` and changes what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    rip_server::ctl::run(std::env::args_os())
}
