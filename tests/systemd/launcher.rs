//! The launcher: what it refuses, and to whom.

crate::on_both! {
    starts_what_the_admin_allows_and_nothing_else
    lets_no_server_touch_workers_of_another
}

mod cases {
    use crate::machine::Machine;

    /// A call of the launcher, in busctl's words: app, worker, generation, directory, command, environment, whether it
    /// says that it is ready, whether it makes a socket of its own, fingerprint, memory, time to end; no listener.
    const GOOD: &str = "app 1 1 /srv/rip/evil 2 /usr/bin/sleep 60 0 true true print 0 1000000 0";

    pub(super) fn starts_what_the_admin_allows_and_nothing_else(m: Machine) {
        m.ok("apt-get install -y /root/rip-server.deb; mkdir -p /srv/rip/evil '/srv/rip/back\\' /srv/foreign; useradd --system other; ln -s /srv/foreign /srv/rip/link");
        with_evil_server(&m);
        let start = |words: &str| as_server(&m, &format!("ask StartWorker '(sttsasa{{ss}}bbstt)ah' {words}"));

        let said = start(GOOD);
        m.holds("what is allowed is started", said.contains("rip-worker-evil-app-1.service"));
        m.same("as a unit", m.worker_units(), vec!["rip-worker-evil-app-1.service".to_owned()]);
        let said = as_server(&m, "ask StopWorker st app 1");
        m.holds("and stopped", !said.contains("Call failed"));
        m.until("it is gone", || m.worker_units().is_empty());

        for (what, call, why) in [
            (
                "a directory outside the roots",
                GOOD.replace("/srv/rip/evil", "/srv/foreign"),
                "/srv/foreign is refused",
            ),
            ("a directory of the system", GOOD.replace("/srv/rip/evil", "/etc"), "/etc is refused"),
            ("a link out of the roots", GOOD.replace("/srv/rip/evil", "/srv/rip/link"), "is refused"),
            (
                "a way out of the roots",
                GOOD.replace("/srv/rip/evil", "/srv/rip/evil/../../foreign"),
                "is refused",
            ),
            ("the root itself", GOOD.replace("/srv/rip/evil", "/srv/rip"), "is refused"),
            ("a name that is none", GOOD.replacen("app", "../app", 1), "is no app's name"),
            ("a variable that is none", GOOD.replace("60 0 true", "60 1 'A=B' x true"), "is refused"),
            ("a backslash in the path", GOOD.replace("/srv/rip/evil", "'/srv/rip/back\\'"), "is refused"),
            ("no command", GOOD.replace("2 /usr/bin/sleep 60", "0"), "command is refused"),
        ] {
            let said = start(&call);
            m.holds(&format!("{what} is refused"), said.contains(why) && m.worker_units().is_empty());
        }
        m.write("/var/lib/rip-server/other/registry.json", "of another instance");
        m.ok("mkdir -m 0755 /run/rip-server/other; chown -R rip-server /var/lib/rip-server/other /run/rip-server/other");
        let said = as_server(
            &m,
            "ls -A /var/lib/rip-server; cat /var/lib/rip-server/other/registry.json; ls -A /run/rip-server",
        );
        m.holds(
            "of other instances a server sees nothing",
            said.contains("evil.sock")
                && said.contains("evil\n")
                && !said.contains("other\n")
                && !said.contains("of another"),
        );

        // A server that was taken over can make links of its folders, and none of the targets is shown to a worker.
        m.write("/home/bob/secret", "of a person");
        m.ok("chmod 0755 /home/bob; chmod 0644 /home/bob/secret");
        let read = "cat /run/rip-server/evil/*/bob/secret /run/rip-server/evil/*/*/bob/secret /run/rip-server/.notify/evil/*/bob/secret /run/rip-server/.notify/evil/bob/secret /run/rip-apps/evil/1/bob/secret; echo looked";
        let plant = "cd /run/rip-server/evil; rm -rf n p scripts; ln -s /home scripts; ln -s /home n; ln -s /home p; ln -s /home x; \
             ln -s /home /run/rip-server/.notify/evil/1; echo into .notify: $?; \
             mv /run/rip-server/.notify/evil /run/rip-server/.notify/y; ln -sT /home /run/rip-server/.notify/evil; echo notify: $?; \
             mkdir /run/rip-apps/evil; ln -s /home /run/rip-apps/evil/1; ln -sT /home /run/rip-apps/evil; echo apps: $?; \
             mv /run/rip-server/evil /run/rip-server/z; echo itself: $?; ";
        let looking = GOOD.replace("2 /usr/bin/sleep 60", &format!("3 /bin/sh -c '{read}; sleep 60'"));
        let said = as_server(&m, &format!("{plant} ask StartWorker '(sttsasa{{ss}}bbstt)ah' {looking}"));
        for own in ["notify: 1", "apps: 1", "itself: 1"] {
            m.holds(&format!("a server cannot replace what workers are shown ({own})"), said.contains(own));
        }
        m.holds("it can put a link into it", said.contains("into .notify: 0"));
        let worker = "rip-worker-evil-app-1.service";
        m.until("a worker has looked", || {
            m.ok(&format!("journalctl -q -o cat -u {worker}")).contains("looked")
        });
        m.holds(
            "a worker is shown nothing that a link of the server's leads to",
            !m.ok(&format!("journalctl -q -o cat -u {worker}")).contains("of a person"),
        );
        m.ok(&format!(
            "systemctl stop {worker}; rm -rf /run/rip-server/.notify/evil/* /run/rip-server/evil/*"
        ));

        let said = as_server(&m, "ask SignalWorker sts app 1 STOP");
        m.holds("a signal that is not a server's to send is refused", said.contains("STOP` is refused"));
        for user in ["root", "rip-server", "nobody-knows"] {
            m.write("/etc/rip-server/evil.toml", format!("[sandbox]\nuser = \"{user}\"\n"));
            let said = start(GOOD);
            m.holds(
                &format!("user = \"{user}\" is refused, in the admin's own file too"),
                said.contains(&format!("user `{user}` is refused")),
            );
        }
        m.ok("printf '[sandbox]\\nuser = \"other\"\\n' >/etc/rip-server/evil.toml; chmod 666 /etc/rip-server/evil.toml");
        m.holds(
            "settings that others may write are not believed",
            start(GOOD).contains("could have been written by others than root"),
        );
        m.ok("rm /etc/rip-server/evil.toml");
        m.same("nothing of that has left a unit", m.worker_units(), vec![]);
        m.holds(
            "refusals are in the journal",
            m.ok("journalctl -q -o cat -u rip-server-launcher").contains("is refused"),
        );

        let server = "systemd-run --quiet --pipe --wait -p User=rip-server";
        m.fails(&format!("{server} ask StopWorker st app 1"));
        let strangers =
            || m.ok("journalctl --sync; journalctl -q -o cat -u rip-server-launcher | grep -c '^refused: '");
        m.same("the server's user in another unit is refused", strangers(), "1".into());
        let said = m.fails("systemd-run --quiet --pipe --wait -p User=other ask StopWorker st app 1");
        m.holds(
            "another user is refused by the bus",
            said.contains("AccessDenied") || said.contains("Access denied"),
        );
        m.fails("ask StopWorker st app 1");
        m.same("root without an instance too", strangers(), "2".into());
        let said = as_server(
            &m,
            "systemd-run --no-ask-password --unit rip-worker-evil-app-9 /usr/bin/id; echo \"code $?\"",
        );
        m.holds(
            "the server itself may not start units",
            said.contains("code 1") && m.worker_units().is_empty(),
        );
        let said = as_server(&m, "systemctl --no-ask-password stop dbus.socket; echo \"code $?\"");
        m.holds("nor stop them", !said.contains("code 0"));
        m.until("the launcher ends when nobody calls", || {
            m.run("systemctl is-active rip-server-launcher").output.trim() == "inactive"
        });
        m.holds("the launcher ends when nobody calls", true);
    }

    pub(super) fn lets_no_server_touch_workers_of_another(m: Machine) {
        let m = m.serving();
        m.ok("mkdir -p /srv/rip/evil");
        with_evil_server(&m);
        let workers = m.ctl("workers");
        let (pids, number) = (m.worker_pids(), workers["workers"][0]["worker"].clone());
        for call in [format!("StopWorker st api {number}"), format!("SignalWorker sts api {number} KILL")] {
            let said = as_server(&m, &format!("ask {call}; echo asked"));
            m.holds(&format!("another instance asks for {call}"), said.contains("asked"));
        }
        m.same("and the worker stays", m.worker_pids(), pids);
        m.same("and answers", m.get("/version").status, 200);
    }

    /// A server that has been taken over: what it asks for is in a file, what comes of it in another.
    fn with_evil_server(m: &Machine) {
        m.write("/usr/local/bin/ask", "#!/bin/sh\nbusctl --timeout=20 -- call org.rip_server.Launcher1 /org/rip_server/Launcher1 org.rip_server.Launcher1 \"$@\" 2>&1\n");
        m.write(
            "/usr/local/bin/evil",
            "#!/bin/sh\n. /srv/rip/evil/script >/run/rip-server/evil/said 2>&1\nexit 0\n",
        );
        m.ok("chmod +x /usr/local/bin/ask /usr/local/bin/evil");
        m.write("/etc/systemd/system/rip-server@evil.service.d/evil.conf",
            "[Service]\nType=oneshot\nExecStart=\nExecStart=/usr/local/bin/evil\nSockets=\nWatchdogSec=0\nRestart=no\n");
        for (kind, port) in [("https", 8443), ("http", 8080)] {
            let drop_in = format!("[Socket]\nListenStream=\nListenStream={port}\n");
            m.write(&format!("/etc/systemd/system/rip-server-{kind}@evil.socket.d/port.conf"), drop_in);
        }
        m.ok("systemctl daemon-reload");
    }

    /// Runs lines of the shell as the server of instance `evil`, in its unit.
    fn as_server(m: &Machine, script: &str) -> String {
        m.write("/srv/rip/evil/script", script);
        let since = m.ok("date +'%F %T.%6N'");
        m.ok("rm -f /run/rip-server/evil/said; systemctl reset-failed 2>/dev/null; systemctl start rip-server@evil");
        let said = std::fs::read_to_string(m.path("/run/rip-server/evil/said")).unwrap();
        // busctl makes every refusal "Access denied"; the launcher's own words are in the journal.
        let said = said
            + &m.ok(&format!(
                "journalctl --sync; journalctl -q -o cat -u rip-server-launcher --since '{since}'"
            ));
        m.ok("systemctl stop rip-server@evil");
        said
    }
}
