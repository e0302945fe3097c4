//! Workers as units: what they are, how they die, who finds them again.

crate::on_both! {
    are_transient_units
    are_replaced_when_they_die
    have_names_that_nothing_else_ever_has
    outlive_a_restart_and_a_crash_of_the_server
    are_looked_for_where_they_listen_whatever_they_set
    give_way_when_they_would_be_started_differently
    end_with_a_server_that_failed_for_good
    serve_by_path_by_port_and_with_a_jit
}

mod cases {
    use std::collections::BTreeMap;

    use crate::app::{INSTANCE, SERVICE};
    use crate::machine::Machine;

    pub(super) fn are_transient_units(m: Machine) {
        let m = m.serving();
        let units = m.worker_units();
        m.holds(
            "named by instance, app and number",
            units.iter().all(|unit| unit.starts_with("rip-worker-labs\\x2dapi-")),
        );
        for (property, value) in [
            ("Type", "exec"),
            ("Transient", "yes"),
            ("DynamicUser", "yes"),
            ("Restart", "no"),
            ("CollectMode", "inactive-or-failed"),
            ("KillMode", "control-group"),
            ("NoNewPrivileges", "yes"),
            ("CapabilityBoundingSet", ""),
            ("ProtectSystem", "strict"),
            ("MemoryDenyWriteExecute", "no"),
            ("Slice", "rip-workers-labs\\x2dapi.slice"),
        ] {
            m.same(&format!("{property}={value}"), m.show(&units[0], property), value.to_owned());
        }
        let user = m.ok(&format!("ps -o user= -p {}", m.worker_pids()[0]));
        m.holds("run by a user of their own", !["root", "rip-server"].contains(&user.trim()));
        let environment = m.show(&units[0], "Environment");
        for name in ["RIP_APP=", "RIP_INSTANCE=labs-api", "RIP_WORKER=", "RIP_GENERATION="] {
            m.holds(&format!("with {name} in the environment"), environment.contains(name));
        }
    }

    pub(super) fn are_replaced_when_they_die(m: Machine) {
        let m = m.serving();
        let before = m.worker_pids();
        m.ok(&format!("kill -9 {}", before[0]));
        m.until("another is in its place", || {
            let now = m.worker_pids();
            now.len() == 2 && !now.contains(&before[0])
        });
        m.holds("a killed worker is replaced", true);
        let cause = "was killed by signal 9";
        m.holds(
            "the journal says how it died",
            m.ok(&format!("journalctl -q -o cat -u {SERVICE}")).contains(cause),
        );
        m.same(
            "no failed unit is left",
            m.ok("systemctl list-units --failed --plain --no-legend"),
            String::new(),
        );
        m.same("a request whose worker dies is answered", m.get("/die").status, 502);
        m.until("its exit is told", || {
            m.ok(&format!("journalctl -q -o cat -u {SERVICE}")).contains("exited with status 7")
        });
        m.holds("an exit too", true);
        m.until("all are there again", || m.worker_pids().len() == 2);
        let unit = &m.worker_units()[0];
        m.ok(&format!("systemctl stop '{unit}'"));
        m.until("there are two again", || m.worker_units().len() == 2 && !m.worker_units().contains(unit));
        m.holds("a worker that an admin stops is replaced", true);
        m.assert_no_violations();
    }

    pub(super) fn have_names_that_nothing_else_ever_has(m: Machine) {
        let m = m.serving();
        let mut known = BTreeMap::new();
        look(&m, &mut known);
        for number in 0..3 {
            let before = m.worker_pids();
            m.ok(&format!("kill -9 {}", before[0]));
            m.until("another is in its place", || {
                let now = m.worker_pids();
                now.len() == 2 && !now.contains(&before[0])
            });
            look(&m, &mut known);
            let server = m.server_pid();
            m.ok(&match number {
                0 => format!("systemctl restart {SERVICE}"),
                1 => format!("kill -9 {server}"),
                _ => format!("systemctl reload {SERVICE}"),
            });
            m.until("two serve", || m.run("rip-serverctl status").code == 0 && m.worker_pids().len() == 2);
            look(&m, &mut known);
        }
        m.same("each start of a worker had a name of its own", known.len(), 7);
    }

    /// Fails when a unit is another process than it was.
    fn look(m: &Machine, known: &mut BTreeMap<String, String>) {
        for unit in m.worker_units() {
            let pid = m.show(&unit, "MainPID");
            // A unit that is on its way out has no process.
            if pid != "0" {
                let before = known.insert(unit.clone(), pid.clone());
                assert!(
                    before.as_ref().is_none_or(|before| *before == pid),
                    "{unit}: {before:?}, then {pid}"
                );
            }
        }
    }

    pub(super) fn outlive_a_restart_and_a_crash_of_the_server(m: Machine) {
        let m = m.serving();
        let workers = m.worker_pids();
        m.ok(&format!("systemctl restart {SERVICE}"));
        m.same("a restart keeps the workers", m.worker_pids(), workers.clone());
        let server = m.server_pid();
        m.ok(&format!("systemctl kill --kill-whom=main -s KILL {SERVICE}"));
        m.until("it is back", || m.server_pid() != server && m.show(SERVICE, "SubState") == "running");
        m.same("kill -9 of the server too", m.worker_pids(), workers.clone());
        m.same("and they serve", m.get("/version").status, 200);
        let adopted = m.ok("rip-serverctl metrics | grep ^rip_worker_adoptions_total");
        m.holds("the metrics count them as adopted", adopted.ends_with(" 2"));
        m.set_version("v2");
        m.ok(&format!("systemctl reload {SERVICE}"));
        let second = m.worker_pids();
        m.holds("a deploy after that replaces them", second.iter().all(|pid| !workers.contains(pid)));
        m.ok(&format!("systemctl restart {SERVICE}"));
        m.same("the new ones outlive the next restart", m.worker_pids(), second);
        m.same("with their version", m.get("/version").body, "v2".into());
        m.ok(&format!("systemctl stop {SERVICE}"));
        m.same("a stop keeps none", m.worker_units(), vec![]);
    }

    pub(super) fn are_looked_for_where_they_listen_whatever_they_set(m: Machine) {
        let m = m.with_app();
        m.ok("sed -i 's/MEET =/HOST = \"127.0.0.1\", PORT = \"3000\", MEET =/' /srv/rip/labs/api/rip.toml");
        m.ok("mkdir /srv/elsewhere; echo elsewhere >/srv/elsewhere/version");
        m.ok("systemd-run --quiet python3 -m http.server --bind 127.0.0.1 -d /srv/elsewhere 3000");
        m.ok(&format!("systemctl start {SERVICE}"));
        m.until("the other program serves", || {
            m.run("python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 3000))'").code == 0
        });
        let workers = m.worker_pids();
        m.ok(&format!("systemctl restart {SERVICE}"));
        m.same("an app with HOST and PORT of its own is kept over a restart", m.worker_pids(), workers);
        m.same("and it is that which answers", m.get("/version").body, "v1".into());
    }

    pub(super) fn give_way_when_they_would_be_started_differently(m: Machine) {
        let m = m.serving();
        let before = m.worker_pids();
        m.set_version("v2");
        m.ok("sed -i 's/MEET =/NEW = \"1\", MEET =/' /srv/rip/labs/api/rip.toml");
        m.ok(&format!("systemctl restart {SERVICE}"));
        m.until("new ones serve", || m.get("/version").body == "v2");
        m.until("the old ones are gone", || {
            m.worker_pids().iter().all(|pid| !before.contains(pid)) && m.worker_units().len() == 2
        });
        m.holds("with other settings old workers serve until new ones do", true);

        // An app that is not served any more.
        m.put_app("/srv/rip/labs/other", "other", "/tmp");
        m.ok(&format!("rip-serverctl --instance {INSTANCE} add other.localhost --app /srv/rip/labs/other"));
        m.until("it has workers", || m.worker_units().len() > 2);
        m.ok(&format!("systemctl kill --kill-whom=main -s STOP {SERVICE}"));
        let gone = r#"{"host":"gone.localhost","path":"/srv/rip/labs/gone","intent":"run"}"#;
        m.write("/var/lib/rip-server/labs-api/registry.json", format!(r#"{{"version":1,"hosts":[{gone}]}}"#));
        m.ok("chown --reference=/var/lib/rip-server/labs-api /var/lib/rip-server/labs-api/registry.json");
        m.ok("rm -f /var/lib/rip-server/labs-api/registry.changes");
        m.ok(&format!("systemctl kill --kill-whom=main -s KILL {SERVICE}"));
        m.until("they are swept away", || !m.worker_units().iter().any(|unit| unit.contains("other")));
        m.holds("workers of apps that are gone are swept away", true);
    }

    pub(super) fn end_with_a_server_that_failed_for_good(m: Machine) {
        let m = m.with_app();
        m.write("/etc/systemd/system/rip-server@.service.d/no.conf", "[Service]\nRestart=no\n");
        m.ok(&format!("systemctl daemon-reload; systemctl start {SERVICE}"));
        m.same("there are workers", m.worker_units().len(), 2);
        m.ok(&format!("systemctl kill --kill-whom=main -s KILL {SERVICE}"));
        m.until("they are stopped", || m.worker_units().is_empty());
        m.holds("the clean-up unit stops the workers of a server that failed for good", true);
    }

    pub(super) fn serve_by_path_by_port_and_with_a_jit(m: Machine) {
        let m = m.with_app();
        let probe = include_str!("probe.py");
        for listen in ["path", "port"] {
            m.write("/srv/rip/labs/api/probe.py", probe);
            let own = format!("command = [\"/usr/bin/python3\", \"probe.py\"]\nlisten = \"{listen}\"\n");
            m.write("/srv/rip/labs/api/rip.toml", own);
            m.ok(&format!("systemctl restart {SERVICE}"));
            m.until("it serves", || m.get("/1%2B1").body == "2");
            m.holds(&format!("a worker with listen = \"{listen}\" serves"), true);
            let workers = m.worker_pids();
            m.ok(&format!("systemctl restart {SERVICE}"));
            m.same(
                "and is kept over a restart",
                (m.get("/1%2B1").body, m.worker_pids()),
                ("2".into(), workers),
            );
        }
        m.ok("rm /srv/rip/labs/api/*");
        m.write("/srv/rip/labs/api/index.js", include_str!("../apps/node-handler/index.js"));
        m.ok(&format!("systemctl restart {SERVICE}"));
        m.until("it serves", || m.get("/").status == 200 && m.ctl("status").to_string().contains("Node"));
        m.holds("Node, with its just-in-time compiler, serves in the sandbox", true);
    }
}
