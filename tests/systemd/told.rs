//! Faults are told truly by status, journal and check, with the line to write.

crate::on_both! {
    what_a_unit_misses_is_told_with_what_to_write
    a_broken_app_s_own_words_are_among_its_server_s
    a_user_s_workers_are_read_from_her_journal
}

mod cases {
    use crate::app::SERVICE;
    use crate::machine::Machine;

    const SETTINGS: &str = "/etc/rip-server/labs-api.toml";

    pub(super) fn what_a_unit_misses_is_told_with_what_to_write(m: Machine) {
        let m = m.with_probe("fd");
        misses_files(&m);
        leads_out_of_the_roots(&m);
        is_in_a_home(&m);
        cannot_be_read(&m);
    }

    /// Checks the text of status about an app that does not run with these settings.
    fn refused(m: &Machine, settings: &str, parts: &[&str]) {
        m.write(SETTINGS, settings);
        m.ok(&format!("systemctl restart {SERVICE}"));
        let said = m.run("rip-serverctl status").output;
        for part in parts {
            m.holds(&format!("status says: {part}"), said.contains(part));
        }
        m.holds("and does not say that systemd could not be asked", !said.contains("could not be asked"));
    }

    fn misses_files(m: &Machine) {
        for (key, value, path) in [
            ("env_file", "\"/etc/nowhere.env\"", "/etc/nowhere.env is not there"),
            ("writable", "[\"/srv/nowhere\"]", "/srv/nowhere that workers may write to is not there"),
            (
                "credentials",
                "[\"db:/etc/nowhere.key\"]",
                "/etc/nowhere.key of the credential `db` is not there",
            ),
        ] {
            let settings = format!("[app]\nworkers = 1\n[sandbox]\n{key} = {value}\n");
            refused(m, &settings, &[path, &format!("`{key}` under [sandbox] of {SETTINGS}")]);
        }
        m.write("/etc/nowhere.env", "A=1\n");
        m.write(SETTINGS, "[app]\nworkers = 1\n[sandbox]\nenv_file = \"/etc/nowhere.env\"\n");
        m.ok(&format!("systemctl restart {SERVICE}"));
        m.same("once it is there the app serves", m.get("/1%2B1").body, "2".into());
    }

    fn leads_out_of_the_roots(m: &Machine) {
        m.ok("mkdir -p /opt/apps; mv /srv/rip/labs/api /opt/apps/api; ln -s /opt/apps/api /srv/rip/labs/api");
        let line = "roots = [\"/srv/rip\", \"/opt/apps\"]";
        refused(
            m,
            "[app]\nworkers = 1\n",
            &["the directory /opt/apps/api is refused", line, &format!("under [sandbox] of {SETTINGS}")],
        );
        m.write(SETTINGS, format!("[app]\nworkers = 1\n[sandbox]\n{line}\n"));
        m.ok(&format!("systemctl restart {SERVICE}"));
        m.same("with that line it serves", m.get("/1%2B1").body, "2".into());
        m.ok("rm /srv/rip/labs/api; mv /opt/apps/api /srv/rip/labs/api; rip-serverctl stop");
    }

    fn is_in_a_home(m: &Machine) {
        m.ok("mkdir -p /home/ann/apps; cp -r /srv/rip/labs/api /home/ann/apps/api; chmod 755 /home/ann");
        m.write(SETTINGS, "[app]\npath = \"/home/ann/apps/api\"\nworkers = 1\n");
        m.fails(&format!("systemctl start {SERVICE}"));
        let log = m.ok(&format!("journalctl --sync; journalctl -q -o cat -u {SERVICE}"));
        for part in [
            "/home/ann/apps/api is in a home, and a service is shown no homes",
            "BindReadOnlyPaths=/home/ann/apps/api",
            "roots = [\"/srv/rip\", \"/home/ann/apps\"]",
        ] {
            m.holds(&format!("the journal says: {part}"), log.contains(part));
        }
        m.ok("mv /srv/rip/labs/api /srv/rip/labs/real; ln -s /home/ann/apps/api /srv/rip/labs/api");
        m.write(SETTINGS, "[app]\nworkers = 1\n");
        m.fails(&format!("systemctl start {SERVICE}"));
        let log = m.ok(&format!("journalctl --sync; journalctl -q -o cat -u {SERVICE}"));
        let link = "/srv/rip/labs/api is a link to /home/ann/apps/api, which is in a home";
        m.holds("and of a link into a home where it leads", log.contains(link));
        m.ok("rm /srv/rip/labs/api; mv /srv/rip/labs/real /srv/rip/labs/api");
        let drop_in = "[Service]\nBindReadOnlyPaths=/home/ann/apps/api\n";
        m.write("/etc/systemd/system/rip-server@labs-api.service.d/home.conf", drop_in);
        m.write(SETTINGS, "[app]\npath = \"/home/ann/apps/api\"\nworkers = 1\n[sandbox]\nroots = [\"/srv/rip\", \"/home/ann/apps\"]\n");
        m.ok(&format!("systemctl daemon-reload; systemctl reset-failed; systemctl start {SERVICE}"));
        m.same("with what it says to write it serves", m.get("/1%2B1").body, "2".into());
        m.ok("rip-serverctl stop; rm -r /etc/systemd/system/rip-server@labs-api.service.d; systemctl daemon-reload");
    }

    fn cannot_be_read(m: &Machine) {
        let check = "rip-server check --instance labs-api";
        m.write(SETTINGS, "[app]\nworkers = 1\n[sandbox]\nwritable = [\"/srv/nowhere\"]\n");
        let said = m.fails(check);
        m.holds(
            "check as root says what workers would miss",
            said.contains("/srv/nowhere that workers may write to"),
        );
        m.write(SETTINGS, "[app]\nworkers = 1\n");
        m.write(
            "/srv/rip/labs/api/app.py",
            "def application(environ, start_response):\n    start_response('204 Nothing', [])\n    return []\n",
        );
        m.ok(check);
        for (what, wrong, right) in [
            (SETTINGS, format!("chmod 600 {SETTINGS}"), format!("chmod 644 {SETTINGS}")),
            ("/srv/rip/labs/api", "chmod 700 /srv/rip/labs".into(), "chmod 755 /srv/rip/labs".into()),
            (
                "/srv/rip/labs/api/app.py",
                "mv /srv/rip/labs/api/rip.toml /root; chmod 600 /srv/rip/labs/api/app.py".into(),
                "rm /srv/rip/labs/api/app.py; mv /root/rip.toml /srv/rip/labs/api/".into(),
            ),
            (
                "/srv/rip/labs/api/rip.toml",
                "chmod 600 /srv/rip/labs/api/rip.toml".into(),
                "chgrp rip-server /srv/rip/labs/api/rip.toml; chmod 640 /srv/rip/labs/api/rip.toml"
                    .to_owned(),
            ),
        ] {
            m.ok(&wrong);
            let said = m.fails(check);
            m.holds(
                &format!("check as root says that the server cannot read {what}"),
                said.contains(&format!("{what} cannot be read by the user rip-server")),
            );
            m.ok(&format!("{right}; {check}"));
        }
    }

    pub(super) fn a_broken_app_s_own_words_are_among_its_server_s(m: Machine) {
        let m = m.with_app();
        m.set_version("exit");
        m.ok(&format!("systemctl start {SERVICE}"));
        let said = || m.ok(&format!("journalctl --sync; journalctl -q -o cat -u {SERVICE}"));
        m.until("its own error is told", || said().contains("cannot start: told to exit"));
        m.holds("journalctl -u of the server has what the app said when it failed", true);
        m.set_version("v1");
        m.ok(&format!("systemctl reload {SERVICE}"));
        recycling_is_silent(&m);
    }

    fn recycling_is_silent(m: &Machine) {
        m.write(
            SETTINGS,
            "[app]\nworkers = 1\nrecycle = \"0,1s,0r\"\n[sandbox]\nwritable = [\"/srv/meet\"]\n",
        );
        m.ok(&format!("systemctl restart {SERVICE}"));
        let since = m.ok("date +'%F %T.%6N'");
        let starts = || {
            let line = m.ok("rip-serverctl metrics | grep ^rip_worker_starts_total");
            line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
        };
        let before = starts();
        m.until("five were recycled", || starts() >= before + 5);
        let lines = m.ok(&format!("journalctl --sync; journalctl -q -o cat -u {SERVICE} -u rip-server-launcher --since '{since}' | grep -vE ' (GET|POST|HEAD) /' || true"));
        m.same("recycling writes no line when nothing goes wrong", lines, String::new());

        m.ok("printf 'RIP_LOG=debug\\n' >/etc/default/rip-server");
        m.ok(&format!("systemctl restart {SERVICE}"));
        let since = m.ok("date +'%F %T.%6N'");
        let before = starts();
        m.until("five were recycled", || starts() >= before + 5);
        m.write(SETTINGS, "[app]\nworkers = 1\n");
        let lines = m.ok(&format!("journalctl --sync; journalctl -q -o cat -u {SERVICE} --since '{since}' | grep -i 'worker [0-9]' || true"));
        let recycled = lines.lines().filter(|line| line.contains("was recycled")).count();
        m.holds("at debug there is a line for each", recycled >= 4 && recycled == lines.lines().count());
    }

    pub(super) fn a_user_s_workers_are_read_from_her_journal(m: Machine) {
        m.ok("apt-get install -y /root/rip-server.deb; useradd -m -s /bin/sh ann; usermod -a -G systemd-journal ann");
        m.ok("systemd-run --quiet --pipe --wait loginctl enable-linger ann");
        let speaks = "import http.server, socket, sys\nprint('spoken by a worker', flush=True)\n\
            class H(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        self.send_response(204); self.end_headers()\n    \
            def address_string(self): return 'it'\n\
            s = http.server.HTTPServer(('', 0), H, bind_and_activate=False)\ns.socket = socket.socket(fileno=3)\ns.serve_forever()\n";
        for folder in ["blog", "my-app"] {
            m.write(&format!("/home/ann/rip/{folder}/speaks.py"), speaks);
            m.write(
                &format!("/home/ann/rip/{folder}/rip.toml"),
                "command = [\"/usr/bin/python3\", \"speaks.py\"]\nlisten = \"fd\"\nworkers = 1\n",
            );
        }
        m.ok("chown -R ann: /home/ann");
        let id = m.ok("id -u ann");
        let ann = |words: &str| {
            m.run(&format!("runuser -u ann -- env XDG_RUNTIME_DIR=/run/user/{id} DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/{id}/bus {words}"))
        };
        m.until("her manager runs", || m.run(&format!("systemctl is-active user@{id}")).code == 0);
        for instance in ["blog", "my-app"] {
            m.same("it starts", ann(&format!("systemctl --user start rip-server@{instance}")).code, 0);
            m.until("logs of a user's instance has what its worker wrote", || {
                m.run("journalctl --sync");
                ann(&format!("rip-serverctl --instance {instance} logs"))
                    .output
                    .contains("spoken by a worker")
            });
            let name = if instance == "blog" { "blog" } else { "my-app" };
            let json = ann(&format!("rip-serverctl --json --instance {instance} logs")).output;
            m.holds("with its app", json.contains(&format!("\"app\":\"{name}\"")));
            m.same("it stops", ann(&format!("rip-serverctl --instance {instance} stop")).code, 0);
        }
    }
}
