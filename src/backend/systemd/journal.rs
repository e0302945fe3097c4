//! Owns reading the last lines that a worker wrote, by journalctl(1). Never here: which worker.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::properties::Scope;

/// Reads at most `lines` lines, the newest last; for a worker that wrote nothing, what systemd says went wrong with its
/// unit. There are none when they cannot be read in time.
pub(crate) async fn last_lines(unit: &str, scope: Scope, lines: u32) -> Vec<String> {
    let written = ask(unit, scope, lines, "_TRANSPORT=stdout").await;
    if written.is_empty() { ask(unit, scope, lines, "--priority=warning").await } else { written }
}

async fn ask(unit: &str, scope: Scope, lines: u32, which: &str) -> Vec<String> {
    let mut journalctl = Command::new("journalctl");
    journalctl.args(["--output=cat", "--no-pager", "--quiet", which]);
    let of = if scope == Scope::User { "--user-unit" } else { "--unit" };
    journalctl.arg(format!("{of}={unit}")).arg(format!("--lines={}", lines.min(MOST_LINES)));
    journalctl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let read = async {
        let mut process = journalctl.spawn()?;
        let mut text = Vec::new();
        if let Some(stdout) = process.stdout.take() {
            stdout.take(MOST_BYTES).read_to_end(&mut text).await?;
        }
        Ok::<_, std::io::Error>(text)
    };
    match timeout(LIMIT, read).await {
        Ok(Ok(text)) => String::from_utf8_lossy(&text).lines().map(str::to_owned).collect(),
        Ok(Err(error)) => {
            tracing::warn!(unit, %error, "cannot run journalctl");
            Vec::new()
        }
        Err(_) => {
            tracing::warn!(unit, limit = ?LIMIT, "journalctl takes too long");
            Vec::new()
        }
    }
}

const MOST_LINES: u32 = 100;
const MOST_BYTES: u64 = 256 << 10;
const LIMIT: Duration = Duration::from_secs(3);
