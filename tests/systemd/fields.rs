//! The fields that the journal gives to workers' lines, and what systemd keeps on the disk for them.

crate::on_both! {
    are_of_every_worker_and_leave_nothing_behind
}

mod cases {
    use crate::app::{INSTANCE, SERVICE};
    use crate::machine::Machine;

    const RECYCLES: u64 = 200;

    pub(super) fn are_of_every_worker_and_leave_nothing_behind(m: Machine) {
        m.ok("apt-get install -y /root/rip-server.deb; mkdir -p /srv/rip/labs/api");
        m.write("/srv/rip/labs/api/index.html", "hello");
        m.write(
            "/srv/rip/labs/api/run",
            "#!/bin/sh\necho worker $RIP_WORKER speaks\nexec /usr/bin/rip-server worker-static --root /srv/rip/labs/api\n",
        );
        m.ok("chmod +x /srv/rip/labs/api/run");
        m.write(
            "/srv/rip/labs/api/rip.toml",
            "command = [\"./run\"]\nlisten = \"fd\"\nrecycle = \"1,0s,0r\"\n",
        );
        m.write("/etc/rip-server/labs-api.toml", "[app]\nworkers = 1\n");
        m.ok(&format!("systemctl start {SERVICE}"));
        m.within(async || {
            // Each answer is one that its worker is replaced after.
            while started(&m) <= RECYCLES {
                for _ in 0..10 {
                    crate::http::https(443, "localhost", "/").await.unwrap();
                }
            }
        });
        let units = m.worker_units().len();
        m.until("what was kept of the others goes", || files(&m) <= units + 2);
        m.holds(&format!("after {RECYCLES} recycles nothing is kept of workers that are gone"), true);

        m.ok("journalctl --sync");
        let of = |matches: &str| {
            m.ok(&format!(
                "journalctl -q -o cat _TRANSPORT=stdout RIP_INSTANCE={INSTANCE} {matches} | sort -u"
            ))
        };
        let spoken = of("").lines().filter(|line| line.ends_with("speaks")).count() as u64;
        m.holds(&format!("the lines of all workers are found by instance ({spoken})"), spoken > RECYCLES);
        for worker in [1, 7, RECYCLES] {
            m.same(
                &format!("those of worker {worker} by its number"),
                of(&format!("RIP_APP=api RIP_WORKER={worker}")),
                format!("worker {worker} speaks"),
            );
        }
    }

    /// All that systemd keeps of workers, whatever it is.
    fn files(m: &Machine) -> usize {
        m.ok("ls /run/systemd/units | grep -c '^log-extra-fields:rip-worker-' || true").parse().unwrap()
    }

    fn started(m: &Machine) -> u64 {
        let page = m.ok("rip-serverctl metrics | grep ^rip_worker_starts_total");
        page.rsplit(' ').next().unwrap().parse().unwrap()
    }
}
