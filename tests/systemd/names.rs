//! Instances whose names have a dash: as a slash, as a dash, and what both say of their files.

crate::on_both! {
    with_a_dash_are_whichever_is_there
}

mod cases {
    use crate::app::encoded;
    use crate::machine::Machine;

    /// As systemd-escape writes `my-app`.
    const ESCAPED: &str = r"my\x2dapp";

    pub(super) fn with_a_dash_are_whichever_is_there(m: Machine) {
        m.ok("apt-get install -y /root/rip-server.deb");
        m.put_probe("/srv/rip/my-app", "fd");
        reads_its_variables(&m);
        m.ok(&format!("rip-serverctl --instance '{ESCAPED}' stop"));
        is_found_by_its_plain_name(&m);
        two_folders_are_an_error(&m);
        none_is_an_error(&m);
    }

    fn ask(m: &Machine, expression: &str) -> String {
        m.get(&format!("/{}", encoded(expression))).body
    }

    fn reads_its_variables(m: &Machine) {
        let secret = || ask(m, "__import__('os').environ.get('SECRET')");
        m.write(&format!("/etc/rip-server/{ESCAPED}.toml"), "[app]\nworkers = 1\n");
        m.write(&format!("/etc/rip-server/{ESCAPED}.env"), "SECRET=first\n");
        m.write("/etc/rip-server/myx2dapp.env", "SECRET=of another\n");
        m.ok(&format!("chmod 600 /etc/rip-server/*.env; systemctl start 'rip-server@{ESCAPED}'"));
        m.same("the file of variables of an escaped instance is read", secret(), "first".into());
        let workers = m.worker_units();
        m.ok(&format!("systemctl restart 'rip-server@{ESCAPED}'"));
        m.same("a restart keeps the workers", m.worker_units(), workers.clone());
        m.write(&format!("/etc/rip-server/{ESCAPED}.env"), "SECRET=second one\n");
        m.ok(&format!("systemctl restart 'rip-server@{ESCAPED}'"));
        m.until("workers with the new values serve", || secret() == "second one");
        m.until("the old ones are gone", || m.worker_units().iter().all(|unit| !workers.contains(unit)));
        m.holds("after a change of the file a restart replaces them", true);

        // Every character that a pattern could mean something by, in the name of a file that the admin gives.
        m.write("/etc/odd/[a]*? %n\\x.env", "SECRET=odd\n");
        m.write(
            &format!("/etc/rip-server/{ESCAPED}.toml"),
            "[app]\nworkers = 1\n[sandbox]\nenv_file = '/etc/odd/[a]*? %n\\x.env'\n",
        );
        m.ok(&format!("systemctl restart 'rip-server@{ESCAPED}'"));
        m.until("it is read", || secret() == "odd");
        m.holds("a file's name is taken literally", true);
        m.write(&format!("/etc/rip-server/{ESCAPED}.toml"), "[app]\nworkers = 1\n");
    }

    fn is_found_by_its_plain_name(m: &Machine) {
        m.write("/etc/rip-server/my-app.toml", "[app]\nworkers = 1\n");
        m.ok("systemctl start rip-server@my-app");
        let folder = ask(m, "__import__('os').getcwd()");
        m.same(
            "rip-server@my-app serves /srv/rip/my-app where /srv/rip/my/app is not there",
            folder,
            "/srv/rip/my-app".into(),
        );
        for words in ["--instance my-app status", "--instance 'my\\x2dapp' status", "status"] {
            m.ok(&format!("rip-serverctl {words}"));
            m.holds(&format!("rip-serverctl {words} finds it"), true);
        }
        for name in ["my-app", ESCAPED] {
            m.holds(
                &format!("rip-server list --instance='{name}' too"),
                m.run(&format!("rip-server list --instance='{name}'")).code == 0,
            );
        }
        for check in [
            "rip-server check --instance my-app",
            "rip-serverctl check --instance my-app",
            "rip-serverctl --instance my-app check",
        ] {
            m.holds(&format!("{check} looks at it"), m.ok(check).contains("(/srv/rip/my-app)"));
        }
        m.ok("rip-serverctl --instance my-app stop");
        m.ok(&format!("systemctl start 'rip-server@{ESCAPED}'; rip-serverctl --instance my-app stop"));
        m.same(
            "rip-serverctl --instance my-app finds the escaped one too",
            m.run(&format!("systemctl is-active 'rip-server@{ESCAPED}'")).output.trim(),
            "inactive",
        );
        m.ok("mkdir -p /srv/rip/labs; cp -r /srv/rip/my-app /srv/rip/labs/my-app; systemctl start rip-server@labs-my-app");
        let folder = ask(m, "__import__('os').getcwd()");
        m.same("one dash may be a slash and another a dash", folder, "/srv/rip/labs/my-app".into());
        m.ok("rip-serverctl stop");
    }

    fn two_folders_are_an_error(m: &Machine) {
        m.put_probe("/srv/rip/my/app", "fd");
        let both = ["/srv/rip/my/app", "/srv/rip/my-app", ESCAPED];
        for check in ["rip-server check --instance my-app", "rip-serverctl check --instance my-app"] {
            let said = m.fails(check);
            m.holds(
                &format!("{check} names both where both are there"),
                both.iter().all(|part| said.contains(part)),
            );
        }
        m.fails("systemctl start rip-server@my-app");
        let log = m.ok("journalctl --sync; journalctl -q -o cat -u rip-server@my-app");
        m.holds("so does the service, and does not start", both.iter().all(|part| log.contains(part)));
        m.ok("systemctl stop 'rip-server*@my-app.socket'; systemctl reset-failed 'rip-*' || true");
        m.write("/etc/rip-server/my-app.toml", "app = \"/srv/rip/my-app\"\n");
        m.ok("systemctl start rip-server@my-app");
        m.same("the config file decides", ask(m, "__import__('os').getcwd()"), "/srv/rip/my-app".into());
        m.ok("rip-serverctl stop; rm -r /srv/rip/my /srv/rip/my-app");
    }

    fn none_is_an_error(m: &Machine) {
        m.ok("rm /etc/rip-server/my-app.toml");
        m.fails("systemctl start rip-server@my-app");
        let log = m.ok("journalctl --sync; journalctl -q -o cat -u rip-server@my-app");
        let parts =
            ["/srv/rip/my/app, or for /srv/rip/my-app, and neither is there", "systemd-escape --path"];
        m.holds(
            "where none is there it says how a dash is written",
            parts.iter().all(|part| log.contains(part)),
        );
    }
}
