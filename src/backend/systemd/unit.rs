//! Owns the names of the units of workers: made from instance, app and number, and read back. Never here: a unit.
//!
//! `rip-worker-INSTANCE-APP-N.service` in `rip-workers-INSTANCE.slice`, each part escaped as systemd.unit(5) says, the
//! dash too, so that no part can be taken for two.

use crate::name::{AppName, InstanceName, WorkerId};

/// The unit of a worker.
pub(crate) fn name(instance: &InstanceName, app: &AppName, worker: WorkerId) -> String {
    format!("rip-worker-{}-{}-{worker}.service", escape(instance.as_str()), escape(app.as_str()))
}

/// The unit of a command that an admin runs as workers run: by the number of the admin's process. Drop-ins for all workers
/// hold for it, and it is no worker of any instance, because no instance has an empty name.
pub(super) fn name_of_command(instance: &InstanceName, app: &AppName, number: u64) -> String {
    format!("rip-worker--{}-{}-{number}.service", escape(instance.as_str()), escape(app.as_str()))
}

/// The pattern that matches all workers' units of an instance and no others. A backslash is an ordinary character to
/// systemd, systemctl and journalctl, which all match by `FNM_NOESCAPE` of fnmatch(3).
pub(crate) fn pattern(instance: &InstanceName) -> String {
    format!("rip-worker-{}-*.service", escape(instance.as_str()))
}

/// The pattern of the units of one app's workers.
pub(crate) fn pattern_of_app(instance: &InstanceName, app: &AppName) -> String {
    format!("rip-worker-{}-{}-*.service", escape(instance.as_str()), escape(app.as_str()))
}

/// The slice of an instance's workers.
pub(crate) fn slice(instance: &InstanceName) -> String {
    format!("rip-workers-{}.slice", escape(instance.as_str()))
}

/// The app and the number of a unit of this instance; `None`: the unit is none of its workers'.
pub(crate) fn parse(instance: &InstanceName, unit: &str) -> Option<(AppName, WorkerId)> {
    let own = format!("rip-worker-{}-", escape(instance.as_str()));
    let (app, number) = unit.strip_prefix(&own)?.strip_suffix(".service")?.split_once('-')?;
    let plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let worker = WorkerId(number.parse().ok().filter(|_| plain)?);
    let app = AppName::parse(&unescape(app)?).ok()?;
    // Only a name in the server's own spelling is its unit's: `+1`, `01` or another escape is not.
    (name(instance, &app, worker) == unit).then_some((app, worker))
}

/// The target that is stopped between a server and its workers when the machine goes down.
pub(super) const TARGET: &str = "rip-workers.target";

/// The unit of an instance's server.
pub(crate) fn server(instance: &InstanceName) -> String {
    format!("rip-server@{instance}.service")
}

/// The instance whose server a unit is: `rip-server@INSTANCE.service`.
pub(crate) fn instance_of_server(unit: &str) -> Option<InstanceName> {
    InstanceName::parse(unit.strip_prefix("rip-server@")?.strip_suffix(".service")?).ok()
}

/// Escapes text without slashes (systemd.unit(5), "String escaping for inclusion in unit names").
fn escape(text: &str) -> String {
    let mut out = String::new();
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'.' if at == 0 => out.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b':' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'\\' {
            let code = after.strip_prefix(b"x")?.get(..2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok()?);
            rest = &after[3..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(text: &str) -> InstanceName {
        InstanceName::parse(text).unwrap()
    }

    fn app(text: &str) -> AppName {
        AppName::parse(text).unwrap()
    }

    #[test]
    fn names_are_escaped_and_read_back() {
        for (owner, of, unit) in [
            ("blog", "blog", "rip-worker-blog-blog-7.service"),
            ("labs-api", "api", "rip-worker-labs\\x2dapi-api-7.service"),
            ("my\\x2dapp", "my-app", "rip-worker-my\\x5cx2dapp-my\\x2dapp-7.service"),
            ("a", "b.c_d", "rip-worker-a-b.c_d-7.service"),
        ] {
            assert_eq!(name(&instance(owner), &app(of), WorkerId(7)), unit);
            assert_eq!(parse(&instance(owner), unit), Some((app(of), WorkerId(7))), "{unit}");
        }
    }

    #[test]
    fn no_unit_belongs_to_two_instances() {
        let one = name(&instance("a"), &app("b-c"), WorkerId(1));
        let other = name(&instance("a-b"), &app("c"), WorkerId(1));
        assert_ne!(one, other);
        assert_eq!(parse(&instance("a-b"), &one), None);
        assert_eq!(parse(&instance("a"), &other), None);
    }

    #[test]
    fn what_is_not_written_as_we_write_it_is_not_ours() {
        for unit in [
            "rip-worker-a-b.service",
            "rip-worker-a-b-.service",
            "rip-worker-a-b-01.service",
            "rip-worker-a-b-+1.service",
            "rip-worker-a-b-1.scope",
            "rip-worker-a-\\x62-1.service",
            "rip-worker-a-\\x6-1.service",
            "rip-worker-a-b-c-1.service",
            "rip-server@a.service",
        ] {
            assert_eq!(parse(&instance("a"), unit), None, "{unit}");
        }
    }

    #[test]
    fn a_server_unit_tells_its_instance() {
        assert_eq!(instance_of_server("rip-server@labs-api.service"), Some(instance("labs-api")));
        for unit in
            ["rip-server@.service", "rip-server.service", "rip-server@a.socket", "xrip-server@a.service"]
        {
            assert_eq!(instance_of_server(unit), None, "{unit}");
        }
    }

    #[test]
    fn a_pattern_keeps_its_backslashes() {
        assert_eq!(pattern(&instance("labs-api")), "rip-worker-labs\\x2dapi-*.service");
        assert_eq!(slice(&instance("labs-api")), "rip-workers-labs\\x2dapi.slice");
    }
}
