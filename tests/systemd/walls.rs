//! The files and services that a worker, and the server itself, can get at.

crate::on_both! {
    workers_reach_their_own_and_nothing_else
    units_score_well
}

mod cases {
    use crate::app::{SERVICE, encoded};
    use crate::machine::Machine;

    pub(super) fn workers_reach_their_own_and_nothing_else(m: Machine) {
        let m = m.with_app();
        m.write("/srv/rip/labs/api/probe.py", include_str!("probe.py"));
        m.write("/srv/rip/labs/api/rip.toml", "command = [\"/usr/bin/python3\", \"probe.py\"]\n");
        m.write("/srv/rip/labs/secret", "of another app");
        m.write("/srv/rip/other/secret", "of another app");
        m.write("/home/somebody/secret", "of a person");
        m.write("/etc/rip-server/labs-api.env", "TOKEN=of-this-app\n");
        m.write("/etc/rip-server/other.env", "TOKEN=of-another-app\n");
        m.ok("chmod 0600 /etc/rip-server/*.env; chmod 0644 /srv/rip/other/secret /home/somebody/secret; mkdir -p /srv/given; chmod 1777 /srv/given");
        m.ok(&format!("systemctl start {SERVICE}"));
        let server = m.server_pid();
        let key = m.ok("grep -l 'PRIVATE KEY' -r /var/lib/rip-server/labs-api/certs | head -n 1");
        assert!(!key.is_empty(), "no key is where it is looked for");

        for (what, expression) in [
            ("read the server's keys and registry", "os.listdir('/var/lib/rip-server')".to_owned()),
            ("read the registry by its path", "open('/var/lib/rip-server/labs-api/registry.json').read()".into()),
            ("read a key by its path", format!("open('{key}').read()")),
            ("read settings", "os.listdir('/etc/rip-server')".into()),
            ("read another app's secrets", "open('/etc/rip-server/other.env').read()".into()),
            ("read another app", "open('/srv/rip/other/secret').read()".into()),
            ("read what lies beside it", "open('/srv/rip/labs/secret').read()".into()),
            ("read homes", "open('/home/somebody/secret').read()".into()),
            ("use the control socket", "connect('/run/rip-server/labs-api.sock')".into()),
            ("use the control socket behind the link", "connect('/run/rip-server/.control/labs/api.sock')".into()),
            ("use any socket of the server", "connect('/run/rip-server/' + os.listdir('/run/rip-server/labs-api/p')[0])".into()),
            ("see the server", format!("open('/proc/{server}/environ').read()")),
            ("signal the server", format!("os.kill({server}, 0)")),
            ("write to its own code", "open('/srv/rip/labs/api/probe.py', 'a')".into()),
            ("write to the system", "open('/usr/bin/x', 'w')".into()),
            ("write to a folder that is not given", "open('/srv/given/x', 'w')".into()),
            ("become root", "os.setuid(0)".into()),
            ("mount", "subprocess.run(['mount', '-t', 'tmpfs', 'x', '/tmp'], check=True)".into()),
            ("make namespaces", "subprocess.run(['unshare', '-r', 'true'], check=True)".into()),
            ("start units", "subprocess.run(['systemd-run', '--no-ask-password', 'true'], check=True)".into()),
            ("call the launcher", "subprocess.run(['busctl', 'call', 'org.rip_server.Launcher1', '/org/rip_server/Launcher1', 'org.rip_server.Launcher1', 'StopWorker', 'st', 'x', '1'], check=True)".into()),
            ("open devices", "open('/dev/kmsg')".into()),
            ("change how the kernel works", "open('/proc/sys/kernel/hostname', 'r+')".into()),
            ("restart the machine", "open('/proc/sysrq-trigger', 'w')".into()),
            ("move interrupts", "open('/proc/irq/default_smp_affinity', 'r+')".into()),
            ("see where the kernel's functions are", "open('/proc/kallsyms').read()".into()),
        ] {
            let said = m.get(&format!("/{}", encoded(&expression))).body;
            let refused = said.contains("Error:");
            assert!(refused, "{expression}: {said}");
            m.holds(&format!("a worker cannot {what}"), refused);
        }
        for (what, expression, result) in [
            ("knows its secrets", "os.environ['TOKEN']", "of-this-app"),
            ("reads its code", "len(open('probe.py').read()) > 100", "True"),
            ("has a place that lasts", "open(os.environ['STATE_DIRECTORY'] + '/x', 'w').write('kept')", "4"),
            ("has a cache", "open(os.environ['CACHE_DIRECTORY'] + '/x', 'w').write('kept')", "4"),
            ("has a /tmp of its own", "open('/tmp/x', 'w').write('kept')", "4"),
            ("writes where the admin lets it", "open('/srv/meet/x', 'w').write('kept')", "4"),
            ("runs programs", "subprocess.check_output(['echo', 'hi'])", "b'hi\\n'"),
            ("has the network", "len(socket.socket().getsockname())", "2"),
            (
                "has no capability",
                "open('/proc/self/status').read().split('CapBnd:')[1].split()[0]",
                "0000000000000000",
            ),
        ] {
            m.same(
                &format!("a worker {what}"),
                m.get(&format!("/{}", encoded(expression))).body,
                result.to_owned(),
            );
        }
        let unit = &m.worker_units()[0];
        m.holds(
            "secrets are not in the unit's properties",
            !m.ok(&format!("systemctl show '{unit}'")).contains("of-this-app"),
        );
        m.ok(&format!("systemctl reload {SERVICE}"));
        let kept = m.get(&format!("/{}", encoded("open(os.environ['STATE_DIRECTORY'] + '/x').read()"))).body;
        m.same("what a worker kept is there after a deploy", kept, "kept".into());

        m.write(
            "/etc/rip-server/labs-api.toml",
            "[app]\nworkers = 1\n[sandbox]\nnetwork = false\nwrite_execute = false\n",
        );
        m.ok(&format!("systemctl restart {SERVICE}"));
        m.until("it is restarted", || {
            m.get(&format!("/{}", encoded("len(os.listdir('/sys/class/net'))")))
                .body
                .parse()
                .is_ok_and(|n: u32| n <= 1)
                || m.worker_units().len() == 1
        });
        let alone = m.get(&format!("/{}", encoded("socket.create_connection(('127.0.0.1', 443))"))).body;
        m.holds("without the network it reaches no port", alone.contains("Error:"));
    }

    pub(super) fn units_score_well(m: Machine) {
        let m = m.serving();
        m.ok("rip-serverctl scale 3");
        let worker = m.worker_units().remove(0);
        for (what, unit, most) in [
            ("the acceptor", "rip-server@labs-api.service", 1.5),
            ("a worker", &*worker, 2.0),
            ("the launcher", "rip-server-launcher.service", 3.0),
            ("the agent", "rip-server-agent.service", 1.5),
        ] {
            let said = m.ok(&format!("systemd-analyze security --no-pager '{unit}' | tail -1"));
            let score: f32 =
                said.split_whitespace().filter_map(|word| word.parse().ok()).next_back().unwrap();
            m.report("systemd", &format!("systemd-analyze security: {what} {score}"));
            m.holds(&format!("{what} scores at most {most}"), score <= most);
        }
        // By what systemd has of them: in a container all of this is read-only or out of reach anyway.
        m.same("the acceptor has /sys read-only", m.show(SERVICE, "ReadOnlyPaths"), "/sys".into());
        m.same(
            "a worker has /proc/sys and /sys read-only",
            m.show(&worker, "ReadOnlyPaths"),
            "/proc/sys /sys".into(),
        );
        let hidden = m.show(&worker, "InaccessiblePaths");
        let secrets = ["/etc/rip-server", "/var/lib/rip-server", "/var/lib/rip-agent", "/var/lib/rip-certs"];
        for path in ["/proc/kallsyms", "/proc/kcore"].into_iter().chain(secrets) {
            m.holds(&format!("{path} is out of a worker's reach"), hidden.contains(path));
        }
        m.same("the acceptor has no capability", m.show(SERVICE, "CapabilityBoundingSet"), String::new());
        let capabilities = m.ok(&format!(
            "grep -E '^Cap(Prm|Eff|Bnd|Amb)' /proc/{}/status | cut -f2 | sort -u",
            m.server_pid()
        ));
        let environ = format!("runuser -u rip-server -- cat /proc/{}/environ", m.server_pid());
        m.holds(
            "servers of other instances cannot read its memory",
            m.fails(&environ).contains("Permission denied"),
        );
        m.same("nor its process", capabilities, "0000000000000000".into());
    }
}
