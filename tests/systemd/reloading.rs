//! A reload and the server's own config file: what it takes, what has to wait, and what it makes of a broken one.

crate::on_both! {
    takes_what_it_can_and_says_what_has_to_wait
}

mod cases {
    use crate::app::SERVICE;
    use crate::machine::Machine;

    const FILE: &str = "/etc/rip-server/labs-api.toml";

    pub(super) fn takes_what_it_can_and_says_what_has_to_wait(m: Machine) {
        let m = m.with_app();
        m.write(FILE, config("https = 9443", 2, 512, "redirect_http = true"));
        m.ok(&format!("systemctl start {SERVICE}"));
        let log = || m.ok(&format!("journalctl --sync; journalctl -q -o cat -u {SERVICE}"));
        let said = log();
        m.holds(
            "a port in the file is said to have no effect, with the line that it has",
            said.contains("listen.https = 9443 (/etc/rip-server/labs-api.toml:2:9) has no effect"),
        );
        m.holds(
            "and with what to write instead",
            said.contains("/etc/systemd/system/rip-server-https@labs-api.socket.d/port.conf")
                && said.contains("ListenStream=9443"),
        );
        m.holds(
            "`check` says so before it is started",
            m.ok("rip-server check --instance=labs-api").contains("toml:2:9) has no effect"),
        );

        let server = m.server_pid();
        m.write(
            FILE,
            config("https = 9443", 3, 100, "redirect_http = true\n[limits]\nmax_connections = 500"),
        );
        let printed = m.ok("rip-serverctl deploy");
        m.same("a deploy takes another number of workers", m.worker_pids().len(), 3);
        let tasks = m.worker_units().iter().map(|unit| m.show(unit, "TasksMax")).collect::<Vec<_>>();
        m.holds("and another sandbox", tasks.iter().filter(|tasks| *tasks == "100").count() == 3);
        let waits = "limits.max_connections = 500 (/etc/rip-server/labs-api.toml:";
        m.holds("it prints what needs a restart", printed.contains(&format!("needs a restart: {waits}")));
        m.holds(
            "status shows that",
            m.ok("rip-serverctl status").contains(&format!("needs a restart: {waits}")),
        );
        m.holds("and so does the journal", log().contains(waits));
        m.same("by the same server", m.server_pid(), server.clone());

        for (broken, why) in [
            ("[app]\nworkers = \"many\"\n", "/etc/rip-server/labs-api.toml:2:11"),
            ("nonsense = 1\n", "nonsense"),
            ("[app\n", "/etc/rip-server/labs-api.toml:1"),
        ] {
            m.write(FILE, broken);
            let workers = m.worker_pids();
            m.fails(&format!("systemctl reload {SERVICE}"));
            m.holds(&format!("a reload of a broken file fails, and says {why}"), log().contains(why));
            let said = m.run("rip-serverctl deploy");
            m.holds("so does rip-serverctl deploy", said.code == 6 && said.output.contains(why));
            m.ok(&format!("systemctl kill --kill-whom=main -s HUP {SERVICE}"));
            m.same("all serves on", (m.get("/version").status, m.server_pid()), (200, server.clone()));
            m.same("with the same workers", m.worker_pids(), workers);
        }

        m.write(FILE, config("https = 9443", 1, 100, "redirect_http = true"));
        m.ok(&format!("systemctl reload {SERVICE}"));
        m.same("and once it is mended, a reload takes it", m.worker_pids().len(), 1);
        m.holds("with nothing left that waits", !m.ok("rip-serverctl status").contains("needs a restart"));
        m.same("by the same server", m.server_pid(), server);
    }

    fn config(https: &str, workers: u32, tasks: u32, more: &str) -> String {
        let sandbox = format!("[sandbox]\nwritable = [\"/srv/meet\"]\ntasks_max = {tasks}\n");
        format!("[listen]\n{https}\n{more}\n[app]\nworkers = {workers}\n{sandbox}")
    }
}
