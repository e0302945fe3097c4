//! The messages of the server to systemd, and systemd's reactions.

crate::on_both! {
    runs_on_with_an_app_that_cannot_start
    takes_its_time_to_start
    is_restarted_when_it_hangs
    is_restarted_when_one_of_its_loops_hangs
    is_not_restarted_for_what_apps_do
    says_that_it_reloads
    tells_what_it_is_doing
    says_that_it_stops
}

mod cases {
    use crate::app::SERVICE;
    use crate::http;
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
        let m = watched(m);
        m.ok(&format!("systemctl start {SERVICE}"));
        let (server, workers) = (m.server_pid(), m.worker_pids());
        m.ok(&format!("kill -STOP {server}"));
        m.until("the watchdog bites", || m.show(SERVICE, "NRestarts") == "1" && m.server_pid() != server);
        m.until("it serves again", || m.show(SERVICE, "SubState") == "running");
        m.holds("a server that hangs is restarted by its watchdog", true);
        m.same("and goes on with the same workers", m.worker_pids(), workers);
        m.same("it serves", m.get("/version").status, 200);
        three_periods(&m);
        m.same("a server without work is not", m.show(SERVICE, "NRestarts"), "1".into());
    }

    pub(super) fn is_restarted_when_one_of_its_loops_hangs(m: Machine) {
        let m = watched(m);
        m.write("/root/freeze.py", include_str!("freeze.py"));
        m.ok(&format!("systemctl start {SERVICE}"));
        let workers = m.worker_pids();
        freeze(&m, "access-log");
        three_periods(&m);
        m.same("a log that nobody writes restarts no server", m.show(SERVICE, "NRestarts"), "0".into());
        let threads = m.ok(&format!("cat /proc/{}/task/*/comm", m.server_pid()));
        // The manager and the control socket are on the first one; the others accept connections, one for each core.
        let loops: Vec<_> = threads
            .lines()
            .filter(|name| *name == "rip-server" || name.starts_with("serve-"))
            .map(str::to_owned)
            .collect();
        m.holds("there are such threads", loops.len() >= 2 && loops.iter().any(|name| name == "rip-server"));
        for (before, thread) in loops.iter().enumerate() {
            let server = m.server_pid();
            freeze(&m, thread);
            let restarts = (before + 1).to_string();
            m.until("the watchdog bites", || {
                m.show(SERVICE, "NRestarts") == restarts && m.show(SERVICE, "SubState") == "running"
            });
            let log = m.ok(&format!("journalctl -q -o cat -u {SERVICE}"));
            m.same(
                &format!("a server whose thread {thread} hangs is restarted by its watchdog"),
                (log.matches("Failed with result 'watchdog'").count(), m.server_pid() != server),
                (before + 1, true),
            );
        }
        m.same("with the same workers all the time", m.worker_pids(), workers);
        m.same("and serves", m.get("/version").status, 200);
    }

    #[allow(clippy::disallowed_methods, reason = "the task is awaited or aborted below")]
    pub(super) fn is_not_restarted_for_what_apps_do(m: Machine) {
        let m = watched(m);
        m.set_version("exit");
        m.ok(&format!("systemctl start {SERVICE}"));
        let server = m.server_pid();
        three_periods(&m);
        m.same("a rejected app does not make the watchdog bite", m.server_pid(), server.clone());

        m.set_version("v1");
        m.ok(&format!("systemctl reload {SERVICE}"));
        let (restarts, other) = m.within(async || {
            // Both workers: whoever comes now waits in the queue.
            let hangs = ["/hang?name=one", "/hang?name=two"]
                .map(|path| tokio::spawn(http::https(443, "localhost", path)));
            m.until("they hang", || m.run("test -e /srv/meet/at.one -a -e /srv/meet/at.two").code == 0);
            three_periods(&m);
            let other = m.ok("rip-serverctl status");
            hangs.iter().for_each(tokio::task::JoinHandle::abort);
            (m.show(SERVICE, "NRestarts"), other)
        });
        m.same("nor do workers that hang in a request", (restarts, m.server_pid()), ("0".into(), server));
        m.holds("and the server says what it is doing", other.contains("labs-api"));
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

    pub(super) fn tells_what_it_is_doing(m: Machine) {
        let m = m.serving();
        let text = || m.show(SERVICE, "StatusText");
        m.until("the first one", || text().contains("with 2 of 2 workers, 0 requests/s"));
        let quiet = text();
        m.ok("rip-serverctl scale 3");
        m.until("it tells of another worker", || text().contains("with 3 of 3 workers"));
        let silent = text();
        m.until("it tells how much it does", || {
            m.get("/version");
            text() != silent && !text().contains(" 0 requests/s")
        });
        m.holds("STATUS= changes with the workers and the requests while it runs", text() != quiet);
    }

    #[allow(clippy::disallowed_methods, reason = "the task is awaited or aborted below")]
    pub(super) fn says_that_it_stops(m: Machine) {
        let m = m.serving();
        for (how, stop, said) in [
            ("a stop", format!("systemctl stop --no-block {SERVICE}"), "finishing the requests in hand"),
            (
                "a restart",
                format!("systemctl restart --no-block {SERVICE}"),
                "finishing the requests in hand; the workers stay for the next start",
            ),
            // systemd has no part in this one: it learns of it by STOPPING=1 alone.
            (
                "an interrupt",
                format!("systemctl kill --kill-whom=main -s INT {SERVICE}"),
                "finishing the requests in hand",
            ),
        ] {
            m.ok(&format!("rm -f /srv/meet/*.hold; systemctl start {SERVICE}"));
            let (states, answer) = m.within(async || {
                let held = tokio::spawn(http::https(443, "localhost", "/gate?name=hold"));
                m.until("it is at the gate", || m.run("test -e /srv/meet/at.hold").code == 0);
                m.ok(&stop);
                m.until("it is ending", || m.show(SERVICE, "StatusText") == said);
                let states = (m.show(SERVICE, "ActiveState"), m.show(SERVICE, "SubState"));
                m.write("/srv/meet/open.hold", "");
                (states, held.await.unwrap().unwrap())
            });
            m.same(
                &format!("{how} with a request in hand is told: {said}"),
                states,
                ("deactivating".into(), "stop-sigterm".into()),
            );
            m.same("and the request is answered", answer.status, 200);
            m.until("it has ended", || m.show(SERVICE, "ActiveState") != "deactivating");
        }
    }

    /// With a watchdog that does not let the tests wait for long.
    fn watched(m: Machine) -> Machine {
        let m = m.with_app();
        m.write("/etc/systemd/system/rip-server@.service.d/time.conf", "[Service]\nWatchdogSec=2s\n");
        m.ok("systemctl daemon-reload");
        m
    }

    /// Waits until the server has fed its watchdog for three times as long as the watchdog waits.
    fn three_periods(m: &Machine) {
        let fed = || m.show(SERVICE, "WatchdogTimestampMonotonic").parse::<u64>().unwrap();
        let begun = fed();
        m.until("the watchdog is fed for three periods", || fed() >= begun + 6_000_000);
    }

    /// Stops one thread of the server, and no other.
    fn freeze(m: &Machine, thread: &str) {
        let server = m.server_pid();
        m.ok(&format!(
            "rm -f /run/frozen; python3 /root/freeze.py {server} {thread} /run/frozen >/dev/null 2>&1 &"
        ));
        m.until("the thread stands still", || m.run("test -e /run/frozen").code == 0);
    }
}
