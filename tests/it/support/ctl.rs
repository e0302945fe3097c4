//! Programs that run and end: `rip-serverctl` against a server, and either program with any words.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use super::{PATIENCE, Server};

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Fails the test unless it ended like this.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// The output of the verb, as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs a command to its end. A deploy starts workers several times before it gives up.
pub(crate) async fn run(command: &mut Command) -> Ran {
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let done = timeout(3 * PATIENCE, running).await.expect("the program ends").unwrap();
    Ran {
        code: done.status.code().unwrap_or(-1),
        out: String::from_utf8(done.stdout).unwrap(),
        err: String::from_utf8(done.stderr).unwrap(),
    }
}

/// Runs `rip-server` to its end, in a folder that is its home too.
pub(crate) async fn rip_server(home: &Path, words: &[impl AsRef<OsStr>]) -> Ran {
    run(in_home(home, SERVER).args(words)).await
}

/// Runs `rip-serverctl` to its end, in a folder that is its home too.
pub(crate) async fn rip_serverctl(home: &Path, words: &[impl AsRef<OsStr>]) -> Ran {
    run(in_home(home, CTL).args(words)).await
}

/// A program that sees nothing of this user's settings.
pub(crate) fn in_home(home: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RIP_") {
            command.env_remove(name);
        }
    }
    command.current_dir(home).env("HOME", home).env("XDG_RUNTIME_DIR", home).env("TMPDIR", home);
    command
}

impl Server {
    /// Runs `rip-serverctl` for this server.
    pub(crate) async fn ctl(&self, words: &[&str]) -> Ran {
        let socket = self.control_socket();
        let mut all = vec!["--socket", socket.to_str().unwrap()];
        all.extend(words);
        rip_serverctl(self.root(), &all).await
    }

    /// Writes the file that the scripted worker reads its version from when it starts.
    pub(crate) fn set_version(&self, version: &str) {
        std::fs::write(self.root().join("scripted/VERSION"), version).unwrap();
    }

    /// Adds a line to the scripted app's `rip.toml`; the next deploy goes by it.
    pub(crate) fn add_rule(&self, line: &str) {
        let own = self.root().join("scripted/rip.toml");
        let text = std::fs::read_to_string(&own).unwrap();
        std::fs::write(own, format!("{text}\n{line}\n")).unwrap();
    }

    /// Deploys, and expects that it is taken.
    pub(crate) async fn deploy(&self, version: &str) {
        self.set_version(version);
        self.ctl(&["deploy"]).await.expect(0);
    }
}

pub(crate) const SERVER: &str = env!("CARGO_BIN_EXE_rip-server");
pub(crate) const CTL: &str = env!("CARGO_BIN_EXE_rip-serverctl");
