//! How workers end, and what journal, metrics and status say of it.

crate::on_both! {
    are_told_by_their_cause
    of_workers_that_are_stopped_are_told_too
}

mod cases {
    use crate::app::{INSTANCE, SERVICE};
    use crate::machine::Machine;

    const WATCHDOG: &str = "/etc/systemd/system/rip-worker-.service.d/watchdog.conf";

    pub(super) fn are_told_by_their_cause(m: Machine) {
        let m = with_one_worker(m);
        m.ok(&format!("systemctl start {SERVICE}"));
        ends(&m, "exit", "exited with status 7", |m, _| drop(m.get("/die")));
        ends(&m, "signal", "was killed by signal 9", |m, pid| drop(m.run(&format!("kill -9 {pid}"))));
        // Nobody feeds it: the worker's word goes to the server.
        m.write(WATCHDOG, "[Service]\nWatchdogSec=1s\n");
        m.ok(&format!("systemctl daemon-reload; systemctl stop {SERVICE}; systemctl start {SERVICE}"));
        ends(&m, "watchdog", "was killed by its watchdog", |_, _| ());
    }

    pub(super) fn of_workers_that_are_stopped_are_told_too(m: Machine) {
        let m = with_one_worker(m);
        m.ok(&format!("systemctl start {SERVICE}; rip-serverctl deploy"));
        m.until("the old one is counted", || count(&m, "asked") == 1);
        m.holds("a worker that ends when it is told is counted as asked", true);

        m.ok("sed -i 's/MEET =/TERM_IGNORED = \"1\", MEET =/' /srv/rip/labs/api/rip.toml");
        m.ok("rip-serverctl deploy");
        let deaf = m.worker_pids()[0];
        m.ok("rip-serverctl deploy");
        m.until("it is gone", || !m.path(&format!("/proc/{deaf}")).exists());
        m.until("its end is counted", || count(&m, "timeout") == 1);
        m.holds("one that takes no notice is killed, and counted as timeout", true);
        m.same("as neither a signal nor an exit", (count(&m, "signal"), count(&m, "exit")), (0, 0));
        let log = m.ok(&format!("journalctl -q -o cat -u {SERVICE}"));
        m.holds("the journal says that it was killed for taking too long", log.contains(TOO_LONG));
    }

    /// Ends workers in a way until status has told of it: what a pause is for is seen while there is one.
    fn ends(m: &Machine, cause: &str, said: &str, end: impl Fn(&Machine, u64)) {
        let before = count(m, cause);
        m.until(&format!("status says that a worker {said}"), || {
            // The exit code says that no worker is ready, and no more.
            let told = m.run("rip-serverctl status").output.contains(&format!("the last one {said}"));
            let ready = (!told).then(|| idle(m)).flatten();
            if let Some(pid) = ready {
                end(m, pid);
            }
            told
        });
        m.holds(&format!("status says that a worker {said}"), true);
        m.until("it is counted", || count(m, cause) > before);
        m.holds(&format!("metrics count it as {cause}"), true);
        let log = m.ok(&format!("journalctl -q -o cat -u {SERVICE}"));
        m.holds("and the journal says the same as status", log.contains(&format!("exited: {said}")));
    }

    /// The worker that waits for requests.
    fn idle(m: &Machine) -> Option<u64> {
        let workers = m.ctl("workers");
        let list = workers["workers"].as_array()?;
        list.iter().find(|worker| worker["state"] == "idle")?["pid"].as_u64()
    }

    /// How many workers ended so.
    fn count(m: &Machine, cause: &str) -> u64 {
        let page = m.ok(&format!("rip-serverctl --instance {INSTANCE} metrics"));
        let of_cause = |line: &&str| {
            line.starts_with("rip_worker_exits_total{") && line.contains(&format!("cause=\"{cause}\""))
        };
        page.lines().find(of_cause).map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    fn with_one_worker(m: Machine) -> Machine {
        let m = m.with_app();
        m.write(
            "/etc/rip-server/labs-api.toml",
            "[app]\nworkers = 1\nreload = \"none\"\n[app.timeouts]\nkill = \"1s\"\n[sandbox]\nwritable = [\"/srv/meet\"]\n",
        );
        m
    }

    const TOO_LONG: &str = "exited: was killed for taking too long";
}
