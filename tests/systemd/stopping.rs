//! The effect of `systemctl stop` and of a look from outside on sockets: the stop closes them, the look starts nothing.

crate::on_both! {
    closes_the_sockets_and_starts_open_them
    is_not_undone_by_looking
}

mod cases {
    use crate::app::{INSTANCE, SERVICE};
    use crate::http;
    use crate::machine::Machine;

    const SECOND: &str = "[Socket]\nListenStream=/run/second.sock\nFileDescriptorName=control\nService=rip-server@labs-api.service\n";

    pub(super) fn closes_the_sockets_and_starts_open_them(m: Machine) {
        let m = m.serving();
        m.ok(&format!("systemctl stop {SERVICE}"));
        all_closed(&m, "systemctl stop closes all sockets");
        m.same(
            "stopped is not failed",
            m.ok("systemctl list-units --failed --plain --no-legend"),
            String::new(),
        );
        m.ok(&format!("systemctl start {SERVICE}"));
        m.same("systemctl start opens them again", m.get("/version").status, 200);

        m.ok(&format!("systemctl enable --now {SERVICE} 2>&1; systemctl disable --now {SERVICE}"));
        all_closed(&m, "so does disable --now");

        // The sockets of a server that failed by itself stay for the next try, and a stop has nothing to stop but them.
        let file = "/etc/rip-server/labs-api.toml";
        m.ok(&format!("cp {file} /root/good.toml; echo 'nonsense = 1' >{file}"));
        m.fails(&format!("systemctl start {SERVICE}"));
        m.same("a server that fails leaves its sockets open", listeners(&m).lines().count(), 2);
        m.ok(&format!("systemctl stop {SERVICE}; cp /root/good.toml {file}; systemctl reset-failed"));
        all_closed(&m, "until it is stopped");

        m.ok("systemctl start rip-server-https@labs-api.socket");
        m.ok(&format!("systemctl stop {SERVICE}"));
        all_closed(&m, "a socket that was started alone is closed by a stop of the server, too");

        m.write("/etc/systemd/system/second.socket", SECOND);
        m.write(
            "/etc/systemd/system/rip-server@labs-api.service.d/second.conf",
            "[Service]\nSockets=second.socket\n",
        );
        m.ok("systemctl mask rip-server-http@labs-api.socket 2>&1; systemctl daemon-reload");
        m.ok(&format!("systemctl start {SERVICE}"));
        m.same("with a socket more, and one masked, it serves", m.get("/version").status, 200);
        let workers = m.worker_pids();
        m.ok(&format!("systemctl restart {SERVICE}"));
        m.same("a restart keeps the workers", m.worker_pids(), workers);
        m.ok(&format!("systemctl stop {SERVICE}"));
        all_closed(&m, "a stop closes what a drop-in adds");
        m.same("too", m.run("systemctl is-active second.socket").output.trim(), "inactive");
        m.same(
            "and nothing has failed",
            m.ok("systemctl list-units --failed --plain --no-legend"),
            String::new(),
        );
    }

    pub(super) fn is_not_undone_by_looking(m: Machine) {
        let m = m.with_app();
        m.write("/etc/systemd/system/second.socket", SECOND);
        m.write(
            "/etc/systemd/system/rip-server@labs-api.service.d/second.conf",
            "[Service]\nSockets=second.socket\n",
        );
        m.ok("systemctl daemon-reload; systemctl start rip-server-control@labs-api.socket rip-server-https@labs-api.socket second.socket");
        let looks = [
            "rip-serverctl status",
            "rip-serverctl list",
            "rip-serverctl --instance labs-api status",
            "rip-serverctl --instance labs-api workers",
            "rip-serverctl --instance labs-api list",
            "rip-serverctl --instance labs-api metrics",
            "rip-serverctl --instance labs-api logs",
            "rip-serverctl --instance labs-api deploy",
            "rip-serverctl --instance labs-api add x.localhost",
            "rip-serverctl --socket /run/rip-server/labs-api.sock status",
            "rip-serverctl --socket /run/second.sock status",
            "rip-server list --instance labs-api",
        ];
        for look in looks {
            let said = m.run(look);
            m.holds(
                &format!("{look} says that it is not running, and how to start it"),
                said.code == 7
                    && said.output.contains("rip-server@labs-api is not running")
                    && said.output.contains("systemctl start rip-server@labs-api"),
            );
            still_stopped(&m);
        }
        for look in [
            "rip-serverctl version",
            "rip-serverctl completions bash",
            "rip-serverctl check /srv/rip/labs/api",
        ] {
            m.ok(look);
            still_stopped(&m);
        }
        m.holds("nothing of that starts it", true);

        // A server that runs is found beside it.
        m.put_app("/srv/rip/shop", "shop", "/tmp");
        for (kind, port) in [("https", 8443), ("http", 8080)] {
            let drop_in = format!("[Socket]\nListenStream=\nListenStream={port}\n");
            m.write(&format!("/etc/systemd/system/rip-server-{kind}@shop.socket.d/port.conf"), drop_in);
        }
        m.ok("systemctl daemon-reload; systemctl start rip-server@shop");
        m.holds("the one that runs is meant", m.ok("rip-serverctl status").contains("shop:"));
        still_stopped(&m);

        m.ok("rip-serverctl --instance labs-api stop");
        all_closed(&m, "rip-serverctl stop closes the sockets of a server that does not run");
        still_stopped(&m);
        let said = m.run("rip-serverctl --instance labs-api status");
        m.holds(
            "without a socket, too, it is said how to start it",
            said.code == 7 && said.output.contains("systemctl start 'rip-server@labs-api'"),
        );
        m.ok(&format!("systemctl start {SERVICE}; rip-serverctl --instance {INSTANCE} status"));
    }

    fn still_stopped(m: &Machine) {
        let state = m.show(SERVICE, "ActiveState");
        assert!(
            state == "inactive" && m.show(SERVICE, "InvocationID").is_empty(),
            "{state}\n{}",
            m.journal()
        );
    }

    #[track_caller]
    fn all_closed(m: &Machine, what: &str) {
        // systemd closes them one after the other once the server is gone, which is when systemctl returns.
        m.until(what, || {
            m.ok("systemctl list-units --plain --no-legend 'rip-server-*@labs-api.socket'").is_empty()
                && listeners(m).is_empty()
        });
        let refused = m.within(async || http::http(80, "localhost", "/").await.is_err());
        m.holds("a connection is refused", refused);
        m.holds("the control socket is gone", !m.path("/run/rip-server/labs-api.sock").exists());
        m.same("and the server is not running", m.run(&format!("systemctl is-active {SERVICE}")).code, 3);
    }

    /// Of the ports, without a connection, which would start something.
    fn listeners(m: &Machine) -> String {
        m.ok("awk '$4 == \"0A\" && $2 ~ /:(01BB|0050)$/ { print $2 }' /proc/net/tcp /proc/net/tcp6")
    }
}
