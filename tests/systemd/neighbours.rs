//! Things that neighbours cannot do to a worker, nor a worker to its server: other users of the machine, other apps.

crate::on_both! {
    a_worker_cannot_lead_its_server_to_another_socket
    other_users_reach_no_worker
    only_a_worker_itself_says_that_it_is_ready
    apps_see_nothing_of_each_other_wherever_they_lie
}

mod cases {
    use crate::app::{SERVICE, encoded};
    use crate::http;
    use crate::machine::Machine;

    pub(super) fn a_worker_cannot_lead_its_server_to_another_socket(m: Machine) {
        let m = m.with_probe("path");
        m.ok(&format!("systemctl start {SERVICE}"));
        m.same("a worker serves by a socket of its own", m.get("/1%2B1").body, "2".into());
        let planted = m.get(&format!(
            "/{}",
            encoded(
                "os.unlink(os.environ['RIP_SOCKET']) or os.symlink('/run/rip-server/labs-api.sock', os.environ['RIP_SOCKET'])"
            )
        ));
        m.same("it can put a link to the control socket there", planted.body, "None".into());
        let answer = m.get("/workers");
        m.holds(
            "the server does not follow it",
            answer.status >= 500 && !answer.body.contains("\"generation\""),
        );
        m.ok("rip-serverctl deploy");
        m.same("the next worker serves", m.get("/1%2B1").body, "2".into());
    }

    /// Everybody can learn of a worker what its unit says, and no more.
    pub(super) fn other_users_reach_no_worker(m: Machine) {
        let m = m.with_probe("path");
        m.ok(&format!("useradd --system stranger; systemctl start {SERVICE}"));
        let socket = variable(&m, &m.worker_units()[0], "RIP_SOCKET");
        for (what, line) in [
            ("connect to it", format!("s.connect('{socket}')")),
            (
                "put another in its place",
                format!("s.bind('{socket}.new'); os.rename('{socket}.new', '{socket}')"),
            ),
            ("remove it", format!("os.unlink('{socket}')")),
            ("list what lies beside it", format!("os.listdir(os.path.dirname('{socket}'))")),
        ] {
            let script = format!("import os, socket; s = socket.socket(socket.AF_UNIX); {line}");
            let said = m.fails(&format!("runuser -u stranger -- python3 -c \"{script}\""));
            m.holds(
                &format!("who knows the path of a worker's socket cannot {what}"),
                said.contains("PermissionError"),
            );
        }
        m.same("the server can", m.get("/1%2B1").body, "2".into());
        let folder = socket.rsplit_once('/').unwrap().0;
        m.ok(&format!("systemctl stop {SERVICE}"));
        m.holds("what a worker had its socket in goes with it", !m.path(folder).exists());
    }

    pub(super) fn only_a_worker_itself_says_that_it_is_ready(m: Machine) {
        let m = m.with_probe("fd");
        // Answers nobody, and is ready when it is told to be.
        m.write("/srv/rip/late/late.py", LATE);
        let own = "command = [\"/usr/bin/python3\", \"late.py\"]\nready_by = \"notify\"\n";
        m.write("/srv/rip/late/rip.toml", own);
        m.ok("mkdir -m 1777 /srv/meet; useradd --system stranger");
        m.write(
            "/etc/rip-server/labs-api.toml",
            "[app]\nworkers = 1\n[sandbox]\nwritable = [\"/srv/meet\"]\n",
        );
        m.ok(&format!("systemctl start {SERVICE}"));
        m.ok("rip-serverctl add late.localhost --app /srv/rip/late");
        let late = || {
            m.ctl("workers")["workers"]
                .as_array()
                .unwrap()
                .iter()
                .find(|worker| worker["app"] == "late")
                .map(|worker| worker["state"].as_str().unwrap().to_owned())
        };
        m.until("it has been started", || m.worker_units().iter().any(|unit| unit.contains("-late-")));
        let unit = m.worker_units().into_iter().find(|unit| unit.contains("-late-")).unwrap();
        m.until("it runs", || m.show(&unit, "ActiveState") == "active");
        let socket = variable(&m, &unit, "NOTIFY_SOCKET");
        let script = format!(
            "import socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'READY=1', '{socket}')"
        );
        m.fails(&format!("runuser -u stranger -- python3 -c \"{script}\""));
        m.same("another user's word does not make a worker ready", late().as_deref(), Some("starting"));
        let sent = m
            .get(&format!(
                "/{}",
                encoded(&format!(
                    "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'READY=1', '{socket}')"
                ))
            ))
            .body;
        // Root's word reaches the server too, behind the other's: it has read both by then.
        m.ok(&format!("python3 -c \"{script}\""));
        m.until("the server has heard of it", || {
            m.ok(&format!("journalctl -q -o cat -u {SERVICE}")).matches("another user says").count() >= 2
        });
        m.same(&format!("nor does another app's ({sent}), nor root's"), late().as_deref(), Some("starting"));
        m.write("/srv/meet/go", "");
        m.until("it is ready", || late().as_deref() == Some("idle"));
        m.holds("its own does", true);
    }

    pub(super) fn apps_see_nothing_of_each_other_wherever_they_lie(m: Machine) {
        let m = m.with_probe("fd");
        m.put_probe("/opt/shop", "fd");
        for folder in ["/srv/rip/other", "/srv/rip/labs/api", "/opt/shop", "/opt/third"] {
            m.write(&format!("{folder}/secret"), "of this app");
        }
        m.write(
            "/etc/rip-server/labs-api.toml",
            "[app]\nworkers = 1\n[[apps]]\npath = \"/opt/shop\"\nhosts = [\"shop.localhost\"]\nworkers = 1\n",
        );
        m.write("/etc/rip-server/third.toml", "[app]\npath = \"/opt/third\"\n");
        m.ok(&format!("systemctl start {SERVICE}"));
        let ask = |host: &'static str, expression: &str| {
            let path = format!("/{}", encoded(expression));
            m.within(async move || http::https(443, host, &path).await).unwrap().body
        };
        let read = |host, path: &str| ask(host, &format!("open('{path}').read()"));
        for (host, own, others) in [
            ("localhost", "/srv/rip/labs/api", ["/srv/rip/other", "/opt/shop", "/opt/third"]),
            ("shop.localhost", "/opt/shop", ["/srv/rip/other", "/srv/rip/labs/api", "/opt/third"]),
        ] {
            m.same(
                &format!("the app in {own} reads its own files"),
                read(host, &format!("{own}/secret")),
                "of this app".into(),
            );
            for other in others {
                m.holds(
                    &format!("and not those in {other}"),
                    read(host, &format!("{other}/secret")).contains("Error:"),
                );
            }
        }
        m.same(
            "an app has shared memory",
            ask("localhost", "open('/dev/shm/x', 'w').write('kept')"),
            "4".into(),
        );
        m.same("that no other app sees", ask("shop.localhost", "os.listdir('/dev/shm')"), "[]".into());

        m.ok(&format!(
            "systemctl stop {SERVICE}; mkdir /data; mv /srv/rip /data/rip; ln -s /data/rip /srv/rip"
        ));
        m.ok(&format!("systemctl start {SERVICE}"));
        m.same(
            "behind a link to the folder of apps an app reads its own files",
            ask("localhost", "open('secret').read()"),
            "of this app".into(),
        );
        for path in ["/srv/rip/other/secret", "/data/rip/other/secret"] {
            m.holds(&format!("and not {path}"), read("localhost", path).contains("Error:"));
        }
    }

    /// Of the environment of a unit.
    fn variable(m: &Machine, unit: &str, name: &str) -> String {
        let environment = m.show(unit, "Environment");
        let found = environment.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("no {name} in {environment}")).to_owned()
    }

    const LATE: &str = r#"
import os, socket, time
while not os.path.exists("/srv/meet/go"):
    time.sleep(0.01)
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
socket.socket(fileno=3).accept()
"#;
}
