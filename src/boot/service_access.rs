//! Owns which of an instance's files its service could not read, or would miss, for `check` by root, who can read them
//! all.
//!
//! Never here: what is in the files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::backend::systemd::properties::Scope;
use crate::backend::systemd::required_files;
use crate::certs::pem_files_below;
use crate::config::merge::Config;
use crate::spec::Scheme;

/// The files of an instance that its service could not read, a sentence each; none where root does not ask, or where
/// the instance is no service's.
pub(super) fn unreadable(config: &Config, files: Vec<PathBuf>, etc: &Path, apps: &Path) -> Vec<String> {
    if !rustix::process::geteuid().is_root() || !is_of_a_service(config, etc, apps) {
        return Vec::new();
    }
    let mut paths = paths(config);
    paths.extend(files);
    let mut seen = BTreeSet::new();
    paths.retain(|path| seen.insert(path.clone()));
    let hidden = |path: &&PathBuf| HIDDEN.iter().any(|folder| path.starts_with(folder));
    let told_hidden = paths.iter().filter(hidden).map(|path| {
        format!(
            "{} is in a folder that the unit rip-server@{}.service is not shown: put it somewhere else",
            path.display(),
            config.server.instance
        )
    });
    let others: Vec<&PathBuf> = paths.iter().filter(|path| !hidden(path)).collect();
    let told_unreadable = refused(&others).into_iter().map(|path| {
        format!(
            "{path} cannot be read by the user {USER}, which the service runs as: give it the right (`chgrp {USER}` and \
             `chmod g+r`, or o+r), and the right to pass the folders that lead there"
        )
    });
    let missing = required_files::look(&config.server.sandbox, &config.server.instance, Scope::System).err();
    told_hidden.chain(told_unreadable).chain(missing.map(|missing| missing.to_string())).collect()
}

/// Whether these are the settings of an instance that systemd starts, judged by where its file or its first app is.
pub(super) fn is_of_a_service(config: &Config, etc: &Path, apps: &Path) -> bool {
    config.file.as_ref().is_some_and(|file| file.starts_with(etc))
        || config.apps.first().is_some_and(|app| app.path.starts_with(apps))
}

fn paths(config: &Config) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = config.file.iter().cloned().collect();
    if matches!(config.server.scheme, Scheme::Https { .. }) {
        let certs = &config.server.certs;
        paths.extend(certs.files.iter().flat_map(|files| [files.cert.clone(), files.key.clone()]));
        if let Some(folder) = &certs.folder {
            paths.push(folder.clone());
            paths.extend(pem_files_below(folder));
        }
    }
    for app in &config.apps {
        paths.push(app.path.clone());
        paths.extend(Some(app.path.join("rip.toml")).filter(|own| own.exists()));
    }
    paths
}

/// The paths that the service's user cannot read. The test runs as that user, with its groups, because modes alone do
/// not say what access lists do.
fn refused(paths: &[&PathBuf]) -> Vec<String> {
    let mut asking = Command::new("setpriv");
    asking.args(["--reuid", USER, "--regid", USER, "--init-groups", "--", "/bin/sh", "-c", ASKED, "sh"]);
    asking.args(paths).stdin(Stdio::null()).stderr(Stdio::null());
    match asking.output() {
        Ok(said) if said.status.success() => {
            String::from_utf8_lossy(&said.stdout).lines().map(str::to_owned).collect()
        }
        // Where that user or that program is missing, nothing is known.
        _ => Vec::new(),
    }
}

/// The test, as a shell script. A folder has to be passed through, too.
const ASKED: &str = r#"for path; do if test -d "$path"; then test -r "$path" && test -x "$path"; else test -r "$path"; fi || printf '%s\n' "$path"; done"#;
const USER: &str = "rip-server";
/// The folders that the unit hides: `ProtectHome=`, `PrivateTmp=` (systemd.exec(5)).
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];
