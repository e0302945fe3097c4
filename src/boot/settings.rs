//! The settings in force: those of the start, and what later deploys have read anew from the server's config file.
//!
//! Never here: what a setting means, or an app's own `rip.toml`, which is read for every generation.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::systemd::sandbox_in_force::SandboxInForce;
use crate::backend::systemd::unit;
use crate::config::machine::ProcessContext;
use crate::config::merge::{self, Config, Invocation};
use crate::config::value_origin::{Effective, ValueOrigin};
use crate::control;

/// The settings as they are now.
pub(super) struct Settings {
    words: Vec<OsString>,
    /// The process as the server was started: a variable of a running process does not change.
    machine: ProcessContext,
    at_start: Arc<Config>,
    /// The current settings; the lock is held to look or to replace.
    now: Mutex<CurrentSettings>,
    sandbox: SandboxInForce,
}

struct CurrentSettings {
    config: Arc<Config>,
    needs_restart: Vec<String>,
}

impl Settings {
    /// The settings that the server starts with.
    ///
    /// # Errors
    /// When the working directory is gone.
    pub(super) fn of_start(config: Arc<Config>) -> io::Result<Self> {
        Ok(Self {
            words: std::env::args_os().skip(1).collect(),
            machine: ProcessContext::this()?,
            sandbox: SandboxInForce::new(config.server.sandbox.clone()),
            now: Mutex::new(CurrentSettings { config: Arc::clone(&config), needs_restart: Vec::new() }),
            at_start: config,
        })
    }

    /// All settings. Settings of the server itself, but for the sandbox, take effect only at the next start.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.now().config)
    }

    /// The settings that the server was started with, which it goes by itself.
    pub(super) fn at_start(&self) -> &Config {
        &self.at_start
    }

    /// The sandbox of workers' units.
    pub(super) fn sandbox(&self) -> SandboxInForce {
        self.sandbox.clone()
    }

    fn now(&self) -> MutexGuard<'_, CurrentSettings> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl control::ServerSettings for Settings {
    fn read_anew(&self) -> Result<(), String> {
        let config = match merge::read(&self.words, &self.machine) {
            Ok(Invocation::Config(config)) => *config,
            // The words are those of the start, which were those of a server.
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let needs_restart = needs_restart(&self.at_start, &config);
        for setting in &needs_restart {
            tracing::warn!("{setting}: was read, and counts from the next restart on");
        }
        for warning in config.warnings.iter().filter(|warning| !self.at_start.warnings.contains(warning)) {
            tracing::warn!("{warning}");
        }
        self.sandbox.replace(config.server.sandbox.clone());
        *self.now() = CurrentSettings { config: Arc::new(config), needs_restart };
        Ok(())
    }

    fn needs_restart(&self) -> Vec<String> {
        self.now().needs_restart.clone()
    }
}

/// The keys that differ and need a restart: all settings of the server itself, and the list of apps. Settings of apps
/// take effect with the next generation, the sandbox with the next worker.
fn needs_restart(before: &Config, now: &Config) -> Vec<String> {
    let rows = |config: &Config| -> BTreeMap<String, Effective> {
        let own = config.report.iter().filter(|row| !row.key.starts_with(SANDBOX));
        own.map(|row| (row.key.clone(), row.clone())).collect()
    };
    let (old, new) = (rows(before), rows(now));
    let changed = new.values().filter(|row| old.get(&row.key).is_none_or(|old| old.value != row.value));
    let mut all: Vec<String> = changed.map(said).collect();
    all.extend(
        old.values().filter(|row| !new.contains_key(&row.key)).map(|row| format!("{} (removed)", row.key)),
    );
    let paths = |config: &Config| config.apps.iter().map(|app| app.path.clone()).collect::<Vec<PathBuf>>();
    let (old, new) = (paths(before), paths(now));
    let added = new.iter().filter(|path| !old.contains(path)).map(|path| format!("app {}", path.display()));
    all.extend(added);
    let gone = old.iter().filter(|path| !new.contains(path));
    all.extend(gone.map(|path| format!("app {} (removed)", path.display())));
    all
}

fn said(row: &Effective) -> String {
    match &row.origin {
        ValueOrigin::Default => format!("{} = {} (default)", row.key, row.value),
        origin => format!("{} = {} ({origin})", row.key, row.value),
    }
}

/// The settings without effect where systemd opens the sockets, a sentence each with what to write instead.
pub(super) fn left_to_sockets(config: &Config) -> Vec<String> {
    let instance = &config.server.instance;
    let said = config.report.iter().filter(|row| row.origin != ValueOrigin::Default);
    said.filter_map(|row| {
        let kind = match row.key.as_str() {
            "listen.https" | "listen.bind" => "https",
            "listen.http" | "listen.redirect_port" | "listen.redirect_http" => "http",
            _ => return None,
        };
        let unit = format!("rip-server-{kind}@{instance}.socket");
        let instead = match (row.key.as_str(), row.value.as_str()) {
            ("listen.redirect_http", _) => format!("`systemctl mask {unit}` instead"),
            ("listen.bind", value) => drop_in(&unit, &format!("{value}:443")),
            (_, value) => drop_in(&unit, value),
        };
        Some(format!(
            "{} = {} ({}) has no effect on {}: systemd opens its sockets; {instead}",
            row.key,
            row.value,
            row.origin,
            unit::server(instance)
        ))
    })
    .collect()
}

fn drop_in(unit: &str, listen: &str) -> String {
    format!(
        "write into /etc/systemd/system/{unit}.d/port.conf, a line each: [Socket] ListenStream= ListenStream={listen}; \
         then systemctl daemon-reload, and systemctl restart {unit}"
    )
}

const SANDBOX: &str = "sandbox.";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The config of `rip-server --instance=site` with this file.
    fn config(file: &str) -> Config {
        config_in(&tempfile::tempdir().unwrap(), file)
    }

    fn config_in(etc: &tempfile::TempDir, file: &str) -> Config {
        fs::write(etc.path().join("site.toml"), file).unwrap();
        let machine = ProcessContext {
            variables: Vec::new(),
            directory: "/".into(),
            user: 0,
            etc: etc.path().to_owned(),
            apps: "/srv/rip".into(),
            run: "/run".into(),
            lib: "/var/lib".into(),
        };
        match merge::read(&["--instance=site".into()], &machine).unwrap() {
            Invocation::Config(config) => *config,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn settings_of_apps_and_the_sandbox_need_no_restart_and_all_others_do() {
        let before = config("threads = 2\n[app]\nworkers = 2\n[[apps]]\npath = \"/srv/old\"\n");
        let now = config(
            "trusted_proxies = [\"10.0.0.0/8\"]\n[app]\nworkers = 3\n[sandbox]\ntasks_max = 9\n[[apps]]\npath = \"/srv/new\"\n",
        );

        let needs = needs_restart(&before, &now);

        assert_eq!(needs.len(), 4, "{needs:?}");
        assert!(needs[0].starts_with("trusted_proxies = ") && needs[0].contains("site.toml:1:"), "{needs:?}");
        assert_eq!(needs[1..], ["threads (removed)", "app /srv/new", "app /srv/old (removed)"]);
        assert_eq!(needs_restart(&now, &now), Vec::<String>::new());
    }

    #[test]
    fn what_sockets_decide_is_told_with_what_to_write_instead() {
        let told = left_to_sockets(&config("[listen]\nhttps = 9443\nredirect_http = false\n"));

        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].starts_with("listen.https = 9443 (") && told[0].contains("site.toml:2:9) has no effect"),
            "{told:?}"
        );
        assert!(
            told[0].contains("rip-server-https@site.socket.d/port.conf")
                && told[0].contains("ListenStream=9443"),
            "{told:?}"
        );
        assert!(told[1].contains("`systemctl mask rip-server-http@site.socket`"), "{told:?}");
        assert_eq!(left_to_sockets(&config("threads = 2\n")), Vec::<String>::new());
    }

    #[test]
    fn what_sockets_decide_is_told_of_instances_alone_that_systemd_starts() {
        let etc = tempfile::tempdir().unwrap();
        let config = config_in(&etc, "[listen]\nhttps = 9443\n");
        let apps = Path::new("/srv/rip");
        let told = crate::boot::left_to_systemd(&config, etc.path(), apps);
        assert!(told[0].contains("has no effect on rip-server@site.service"), "{told:?}");
        let elsewhere = Path::new("/elsewhere");
        assert!(!crate::boot::left_to_systemd(&config, elsewhere, apps).is_empty(), "by its app's folder");
        assert_eq!(crate::boot::left_to_systemd(&config, elsewhere, elsewhere), Vec::<String>::new());
    }
}
