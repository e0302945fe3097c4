//! No request is lost, whatever happens to the parts that only systemd has: every request is counted by how it ended.
//!
//! Each case says beside its name what may be lost; all else is zero. The counts are printed as `load | case | …`.

crate::on_both! {
    /// May be lost: nothing; a connection that rests may be closed while a request is on its way to it.
    restarts_of_the_server
    /// May be lost: what the server had in hand, so at most one for each client and kill.
    kills_of_the_server
    /// May be lost: a POST that the killed worker had in hand.
    kills_of_workers
    /// May be lost: nothing.
    reloads
    /// May be lost: nothing.
    kills_of_the_launcher
    /// May be lost: nothing.
    restarts_of_the_bus_and_of_systemd
    /// As restarts of the server.
    upgrades_of_the_package
    /// May be lost: nothing.
    a_full_disk_of_the_state_folder
}

mod cases {
    use tokio::time::Instant;

    use crate::app::SERVICE;
    use crate::load::{Load, TASKS, Tally};
    use crate::machine::Machine;

    pub(super) fn restarts_of_the_server(m: Machine) {
        let m = m.serving();
        let workers = m.worker_pids();
        let tally = under_load(&m, "systemctl restart", &["v1"], async |load| {
            for _ in 0..3 {
                load.more(300).await;
                let asked = Instant::now();
                m.ok(&format!("systemctl restart {SERVICE}"));
                load.more(100).await;
                let gap = load.longest_gap(asked);
                m.report(
                    "load",
                    &format!(
                        "restart: first answer of the new server after {} ms, longest time without an answer {} ms",
                        gap.over_after.as_millis(),
                        gap.length.as_millis()
                    ),
                );
            }
        });
        m.lost_nothing(&kept_aside(tally));
        m.same("no request is lost in restarts of the server", m.worker_pids(), workers);
        m.assert_no_violations();
    }

    pub(super) fn kills_of_the_server(m: Machine) {
        let m = m.serving();
        let workers = m.worker_pids();
        let tally = under_load(&m, "kill -9 of the server", &["v1"], async |load| {
            for _ in 0..KILLS {
                load.more(300).await;
                let server = m.server_pid();
                m.ok(&format!("systemctl kill --kill-whom=main -s KILL {SERVICE}"));
                m.until("it is back", || {
                    m.server_pid() != server && m.show(SERVICE, "SubState") == "running"
                });
            }
        });
        let mut tally = tally;
        let mut lost = 0;
        for method in ["GET", "POST"] {
            for how in [
                "reset",
                "empty reply",
                "truncated",
                "reset on a kept connection",
                "empty reply on a kept connection",
                "truncated on a kept connection",
            ] {
                let outcome = format!("{method} {how}");
                lost += tally.count(&outcome);
                tally = tally.without(&outcome);
            }
        }
        m.lost_nothing(&tally);
        m.holds(
            &format!("kill -9 of the server loses at most what it had in hand ({lost} in {KILLS} kills)"),
            lost <= KILLS * TASKS,
        );
        m.same("and keeps the workers", m.worker_pids(), workers);
        m.assert_no_violations();
    }

    pub(super) fn kills_of_workers(m: Machine) {
        let m = m.serving();
        let tally = under_load(&m, "kill -9 of workers", &["v1"], async |load| {
            for _ in 0..KILLS {
                load.more(200).await;
                let pid = m.worker_pids()[0];
                m.ok(&format!("kill -9 {pid}"));
                m.until("another is in its place", || {
                    let now = m.worker_pids();
                    now.len() == 2 && !now.contains(&pid)
                });
            }
        });
        let lost = tally.count("POST 502 worker-died");
        m.lost_nothing(&tally.without("POST 502 worker-died"));
        m.holds(
            &format!("kill -9 of workers loses at most the POST in hand ({lost} in {KILLS} kills)"),
            lost <= KILLS,
        );
    }

    pub(super) fn reloads(m: Machine) {
        let m = m.serving();
        let tally = under_load(&m, "systemctl reload", &["v1", "v2", "v3"], async |load| {
            for version in 1..3 {
                load.more(200).await;
                m.set_version(&format!("v{}", version + 1));
                m.ok(&format!("systemctl reload {SERVICE}"));
                load.at_least_version(version);
            }
            load.more(100).await;
            m.set_version("exit");
            m.fails(&format!("systemctl reload {SERVICE}"));
        });
        m.lost_nothing(&tally);
        m.holds("no request is lost in reloads, nor in one that fails", true);
        m.assert_no_violations();
    }

    pub(super) fn kills_of_the_launcher(m: Machine) {
        let m = m.with_app();
        // So that it is called again and again.
        m.write(
            "/etc/rip-server/labs-api.toml",
            "[app]\nworkers = 2\nrecycle = \"60,1h\"\n[sandbox]\nwritable = [\"/srv/meet\"]\n",
        );
        m.ok(&format!("systemctl start {SERVICE}"));
        let mut killed = 0;
        let tally = under_load(&m, "kill -9 of the launcher", &["v1"], async |load| {
            for _ in 0..5 {
                load.more(200).await;
                // The launcher ends by itself when nobody has called for a while.
                m.until("somebody calls it", || {
                    m.run("systemctl kill --kill-whom=main -s KILL rip-server-launcher").code == 0
                });
                killed += 1;
                m.until("it is seen to be killed", || deaths(&m) >= killed);
            }
            load.seen_workers(8).await;
        });
        m.lost_nothing(&tally);
        m.holds("no request is lost when the launcher is killed five times", killed == 5);
        m.assert_no_violations();
    }

    pub(super) fn restarts_of_the_bus_and_of_systemd(m: Machine) {
        let m = m.with_app();
        m.write(
            "/etc/rip-server/labs-api.toml",
            "[app]\nworkers = 2\nrecycle = \"100,1h\"\n[sandbox]\nwritable = [\"/srv/meet\"]\n",
        );
        m.ok(&format!("systemctl start {SERVICE}"));
        let server = m.server_pid();
        let tally = under_load(&m, "bus and systemd", &["v1", "v2"], async |load| {
            for what in [
                "systemctl restart dbus",
                "systemctl daemon-reload",
                "systemctl daemon-reexec",
                "systemctl restart systemd-journald",
            ] {
                load.more(200).await;
                m.ok(what);
                load.more(200).await;
            }
            load.seen_workers(8).await;
            m.set_version("v2");
            m.ok(&format!("systemctl reload {SERVICE}"));
            load.at_least_version(1);
        });
        m.lost_nothing(&tally);
        m.same(
            "no request is lost when the bus, systemd or the journal are restarted, by the same server",
            m.server_pid(),
            server,
        );
        m.until("workers are as many as wanted", || m.worker_units().len() == 2);
        m.assert_no_violations();
    }

    pub(super) fn upgrades_of_the_package(m: Machine) {
        let m = m.serving();
        let (server, workers) = (m.server_pid(), m.worker_pids());
        let tally = under_load(&m, "package upgrade", &["v1"], async |load| {
            load.more(300).await;
            m.ok("apt-get install -y /root/rip-server-next.deb");
        });
        m.lost_nothing(&kept_aside(tally));
        m.holds("an upgrade of the package restarts instances", m.server_pid() != server);
        m.same("keeps workers, and loses no request", m.worker_pids(), workers);
        m.same(
            "to the next version",
            m.ok("dpkg-query -W -f '${Version}' rip-server | grep -c next"),
            "1".into(),
        );
    }

    pub(super) fn a_full_disk_of_the_state_folder(m: Machine) {
        let m = m.with_app();
        m.ok("mount -t tmpfs -o size=256k,mode=755 tmpfs /var/lib/rip-server");
        m.ok(&format!("systemctl start {SERVICE}"));
        let tally = under_load(&m, "full disk", &["v1"], async |load| {
            load.more(100).await;
            m.run("dd if=/dev/zero of=/var/lib/rip-server/full bs=4k 2>/dev/null");
            let said = m.fails("rip-serverctl add full.localhost");
            m.holds(
                "a host that cannot be written down is not added, and why is said",
                said.contains("No space left"),
            );
            load.more(200).await;
            m.set_version("v1");
            m.ok(&format!("systemctl reload {SERVICE}"));
            m.ok("rm /var/lib/rip-server/full; rip-serverctl add full.localhost");
        });
        m.lost_nothing(&tally);
        m.holds("no request is lost while the disk is full", true);
    }

    /// How often systemd has seen the launcher die of SIGKILL.
    fn deaths(m: &Machine) -> usize {
        let log = m.ok("journalctl -q -o cat -u rip-server-launcher");
        log.matches("Main process exited, code=killed, status=9/KILL").count()
    }

    /// Runs the case while requests come in, some more before and after it.
    fn under_load(
        m: &Machine,
        case: &str,
        versions: &[&'static str],
        during: impl AsyncFnOnce(&Load) + Send,
    ) -> Tally {
        let case = format!("{case}, {}", m.system().name());
        m.within(async || {
            let load = Load::start(443, true, versions);
            load.more(100).await;
            during(&load).await;
            load.more(300).await;
            load.finish(&case).await
        })
    }

    /// Leaves connections aside that rested: a client that keeps one has to expect that it is closed.
    fn kept_aside(tally: Tally) -> Tally {
        let mut tally = tally;
        for method in ["GET", "POST"] {
            for how in ["reset", "empty reply"] {
                tally = tally.without(&format!("{method} {how} on a kept connection"));
            }
        }
        tally
    }

    const KILLS: usize = 3;
}
