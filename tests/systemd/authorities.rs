//! Certificates of an authority on a machine with services: one agent, one account, and who can read what of it.

crate::on_both! {
    one_setting_and_a_host_and_there_is_a_certificate
    servers_of_a_machine_share_the_agent_and_its_account
    what_was_got_outlives_a_reboot_and_an_upgrade
}

mod cases {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tokio::time::Instant;

    use crate::app::{SERVICE, encoded};
    use crate::http;
    use crate::machine::Machine;
    use crate::tls;

    const HOST: &str = "blog.example";
    const PAIR: &str = "/var/lib/rip-certs/blog.example";
    const AGENT: &str = "rip-server-agent.service";

    pub(super) fn one_setting_and_a_host_and_there_is_a_certificate(m: Machine) {
        let m = with_authority(m.with_probe("fd"), 40);
        m.ok(&format!("systemctl start {SERVICE}"));
        let begun = Instant::now();
        m.ok(&format!("rip-serverctl add {HOST}"));
        m.until("the certificate is there", || stored(&m).is_some());
        let got = begun.elapsed();
        m.until("it is served", || stored(&m) == Some(served(&m, 443, HOST)));
        let said = format!("from `add` the certificate is there after {} ms, and served", got.as_millis());
        m.report("time", &format!("{said} after {} ms", begun.elapsed().as_millis()));

        for (what, path, expected) in [
            ("a key is its servers' to read", format!("{PAIR}/privkey.pem"), "640 rip-agent:rip-server"),
            ("so is its folder", PAIR.into(), "750 rip-agent:rip-server"),
            ("the account is the agent's alone", "/var/lib/rip-agent".into(), "700 rip-agent:rip-server"),
            ("and its key", "/var/lib/rip-agent/account.pem".into(), "600 rip-agent:rip-server"),
        ] {
            m.same(what, m.ok(&format!("stat -c '%a %U:%G' {path}")), expected.into());
        }
        let account = "cat /var/lib/rip-agent/account.pem";
        m.holds(
            "a server cannot read the account's key",
            m.fails(&format!("runuser -u rip-server -- {account}")).contains("Permission denied"),
        );
        for (what, path) in [
            ("the account's key", "/var/lib/rip-agent/account.pem".to_owned()),
            ("the key of a certificate", format!("{PAIR}/privkey.pem")),
        ] {
            let said = m.get(&format!("/{}", encoded(&format!("open('{path}').read()")))).body;
            m.holds(&format!("a worker cannot read {what}"), said.contains("Error:"));
        }
        let reach = m.get(&format!("/{}", encoded("connect('/run/rip-agent/agent.sock')"))).body;
        m.holds("nor talk to the agent", reach.contains("Error:"));
        let pid = m.show(AGENT, "MainPID");
        for property in ["CapEff", "CapBnd"] {
            let said = m.ok(&format!("grep {property} /proc/{pid}/status"));
            m.holds(&format!("the agent has no capability ({property})"), said.ends_with("0000000000000000"));
        }

        let plan = m.ok(&format!("rip-serverctl certs plan {HOST}"));
        m.holds("a plan sees our token at port 80", plan.contains("127.0.0.1:80 answers with our token"));
        let before = stored(&m);
        m.ok(&format!("rip-serverctl certs renew {HOST}"));
        m.holds("a renewal on demand ends with the new pair in use", stored(&m) != before);
        m.same("which clients get", Some(served(&m, 443, HOST)), stored(&m));

        let first = stored(&m);
        let renewed = m.within(async || {
            let (begun, mut handshakes) = (Instant::now(), 0);
            while begun.elapsed().as_secs() < 90 {
                let answer = http::https(443, HOST, "/").await.unwrap();
                assert_eq!(answer.status, 200, "{answer:?}");
                handshakes += 1;
                if Some(tls::serial(443, HOST).await) != first {
                    return Some(handshakes);
                }
            }
            None
        });
        m.holds(&format!("it is renewed, and no handshake fails ({renewed:?})"), renewed.is_some());

        m.ok(&format!(
            "echo RIP_TLS_ACME_CHALLENGE=tls-alpn >>/etc/default/rip-server; systemctl restart {SERVICE}"
        ));
        let plan = m.ok(&format!("rip-serverctl certs plan {HOST}"));
        m.holds("a plan sees port 443", plan.contains("127.0.0.1:443 takes connections"));
        m.holds("and looks at port 80 only where it is asked for", !plan.contains(":80 "));
        let before = stored(&m);
        m.ok(&format!("rip-serverctl certs renew {HOST}"));
        m.holds("port 443 alone is enough for a new pair", stored(&m) != before);

        m.ok(&format!("systemctl stop {SERVICE}"));
        m.until("the agent ends when nobody wants certificates", || {
            m.show(AGENT, "ActiveState") == "inactive"
        });
        m.holds("having done well", m.show(AGENT, "Result") == "success");
        m.ok("apt-get purge -y rip-server");
        for folder in ["/var/lib/rip-certs", "/var/lib/rip-agent", "/run/rip-agent"] {
            m.holds(&format!("purging takes {folder}"), m.run(&format!("test ! -e {folder}")).code == 0);
        }
    }

    pub(super) fn servers_of_a_machine_share_the_agent_and_its_account(m: Machine) {
        let m = with_authority(m.with_probe("fd"), 3600);
        m.put_probe("/srv/rip/shop", "fd");
        for (socket, port) in [("https", 8443), ("http", 8080)] {
            m.write(
                &format!("/etc/systemd/system/rip-server-{socket}@shop.socket.d/port.conf"),
                format!("[Socket]\nListenStream=\nListenStream={port}\n"),
            );
        }
        m.ok(&format!("systemctl daemon-reload; systemctl start {SERVICE} rip-server@shop"));
        m.ok(&format!("rip-serverctl --instance labs-api add {HOST}"));
        m.ok("rip-serverctl --instance shop add shop.example");
        m.until("the server on port 80 has its certificate", || stored(&m) == Some(served(&m, 443, HOST)));
        m.until("so has the other one, by the port 80 of the first", || {
            let own = m.run("cat /var/lib/rip-certs/shop.example/fullchain.pem").output;
            serial(own.as_bytes()).is_some_and(|own| own == served(&m, 8443, "shop.example"))
        });
        m.holds("both are certificates that were got", true);
        m.same("by one agent", m.ok("pgrep -c rip-server-agen"), "1".into());
        m.same("with one account", m.ok("ls /var/lib/rip-agent | grep -c '^account-'"), "1".into());
        m.same(
            "that was made once",
            m.ok("journalctl -q -u pebble | grep -c 'accounts in memory'"),
            "1".into(),
        );
        let status = m.run("rip-serverctl --instance shop --json status").output;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let hosts: Vec<&str> =
            status["acme"].as_array().unwrap().iter().map(|host| host["host"].as_str().unwrap()).collect();
        m.same("each server is told of its own hosts", hosts, vec!["shop.example", "shop.local"]);
        m.ok("systemctl kill -s KILL rip-server-agent.service; systemctl stop pebble");
        m.until("an agent that was killed comes back", || m.show(AGENT, "ActiveState") == "active");
        m.same("and what is in use stays in use", Some(served(&m, 443, HOST)), stored(&m));
    }

    pub(super) fn what_was_got_outlives_a_reboot_and_an_upgrade(m: Machine) {
        let m = with_authority(m.with_probe("fd"), 60);
        m.ok(&format!("systemctl enable --now {SERVICE}"));
        m.ok(&format!("rip-serverctl add {HOST}"));
        m.until("there is a certificate", || stored(&m).is_some_and(|own| own == served(&m, 443, HOST)));
        let (account, agent) = (m.ok("cat /var/lib/rip-agent/account.pem"), m.show(AGENT, "MainPID"));
        m.ok("apt-get install -y /root/rip-server-next.deb");
        m.until("an upgrade starts the new agent", || {
            !["0", &agent].contains(&&*m.show(AGENT, "MainPID")) && m.show(AGENT, "ActiveState") == "active"
        });
        let upgraded = stored(&m);
        m.until("which renews", || stored(&m) != upgraded);

        let (before, last) = (m.leader(), stored(&m));
        m.run("systemctl reboot");
        m.until("the machine goes down", || m.leader().is_some() && m.leader() != before);
        m.await_booted();
        m.until("after a reboot it serves", || m.run(&format!("systemctl is-active {SERVICE}")).code == 0);
        m.until("it is renewed, by an authority that has forgotten the account", || {
            stored(&m).is_some_and(|own| Some(&own) != last.as_ref() && own == served(&m, 443, HOST))
        });
        m.same("the key of the account is the same", m.ok("cat /var/lib/rip-agent/account.pem"), account);
        m.ok("apt-get remove -y rip-server");
        m.holds(
            "removing keeps certificates and account",
            m.run(&format!("test -s {PAIR}/privkey.pem -a -s /var/lib/rip-agent/account.pem")).code == 0,
        );
        let left = m.ok("systemctl list-units --all --plain --no-legend 'rip-*' | grep -v not-found || true");
        m.same("and stops the agent", left, String::new());
    }

    /// With pebble as a service, whose certificates live so many seconds, and names that lead to this machine.
    fn with_authority(m: Machine, life: u32) -> Machine {
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &root).unwrap();
        for (file, text) in [("ca.pem", root.pem()), ("own.pem", own.pem()), ("own.key", key.serialize_pem())]
        {
            m.write(&format!("/etc/pebble/{file}"), text);
        }
        m.write("/usr/local/bin/pebble", std::fs::read("/usr/bin/pebble").expect("pebble is installed here"));
        let config = serde_json::json!({ "pebble": {
            "listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000",
            "certificate": "/etc/pebble/own.pem", "privateKey": "/etc/pebble/own.key",
            "httpPort": 80, "tlsPort": 443, "ocspResponderURL": "", "certificateValidityPeriod": life,
        }});
        m.write("/etc/pebble/pebble.json", config.to_string());
        m.write(
            "/etc/systemd/system/pebble.service",
            "[Service]\nExecStart=/usr/local/bin/pebble -config /etc/pebble/pebble.json\n\
             Environment=PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0 PEBBLE_AUTHZREUSE=0\n\
             [Install]\nWantedBy=multi-user.target\n",
        );
        m.ok("chmod 0755 /usr/local/bin/pebble; echo '127.0.0.1 localhost blog.example shop.example' >>/etc/hosts");
        m.ok("systemctl daemon-reload; systemctl enable --now pebble");
        m.write(
            "/etc/default/rip-server",
            "RIP_TLS_ACME=https://localhost:14000/dir\nRIP_TLS_ACME_ROOT=/etc/pebble/ca.pem\n",
        );
        m
    }

    /// The serial number of the certificate in the store.
    fn stored(m: &Machine) -> Option<String> {
        serial(&std::fs::read(m.path(&format!("{PAIR}/fullchain.pem"))).ok()?)
    }

    fn serial(pem: &[u8]) -> Option<String> {
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem).ok()?;
        Some(pem.parse_x509().ok()?.raw_serial_as_string())
    }

    fn served(m: &Machine, port: u16, host: &'static str) -> String {
        m.within(async move || tls::serial(port, host).await)
    }
}
