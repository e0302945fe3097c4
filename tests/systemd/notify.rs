//! What systemd hears of the server, and what it does about it.

crate::on_both! {
    runs_on_with_an_app_that_cannot_start
    takes_its_time_to_start
    is_restarted_when_it_hangs
    says_that_it_reloads
}

mod cases {
    use crate::app::SERVICE;
    use crate::machine::Machine;

    pub(super) fn runs_on_with_an_app_that_cannot_start(m: Machine) {
        let m = m.with_app();
        m.set_version("exit");
        m.ok(&format!("systemctl start {SERVICE}"));
        let answer = m.get("/version");
        m.same("a broken app is answered for with 503", answer.status, 503);
        m.holds("which says so", answer.head.to_lowercase().contains("x-rip-reason: no-worker"));
        let status = m.ok(&format!("systemctl status {SERVICE}"));
        m.holds("and so does systemctl status", status.contains("rejected"));
        m.holds("the reason is in the journal", m.journal().contains("told to exit"));
        m.same("the service is active", m.ok(&format!("systemctl is-active {SERVICE}")), "active".into());
        m.same("and is not restarted", m.show(SERVICE, "NRestarts"), "0".into());
        m.set_version("v2");
        m.ok(&format!("systemctl reload {SERVICE}"));
        m.same("a reload with a working version heals it", m.get("/version").body, "v2".into());
    }

    pub(super) fn takes_its_time_to_start(m: Machine) {
        let m = m.with_app();
        m.write("/etc/systemd/system/rip-server@.service.d/time.conf", "[Service]\nTimeoutStartSec=3s\n");
        m.write("/srv/rip/labs/api/slow", "#!/bin/sh\nsleep 6\nexec /usr/bin/python3 worker.py\n");
        m.ok("chmod +x /srv/rip/labs/api/slow; systemctl daemon-reload");
        m.ok("sed -i 's|^command.*|command = [\"./slow\"]|' /srv/rip/labs/api/rip.toml");
        m.ok(&format!("systemctl start {SERVICE}"));
        m.same("a start longer than TimeoutStartSec= is extended", m.get("/version").body, "v1".into());
        m.same("in one attempt", m.show(SERVICE, "NRestarts"), "0".into());
    }

    pub(super) fn is_restarted_when_it_hangs(m: Machine) {
        let m = m.with_app();
        m.write("/etc/systemd/system/rip-server@.service.d/time.conf", "[Service]\nWatchdogSec=2s\n");
        m.ok(&format!("systemctl daemon-reload; systemctl start {SERVICE}"));
        let (server, workers) = (m.server_pid(), m.worker_pids());
        m.ok(&format!("kill -STOP {server}"));
        m.until("the watchdog bites", || m.show(SERVICE, "NRestarts") == "1" && m.server_pid() != server);
        m.until("it serves again", || m.show(SERVICE, "SubState") == "running");
        m.holds("a server that hangs is restarted by its watchdog", true);
        m.same("and goes on with the same workers", m.worker_pids(), workers);
        m.same("it serves", m.get("/version").status, 200);
        // Longer than the watchdog's time, with nothing to do.
        m.ok("sleep 5");
        m.same("a server without work is not", m.show(SERVICE, "NRestarts"), "1".into());
    }

    pub(super) fn says_that_it_reloads(m: Machine) {
        let m = m.with_app();
        m.write(
            "/srv/rip/labs/api/slow",
            "#!/bin/sh\ntest -e /srv/meet/slow && sleep 3\nexec /usr/bin/python3 worker.py\n",
        );
        m.ok("chmod +x /srv/rip/labs/api/slow; sed -i 's|^command.*|command = [\"./slow\"]|' /srv/rip/labs/api/rip.toml");
        m.ok(&format!("systemctl start {SERVICE}; touch /srv/meet/slow"));
        m.ok("rip-serverctl deploy >/dev/null 2>&1 &");
        m.until("it reloads", || m.show(SERVICE, "ActiveState") == "reloading");
        m.holds("a deploy by rip-serverctl is a reload to systemd", true);
        m.until("it has", || m.show(SERVICE, "ActiveState") == "active");
        m.same("which ends", m.get("/version").status, 200);
    }
}
