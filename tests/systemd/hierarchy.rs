//! The backend that runs the workers: units, wherever systemd counts its services; never child processes without being
//! asked for.

crate::on_both! {
    is_told_and_never_guessed
}

mod under_the_legacy_hierarchy {
    #[test]
    fn bookworm() {
        crate::on_legacy(module_path!(), super::cases::under_the_legacy_hierarchy);
    }
}

mod cases {
    use crate::app::SERVICE;
    use crate::machine::{Machine, System};

    pub(super) fn under_the_legacy_hierarchy(m: Machine) {
        let groups = m.ok("cat /proc/1/cgroup");
        m.holds("systemd counts in version 1", groups.contains("name=systemd:/init.scope"));
        let m = m.serving();
        are_units(&m);
        let workers = m.worker_pids();
        m.ok(&format!("systemctl restart {SERVICE}"));
        m.same("and outlive a restart of the server", m.worker_pids(), workers);
        m.ok(&format!("systemctl stop {SERVICE}"));
        m.same("but not its stop", m.worker_units(), vec![]);
        node_serves(&m);
        needs_a_word_to_have_child_processes(&m);
    }

    pub(super) fn is_told_and_never_guessed(m: Machine) {
        let m = m.serving();
        are_units(&m);
        let said = m.ok("rip-server check --instance labs-api");
        let expected = "workers are units of systemd where the server is rip-server@labs-api.service";
        m.holds("check says what they would be", said.contains(expected));
        if m.system() == System::Trixie {
            // A namespace of its own: then /proc/self/cgroup says `0::/`.
            m.write(
                "/etc/systemd/system/rip-server@.service.d/own.conf",
                "[Service]\nProtectControlGroups=private\n",
            );
            m.ok(&format!("systemctl daemon-reload; systemctl restart {SERVICE}"));
            let groups =
                m.ok(&format!("cat /proc/{}/cgroup; nsenter -C -t {0} cat /proc/{0}/cgroup", m.server_pid()));
            m.holds(
                "a server that is told no unit by its control group",
                groups.lines().any(|line| line == "0::/"),
            );
            are_units(&m);
            m.ok("rm -r /etc/systemd/system/rip-server@.service.d; systemctl daemon-reload");
        }
        m.ok(&format!("systemctl stop {SERVICE}"));
        needs_a_word_to_have_child_processes(&m);
    }

    fn are_units(m: &Machine) {
        m.same("workers are units", m.worker_units().len(), 2);
        let user = m.ok(&format!("ps -o user= -p {}", m.worker_pids()[0]));
        m.holds("of a user of their own", !["root", "rip-server"].contains(&user.trim()));
        m.same("that serve", m.get("/version").status, 200);
        let why = "workers are units of systemd: this server is rip-server@labs-api.service";
        m.holds("status says so, and why", m.ok("rip-serverctl status").contains(why));
        m.same("in JSON too", m.ctl("status")["backend"]["name"].as_str(), Some("systemd"));
        m.holds("and the journal", m.ok(&format!("journalctl -q -o cat -u {SERVICE}")).contains(why));
    }

    fn node_serves(m: &Machine) {
        m.ok("rm /srv/rip/labs/api/*");
        m.write("/srv/rip/labs/api/index.js", include_str!("../apps/node-handler/index.js"));
        m.ok(&format!("systemctl start {SERVICE}"));
        m.until("Node serves", || m.get("/").status == 200);
        m.holds("Node serves in its unit", m.worker_units().len() == 2);
        m.ok("systemctl stop rip-server@labs-api; rm /srv/rip/labs/api/*");
        m.put_app("/srv/rip/labs/api", "v1", "/tmp");
    }

    fn needs_a_word_to_have_child_processes(m: &Machine) {
        m.ok("sed -i '1i backend = \"child\"' /etc/rip-server/labs-api.toml");
        m.ok(&format!("systemctl start {SERVICE}"));
        m.same("backend = \"child\" is obeyed", m.worker_units(), vec![]);
        let why = "workers are child processes: `backend = \"child\"` says so";
        m.holds("and told", m.ok("rip-serverctl status").contains(why));
        m.ok("rip-serverctl stop");

        let words = "rip-server /srv/rip/labs/api http:8081 --instance=shop --runtime-dir=/run/shop --state-dir=/var/lib/shop";
        let unit = "systemd-run --quiet --unit shop -p Type=notify";
        m.fails(&format!("{unit} {words}"));
        m.until("the journal says why", || {
            let log = m.ok("journalctl --sync; journalctl -q -o cat -u shop");
            log.contains("as `shop.service`, which is no rip-server@INSTANCE.service")
                && log.contains("RIP_BACKEND=child")
        });
        m.holds("a server in another unit does not start, and says why and what to do", true);
        m.ok("systemctl reset-failed shop || true");
        m.ok(&format!("{unit} -p Environment=RIP_BACKEND=child {words}"));
        let status = || m.ok("rip-serverctl --socket /run/shop.sock status");
        m.holds("unless it is told that child processes will do", status().contains(why));
        m.ok("systemctl stop shop");

        m.ok(&format!("({words} >/tmp/by-hand 2>&1 &)"));
        let by_hand = "child processes: systemd did not start this server";
        m.until("it serves", || m.ok("cat /tmp/by-hand").contains("ready api: "));
        let told = m.ok("cat /tmp/by-hand").contains(by_hand);
        m.holds("started by hand its banner says that workers are child processes", told);
        m.holds("and its status", status().contains(&format!("workers are {by_hand}")));
        m.ok("rip-serverctl --socket /run/shop.sock stop");
    }
}
