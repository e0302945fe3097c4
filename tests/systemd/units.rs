//! Units as admins use them: start, enable, activation by socket, reload, restart, stop, drop-ins.

crate::on_both! {
    starts_serves_and_stops
    the_first_connection_starts_the_server
    comes_back_after_a_reboot_with_its_hosts
    reloads_are_deploys
    listens_where_drop_ins_say
    refuses_sockets_of_the_wrong_kind
    serves_apps_with_any_name
}

mod cases {
    use crate::app::{INSTANCE, SERVICE};
    use crate::http;
    use crate::machine::Machine;

    pub(super) fn starts_serves_and_stops(m: Machine) {
        let m = m.serving();
        let answer = m.get("/version");
        m.same(
            "start returns when the app serves over HTTPS on 443",
            (answer.status, &*answer.body),
            (200, "v1"),
        );
        let plain = m.within(async || http::http(80, "localhost", "/version").await).unwrap();
        let to = "location: https://localhost/version";
        m.holds("port 80 redirects to HTTPS", plain.status == 301 && plain.head.to_lowercase().contains(to));

        m.ok(&format!("rip-serverctl --instance {INSTANCE} add my.localhost"));
        let answer = m.within(async || http::https(443, "my.localhost", "/version").await).unwrap();
        m.same("rip-serverctl add my.localhost adds a host", answer.status, 200);
        let issued = m.within(async || crate::tls::names(443, "my.localhost").await);
        m.holds("and a certificate for it", issued.0.contains(&"my.localhost".to_owned()));
        m.ok("rip-serverctl status");
        m.holds("the only instance need not be named", true);

        m.until("the status is told", || {
            m.ok(&format!("systemctl status {SERVICE}")).contains("with 2 of 2 workers")
        });
        m.holds("systemctl status has a living status line", true);
        let units = m.ok("systemctl list-units --plain --no-legend 'rip-*'");
        for unit in [
            "rip-server@labs-api.service",
            "rip-server-https@labs-api.socket",
            "rip-server-http@labs-api.socket",
            "rip-server-control@labs-api.socket",
            "rip-server.slice",
            "rip-workers.slice",
        ] {
            m.holds(&format!("list-units 'rip-*' shows {unit}"), units.contains(unit));
        }
        m.same("workers are units", m.worker_units().len(), 2);
        m.same(
            "nothing has failed",
            m.ok("systemctl list-units --failed --plain --no-legend"),
            String::new(),
        );

        m.ok(&format!("systemctl stop {SERVICE}"));
        m.same("stop leaves no worker", m.worker_units(), vec![]);
        m.same("no process of either", m.run("pgrep -x rip-server; pgrep python3").output, String::new());
        m.ok("systemctl start rip-server-control@labs-api.socket rip-server-https@labs-api.socket");
        let answer = m.get("/version");
        m.same("a connection to a socket that is opened alone starts it again", answer.status, 200);
        m.ok(&format!("rip-serverctl --instance {INSTANCE} stop"));
        m.until("all has stopped", || m.worker_units().is_empty());
        let refused = m.within(async || http::https(443, "localhost", "/").await);
        m.holds("rip-serverctl stop stops the sockets too", refused.is_err());
        m.same(
            "stopped is not failed",
            m.ok("systemctl list-units --failed --plain --no-legend"),
            String::new(),
        );
    }

    pub(super) fn the_first_connection_starts_the_server(m: Machine) {
        let m = m.with_app();
        m.ok("systemctl start rip-server-https@labs-api.socket");
        m.same(
            "a socket starts no server",
            m.run(&format!("systemctl is-active {SERVICE}")).output.trim(),
            "inactive",
        );
        let answer = m.get("/version");
        m.same("the first connection does, and is answered", (answer.status, &*answer.body), (200, "v1"));
        m.same("as a service", m.ok(&format!("systemctl is-active {SERVICE}")), "active".into());
    }

    pub(super) fn comes_back_after_a_reboot_with_its_hosts(m: Machine) {
        let m = m.with_app();
        m.ok(&format!("systemctl enable --now {SERVICE}"));
        m.same("enable --now starts it", m.get("/version").status, 200);
        m.ok(&format!("rip-serverctl --instance {INSTANCE} add my.localhost"));
        let before = m.leader();
        m.run("systemctl reboot");
        m.until("the machine goes down", || m.leader().is_some() && m.leader() != before);
        m.await_booted();
        m.until("it serves", || m.run(&format!("systemctl is-active {SERVICE}")).code == 0);
        let answer = m.within(async || http::https(443, "my.localhost", "/version").await).unwrap();
        m.same("after a reboot it serves, and knows its hosts", (answer.status, &*answer.body), (200, "v1"));
    }

    pub(super) fn reloads_are_deploys(m: Machine) {
        let m = m.serving();
        let (server, before) = (m.server_pid(), m.worker_pids());
        m.set_version("v2");
        m.ok(&format!("systemctl reload {SERVICE}"));
        m.same("reload returns when the new version serves", m.get("/version").body, "v2".into());
        m.holds("in new workers", m.worker_pids().iter().all(|pid| !before.contains(pid)));
        m.same("of the same server", m.server_pid(), server.clone());

        let good = m.worker_pids();
        m.set_version("exit");
        m.fails(&format!("systemctl reload {SERVICE}"));
        m.holds("a reload with a broken version fails", true);
        m.holds("and the journal says why", m.journal().contains("cannot start: told to exit"));
        m.same("the old version goes on", m.get("/version").body, "v2".into());
        m.same("in the same workers", m.worker_pids(), good);
        m.same("and the service is active", m.ok(&format!("systemctl is-active {SERVICE}")), "active".into());
        m.same("by the same server", m.server_pid(), server);

        m.write("/srv/rip/labs/api/rip.toml", "comand = [\"x\"]\n");
        m.fails(&format!("systemctl reload {SERVICE}"));
        m.holds("so does one with a word in rip.toml that is none", m.journal().contains("comand"));
        m.same("and the old version goes on again", m.get("/version").body, "v2".into());
    }

    pub(super) fn listens_where_drop_ins_say(m: Machine) {
        let m = m.with_app();
        let drop_in = "[Socket]\nListenStream=\nListenStream=127.0.0.1:8443\nListenStream=[::1]:8444\nListenStream=8445\n";
        m.write("/etc/systemd/system/rip-server-https@labs-api.socket.d/ports.conf", drop_in);
        m.ok("systemctl daemon-reload");
        m.ok(&format!("systemctl start {SERVICE}"));
        let answers = m.within(async || {
            let mut answers = Vec::new();
            for port in [8443, 8445] {
                answers.push(http::https(port, "localhost", "/version").await.unwrap().status);
            }
            answers
        });
        m.same("every socket of a drop-in is served", answers, vec![200, 200]);
        let six = m.ok("python3 -c 'import ssl, urllib.request as u; c = ssl._create_unverified_context(); \
             print(u.urlopen(u.Request(\"https://[::1]:8444/version\", headers={\"Host\": \"localhost\"}), context=c).read().decode())'");
        m.same("IPv6 too", six, "v1".into());
        m.ok(&format!("systemctl restart {SERVICE}"));
        let again = m.within(async || http::https(8443, "localhost", "/version").await.unwrap().status);
        m.same("also after a restart", again, 200);
    }

    pub(super) fn refuses_sockets_of_the_wrong_kind(m: Machine) {
        let m = m.with_app();
        let tcp = "a listening TCP socket (ListenStream=443)";
        let unix = "a listening Unix stream socket (ListenStream=/run/..)";
        for (kind, drop_in, said) in [
            (
                "http",
                "[Socket]\nListenStream=\nListenDatagram=127.0.0.1:80\n",
                format!("is called `http` but is an internet socket that is not TCP: expected {tcp}"),
            ),
            (
                "https",
                "[Socket]\nListenStream=\nListenStream=/run/https.sock\n",
                format!("is called `https` but is {unix}: expected {tcp}"),
            ),
            (
                "http",
                "[Socket]\nFileDescriptorName=control\n",
                format!("is called `control` but is {tcp}: expected {unix}"),
            ),
            (
                "http",
                "[Socket]\nFileDescriptorName=htp\n",
                "is called `htp`: expected `https`, `http` or `control`".to_owned(),
            ),
        ] {
            let file = format!("/etc/systemd/system/rip-server-{kind}@labs-api.socket.d/kind.conf");
            m.write(&file, drop_in);
            m.ok("systemctl daemon-reload; systemctl reset-failed 'rip-*' || true");
            let since = m.ok("date +'%F %T.%6N'");
            m.fails(&format!("systemctl start {SERVICE}"));
            // By its words: of a process that has gone already the journal may not find out the name.
            let log = m.ok(&format!("journalctl --sync; journalctl -q --no-pager -o cat --since '{since}'"));
            assert!(log.contains(&said), "{log}");
            m.holds(&format!("refused: a socket that {said}"), true);
            m.ok(&format!("rm {file}"));
            m.ok("systemctl stop 'rip-server*@labs-api.socket'");
        }
    }

    pub(super) fn serves_apps_with_any_name(m: Machine) {
        let m = m.with_app();
        for (folder, port) in [("my-app", 8001), ("shop/über uns", 8002)] {
            m.put_app(&format!("/srv/rip/{folder}"), "named", "/tmp");
            let name = m.ok(&format!("systemd-escape --path '/{folder}'"));
            m.write(
                &format!("/etc/rip-server/{name}.toml"),
                "[app]\nworkers = 1\n[sandbox]\nwritable = [\"/srv/meet\"]\n",
            );
            for (kind, port) in [("https", port), ("http", port + 100)] {
                let drop_in = format!("[Socket]\nListenStream=\nListenStream={port}\n");
                m.write(&format!("/etc/systemd/system/rip-server-{kind}@{name}.socket.d/port.conf"), drop_in);
            }
            m.ok("systemctl daemon-reload");
            m.ok(&format!("systemctl start 'rip-server@{name}'"));
            let answer = m.within(async || http::https(port, "localhost", "/version").await).unwrap();
            m.same(
                &format!("rip-server@{name} serves /srv/rip/{folder}"),
                (answer.status, answer.body),
                (200, "named".into()),
            );
            m.ok(&format!("rip-serverctl --instance '{name}' status"));
            m.ok(&format!("systemctl restart 'rip-server@{name}'"));
            m.ok(&format!("systemctl stop 'rip-server@{name}'"));
        }
    }
}
