//! How long it takes from a command to the first answer, and what that time is made of: printed, never judged.

crate::on_both! {
    from_a_command_to_the_first_answer
}

mod cases {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use serde_json::Value;
    use tokio::time::Instant;

    use crate::http;
    use crate::machine::Machine;

    const SITE: &str = "/srv/rip/hello";
    const SERVICE: &str = "rip-server@hello.service";

    pub(super) fn from_a_command_to_the_first_answer(m: Machine) {
        m.ok("apt-get install -y /root/rip-server.deb");
        m.ok(&format!("mkdir -p {SITE} && cp /usr/share/doc/rip-server/examples/hello/* {SITE}"));
        let first = timed(&m, || drop(m.ok("systemctl start rip-server@hello")));
        // With keys to make, sockets to open and the launcher to start.
        m.report("time", &format!("the very first of all: {} ms", first.as_millis()));
        let mut parts = Vec::new();
        let starts = times(|| {
            m.ok("systemctl stop rip-server@hello");
            let begun = SystemTime::now();
            let mut done = begun;
            let took = timed(&m, || {
                m.ok("systemctl start rip-server@hello");
                done = SystemTime::now();
            });
            parts.push(parts_of_a_start(&m, begun, done, took));
            took
        });
        m.report("time", &format!("systemctl start of a static site to its first answer: {starts}"));
        m.report("time", &format!("of that, {}", medians(&parts)));
        let alone = times(|| {
            // The two are stopped one after the other: the server calls the launcher to end its workers, and a call
            // starts the launcher again.
            m.ok("systemctl stop rip-server@hello && systemctl stop rip-server-launcher");
            timed(&m, || drop(m.ok("systemctl start rip-server@hello")))
        });
        m.report("time", &format!("the same while the launcher does not run yet: {alone}"));
        let restarts = times(|| timed(&m, || drop(m.ok("systemctl restart rip-server@hello"))));
        m.report("time", &format!("systemctl restart of a static site to its next answer: {restarts}"));
        let deploys = times(|| timed(&m, || drop(m.ok("rip-serverctl deploy"))));
        m.report("time", &format!("rip-serverctl deploy of a static site to its next answer: {deploys}"));
        // A worker's unit alone, as the server saw it: from its order to its first answer.
        let log = m.ok("journalctl -q -o json -u rip-server@hello RIP_TO=ready");
        m.holds("and every start of a worker is in the journal", log.lines().count() >= ROUNDS);
    }

    /// From just before the command to the answer of a request that is sent after it.
    fn timed(m: &Machine, command: impl FnOnce()) -> Duration {
        let begun = Instant::now();
        command();
        let answer = m.within(async || http::https(443, "localhost", "/").await).unwrap();
        let took = begun.elapsed();
        assert_eq!(answer.status, 200, "{answer:?}");
        took
    }

    /// The quickest and the middle one of some rounds.
    fn times(round: impl FnMut() -> Duration) -> String {
        let mut took: Vec<_> = std::iter::repeat_with(round).take(ROUNDS).collect();
        took.sort_unstable();
        format!("{} ms at best, median {} ms", took[0].as_millis(), took[ROUNDS / 2].as_millis())
    }

    /// A name for each part of a start, and its microseconds.
    type Parts = Vec<(&'static str, u64)>;

    /// The parts of a start, as systemd and the records of the server tell them.
    fn parts_of_a_start(m: &Machine, begun: SystemTime, done: SystemTime, took: Duration) -> Parts {
        let micros = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
        m.ok("journalctl --sync");
        let invocation = m.show(SERVICE, "InvocationID");
        let log =
            m.ok(&format!("journalctl -q -o json _SYSTEMD_INVOCATION_ID={invocation} _TRANSPORT=journal"));
        let records: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told = |is: &dyn Fn(&Value) -> bool| records.iter().find(|record| is(record)).unwrap();
        let at = |record: &Value| record["_SOURCE_REALTIME_TIMESTAMP"].as_str().unwrap().parse().unwrap();
        let (ordered, ready) =
            (told(&|record| record["RIP_TO"] == "starting"), told(&|record| record["RIP_TO"] == "ready"));
        let worker = format!("rip-worker-hello-hello-{}.service", ordered["RIP_WORKER"].as_str().unwrap());
        let marks = [
            ("systemctl to systemd", time_of(m, SERVICE, "InactiveExitTimestamp")),
            ("the server's sandbox", at(&records[0])),
            ("the server to its order of a worker", at(ordered)),
            ("the order to systemd", time_of(m, &worker, "InactiveExitTimestamp")),
            ("the worker's sandbox", time_of(m, &worker, "ActiveEnterTimestamp")),
            ("the worker", at(ready)),
            ("the server to ready", time_of(m, SERVICE, "ActiveEnterTimestamp")),
            ("back to systemctl", micros(done)),
            ("the request", micros(begun) + took.as_micros() as u64),
        ];
        let mut last = micros(begun);
        let part =
            |(name, at): &(&'static str, u64)| (*name, at.saturating_sub(std::mem::replace(&mut last, *at)));
        marks.iter().map(part).collect()
    }

    /// When a unit was last there, in microseconds since 1970.
    fn time_of(m: &Machine, unit: &str, property: &str) -> u64 {
        let escaped: String = unit
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("_{:02x}", c as u32) })
            .collect();
        let object = format!("/org/freedesktop/systemd1/unit/{escaped}");
        let asked = format!(
            "busctl get-property org.freedesktop.systemd1 {object} org.freedesktop.systemd1.Unit {property}"
        );
        m.ok(&asked).strip_prefix("t ").unwrap().parse().unwrap()
    }

    /// The middle one of each part over all rounds.
    fn medians(rounds: &[Parts]) -> String {
        let median = |part: usize| {
            let mut all: Vec<u64> = rounds.iter().map(|parts| parts[part].1).collect();
            all.sort_unstable();
            format!("{} {:.1} ms", rounds[0][part].0, all[all.len() / 2] as f64 / 1000.0)
        };
        (0..rounds[0].len()).map(median).collect::<Vec<_>>().join(", ")
    }

    const ROUNDS: usize = 5;
}
