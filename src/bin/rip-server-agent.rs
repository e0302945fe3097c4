//! `rip-server-agent`: gets certificates of authorities for the servers of a machine.

use std::process::ExitCode;

fn main() -> ExitCode {
    rip_server::agent::machine::run(std::env::args_os().skip(1))
}
