//! The launcher's check of a server's request, as a function of bytes that panics when a promise of the launcher is
//! broken.
//!
//! Every test run calls the function with seeded inputs, and the targets of `tests/fuzz` call it for as long as one
//! likes. Never in a program that serves.

use std::path::Path;

use super::check::{self, Allowed};
use crate::backend::systemd::dbus::StartRequest;
use crate::backend::systemd::properties::{Scope, UnitStreams, WorkerUnit, properties};
use crate::config::sandbox;
use crate::name::InstanceName;

/// A request as JSON is refused, or systemd can read nothing in it in another way, and the worker's app lies where the
/// admin lets apps lie.
pub fn start_request(data: &[u8]) {
    let Ok(request) = serde_json::from_slice::<StartRequest>(data) else { return };
    let (Ok(instance), Ok(mut admin)) =
        (InstanceName::parse("labs-api"), sandbox::read(Path::new("/nonexistent/labs-api.toml")))
    else {
        return;
    };
    admin.sandbox.roots = vec![ROOT.into()];
    let Ok(allowed) = check::request(&request, &instance, &admin, Path::new("/nonexistent/passwd")) else {
        return;
    };
    let Allowed { app, visible } = &allowed;
    assert!(visible.starts_with(ROOT) && visible != Path::new(ROOT), "{}", visible.display());
    assert!(Path::new(&request.directory).starts_with(visible));
    let real = Path::new(&request.directory).canonicalize();
    assert!(real.is_ok_and(|real| real == Path::new(&request.directory)), "{}", request.directory);
    for text in [&request.directory, &request.fingerprint] {
        assert!(!text.contains(['%', '"', '\\', ':', '\n', '\0']), "{text:?}");
    }
    for (name, value) in &request.environment {
        assert!(
            !name.is_empty() && !name.contains(['=', '\n', '\0', ' ']) && !value.contains('\0'),
            "{name:?}"
        );
    }
    let worker = WorkerUnit {
        request: &request,
        instance: &instance,
        app,
        sandbox: &admin.sandbox,
        scope: Scope::System,
        hidden: &[],
        scripts: None,
        visible,
        program: Path::new("/usr/bin/rip-server"),
        streams: UnitStreams::Journal(None),
    };
    let names: Vec<&str> = properties(&worker).iter().map(|(name, _)| *name).collect();
    for needed in ["DynamicUser", "NoNewPrivileges", "ProtectSystem", "InaccessiblePaths", "SystemCallFilter"]
    {
        assert!(names.contains(&needed), "{needed}");
    }
}

/// A folder whose folders every system has.
const ROOT: &str = "/usr";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::feed_kept;

    const ROUNDS: usize = 5_000;

    #[test]
    fn requests_for_units_keep_their_promises() {
        feed_kept("start_request", ROUNDS, start_request);
    }
}
