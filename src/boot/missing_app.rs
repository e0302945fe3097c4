//! Owns the message about an app's path that leads nowhere: which folder an instance stands for, and what a service
//! cannot see. Never here: what an app is.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::instance;
use crate::name::InstanceName;

/// Why there is nothing at a path, and what to write; `None` when there is something, or when no reason is known.
pub(super) fn explained(path: &Path, instance: &InstanceName, is_service: bool) -> Option<String> {
    if path.exists() {
        return None;
    }
    let target = fs::read_link(path).map(|target| path.parent().unwrap_or(path).join(target)).ok();
    let leads = match &target {
        Some(target) => format!("{} is a link to {}, which", path.display(), target.display()),
        None => path.display().to_string(),
    };
    let real = target.as_deref().unwrap_or(path);
    if is_service && HOMES.iter().any(|homes| real.starts_with(homes)) {
        return Some(format!(
            "{leads} is in a home, and a service is shown no homes: move the app below {APPS}; or let the server see it, by \
             `systemctl edit rip-server@{instance}` with `[Service]` and `BindReadOnlyPaths={}`, and allow it by \
             `roots = [\"{APPS}\", \"{}\"]` under [sandbox] of /etc/rip-server/{instance}.toml (others need to be able to \
             pass through the folders that lead there)",
            real.display(),
            real.parent().unwrap_or(real).display()
        ));
    }
    if target.is_some() {
        return Some(format!("{leads} is not there"));
    }
    let shown = path.display();
    let other = Path::new(APPS).join(dashed(instance));
    let stands_for = instance::folder(Path::new(APPS), instance.as_str()).is_ok_and(|folder| folder == path);
    (stands_for && other != path).then(|| {
        format!(
            "instance `{instance}` stands for {shown}, or for {}, and neither is there: make one of them, or say where the \
             app is in /etc/rip-server/{instance}.toml (`app = \"…\"`). In an instance's name a dash is a slash, and \
             `\\x2d` a dash: `systemd-escape --path {}` prints the name of a folder",
            other.display(),
            other.strip_prefix(APPS).unwrap_or(&other).display()
        )
    })
}

/// The folder's name, with each dash as it is.
fn dashed(instance: &InstanceName) -> PathBuf {
    instance.as_str().replace("\\x2d", "-").into()
}

const APPS: &str = "/srv/rip";
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &str, instance: &str, is_service: bool) -> Option<String> {
        explained(Path::new(path), &InstanceName::parse(instance).unwrap(), is_service)
    }

    #[test]
    fn a_path_in_a_home_is_told_with_what_lets_it_be_seen() {
        let told = said("/home/nobody-there/app", "app", true).unwrap();
        for part in ["is in a home", "BindReadOnlyPaths=/home/nobody-there/app", "\"/home/nobody-there\"]"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert_eq!(said("/home/nobody-there/app", "app", false), None);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_told_with_where_it_leads() {
        let dir = tempfile::tempdir().unwrap();
        let link = |name: &str, target: &str| {
            let path = dir.path().join(name);
            std::os::unix::fs::symlink(target, &path).unwrap();
            said(path.to_str().unwrap(), "app", true).unwrap()
        };
        let home = link("home", "/home/nobody-there/app");
        assert!(home.contains("is a link to /home/nobody-there/app, which is in a home"), "{home}");
        assert!(home.contains("BindReadOnlyPaths=/home/nobody-there/app"), "{home}");
        let gone = link("current", "releases/5");
        assert!(gone.ends_with("releases/5, which is not there"), "{gone}");
    }

    #[test]
    fn an_instance_without_a_folder_is_told_how_dashes_are_written() {
        let told = said("/srv/rip/nobody/there", "nobody-there", true).unwrap();
        for part in
            ["/srv/rip/nobody/there, or for /srv/rip/nobody-there", r"`\x2d` a dash", "systemd-escape --path"]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert_eq!(said("/srv/rip/nobody", "nobody", true), None);
        assert_eq!(said("/etc/passwd", "nobody-there", true), None);
    }
}
