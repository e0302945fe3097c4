//! How long it takes from a command to the first answer: printed, never judged.

crate::on_both! {
    from_a_command_to_the_first_answer
}

mod cases {
    use std::time::Duration;

    use tokio::time::Instant;

    use crate::http;
    use crate::machine::Machine;

    const SITE: &str = "/srv/rip/hello";

    pub(super) fn from_a_command_to_the_first_answer(m: Machine) {
        m.ok("apt-get install -y /root/rip-server.deb");
        m.ok(&format!("mkdir -p {SITE} && cp /usr/share/doc/rip-server/examples/hello/* {SITE}"));
        // Not the first start: that one makes a key, and starts the launcher.
        m.ok("systemctl start rip-server@hello");
        let starts = times(|| {
            m.ok("systemctl stop rip-server@hello");
            timed(&m, || drop(m.ok("systemctl start rip-server@hello")))
        });
        m.report("time", &format!("systemctl start of a static site to its first answer: {starts}"));
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

    const ROUNDS: usize = 5;
}
