//! The effect of the admin's `[sandbox]` on a worker's unit, as systemd has it.

crate::on_both! {
    is_what_the_admin_says
}

mod cases {
    use crate::app::{SERVICE, encoded};
    use crate::machine::Machine;

    const SETTINGS: &str = r#"
[app]
workers = 1
memory = "100M,300M"

[app.timeouts]
drain = "7s"
kill = "3s"

[sandbox]
writable = ["/srv/given", "/home/somebody/uploads"]
tasks_max = 77
memory_max = "200M"
memory_high = "150M"
cpu_weight = 33
cpu_quota = 50
ip_deny = ["0.0.0.0/0", "::/0"]
ip_allow = ["127.0.0.0/8"]
credentials = ["db:/etc/rip-server/db.key"]
"#;

    pub(super) fn is_what_the_admin_says(m: Machine) {
        let m = m.with_probe("fd");
        m.write("/etc/rip-server/db.key", "of the database");
        m.ok("mkdir /srv/given; chmod 600 /etc/rip-server/db.key");
        m.write("/home/somebody/secret", "of a person");
        m.ok("mkdir -m 1777 /home/somebody/uploads");
        m.write("/etc/rip-server/labs-api.toml", SETTINGS);
        m.ok(&format!("systemctl start {SERVICE}"));
        let unit = &m.worker_units()[0];
        for (property, value) in [
            ("TimeoutStopUSec", "3s"),
            ("TasksMax", "77"),
            ("MemoryMax", "209715200"),
            ("MemoryHigh", "157286400"),
            ("CPUWeight", "33"),
            ("CPUQuotaPerSecUSec", "500ms"),
            ("IPAddressAllow", "127.0.0.0/8"),
            ("CollectMode", "inactive-or-failed"),
            ("KillMode", "control-group"),
            ("Restart", "no"),
            ("DynamicUser", "yes"),
        ] {
            m.same(property, m.show(unit, property), value.into());
        }
        let denied = m.show(unit, "IPAddressDeny");
        m.holds("IPAddressDeny", denied.contains("0.0.0.0/0") && denied.contains("::/0"));
        for (what, expression, result) in [
            ("writes to a folder in a home", "open('/home/somebody/uploads/x', 'w').write('kept')", "4"),
            ("sees nothing else of that home", "os.listdir('/home/somebody')", "['uploads']"),
        ] {
            m.same(
                &format!("a worker {what}"),
                m.get(&format!("/{}", encoded(expression))).body,
                result.into(),
            );
        }
        let secret = encoded("open(os.environ['CREDENTIALS_DIRECTORY'] + '/db').read()");
        m.same(
            "a worker reads its credentials in $CREDENTIALS_DIRECTORY",
            m.get(&format!("/{secret}")).body,
            "of the database".into(),
        );
        m.holds(
            "which are in no property of its unit",
            !m.ok(&format!("systemctl show '{unit}'")).contains("of the database"),
        );
    }
}
