//! The content of the journal: fields, levels, every line of apps, every access record.

crate::on_both! {
    has_fields_levels_and_every_line
    has_every_access_record
}

mod cases {
    use serde_json::Value;

    use crate::app::{INSTANCE, SERVICE};
    use crate::http;
    use crate::machine::Machine;

    pub(super) fn has_fields_levels_and_every_line(m: Machine) {
        let m = m.with_app();
        m.write("/srv/rip/labs/api/loud", "#!/bin/sh\nprintf 'Traceback:\\n  one\\n    two\\n' >&2\necho '<3>it is bad'\nexec /usr/bin/python3 worker.py\n");
        m.ok("chmod +x /srv/rip/labs/api/loud; sed -i 's|^command.*|command = [\"./loud\"]|' /srv/rip/labs/api/rip.toml");
        m.write(
            "/etc/rip-server/labs-api.toml",
            "[app]\nworkers = 1\n[sandbox]\nwritable = [\"/srv/meet\"]\n",
        );
        m.ok(&format!("systemctl start {SERVICE}"));
        m.same("it serves", m.get("/version").status, 200);

        m.until("the record is written", || records(&m, "RIP_REQUEST_ID").len() == 1);
        let record = &records(&m, "RIP_REQUEST_ID")[0];
        for (field, value) in
            [("RIP_INSTANCE", INSTANCE), ("_SYSTEMD_UNIT", "rip-server@labs-api.service"), ("PRIORITY", "6")]
        {
            m.same(&format!("an access record has {field}"), record[field].as_str(), Some(value));
        }
        for field in ["RIP_APP", "RIP_WORKER", "RIP_GENERATION", "RIP_REQUEST_ID", "RIP_STATUS"] {
            m.holds(&format!("and {field}"), record[field].is_string());
        }
        let ready = &records(&m, "RIP_TO=ready")[0];
        for (field, value) in [("RIP_FROM", "starting"), ("RIP_TO", "ready"), ("RIP_GENERATION", "1")] {
            m.same(
                &format!("what becomes of a worker is told with {field}"),
                ready[field].as_str(),
                Some(value),
            );
        }
        m.holds("and with its worker", ready["RIP_WORKER"].is_string());
        m.holds("it says what was asked", record["MESSAGE"].as_str().unwrap().contains("/version"));

        let lines = records(&m, "RIP_GENERATION=1 _TRANSPORT=stdout");
        let texts: Vec<_> = lines.iter().map(|line| line["MESSAGE"].as_str().unwrap()).collect();
        let wanted = ["Traceback:", "  one", "    two", "it is bad"];
        m.holds(
            "lines of an app are kept as they are, in order",
            texts.windows(4).any(|four| four == wanted),
        );
        let bad = lines.iter().find(|line| line["MESSAGE"] == "it is bad").unwrap();
        m.same("with the level the app says", bad["PRIORITY"].as_str(), Some("3"));
        for field in ["RIP_INSTANCE", "RIP_APP", "RIP_WORKER", "RIP_GENERATION"] {
            m.holds(&format!("and {field}"), bad[field].is_string());
        }
        m.same("by the app's name", bad["SYSLOG_IDENTIFIER"].as_str(), record["RIP_APP"].as_str());
        let logs = m.ok("rip-serverctl logs");
        m.holds("rip-serverctl logs shows them", logs.contains("    two"));

        m.set_version("exit");
        m.fails(&format!("systemctl reload {SERVICE}"));
        let errors = m.ok(&format!("journalctl -q -o cat -p warning -u {SERVICE}"));
        m.holds("a rejection is more than a notice", errors.contains("generation rejected"));
        m.holds("ordinary things are not", !errors.contains("/version"));
        let of_all = m.ok("journalctl -q -o cat -u 'rip-server@*'");
        m.holds(
            "journalctl -u 'rip-server@*' shows what happens",
            of_all.contains("labs-api") && of_all.contains("ready"),
        );
    }

    pub(super) fn has_every_access_record(m: Machine) {
        m.ok("apt-get install -y /root/rip-server.deb");
        m.ok("mkdir -p /srv/rip/hello && cp /usr/share/doc/rip-server/examples/hello/* /srv/rip/hello/ && systemctl start rip-server@hello");
        // More than a service may write in 30 s by default.
        let count = m.within(async || http::many(443, "/counted", 12_000).await);
        m.same("all are answered", count, 12_000);
        let written = || {
            m.ok("journalctl -q -o cat -u rip-server@hello RIP_REQUEST_ID 2>/dev/null; journalctl -q -o cat -u rip-server@hello | grep -c /counted").lines().last().unwrap().parse::<u32>().unwrap()
        };
        let dropped = || m.ok("rip-serverctl metrics | grep ^rip_access_records_dropped_total");
        m.until("all records are written", || written() >= 12_000 || !dropped().ends_with(" 0"));
        m.same("12000 requests at once have 12000 records", written(), 12_000);
        m.holds("and none is counted as dropped", dropped().ends_with(" 0"));
        m.holds("the journal has suppressed nothing", !m.ok("journalctl -q -o cat").contains("Suppressed"));
    }

    /// Entries of the instance that have a field, or match.
    fn records(m: &Machine, with: &str) -> Vec<Value> {
        let (matches, field) = if with.contains('=') { (with, "MESSAGE") } else { ("", with) };
        let text = m.ok(&format!("journalctl -q -o json RIP_INSTANCE={INSTANCE} {matches}"));
        let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        entries.filter(|entry| entry[field].is_string()).collect()
    }
}
