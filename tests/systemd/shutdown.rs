//! The fate of requests in hand when the machine goes down: of the system's servers, and of users' own.

crate::on_both! {
    lets_requests_in_hand_finish
}

mod cases {
    use crate::app::{INSTANCE, SERVICE, encoded};
    use crate::http;
    use crate::machine::Machine;

    /// Longer than a worker has from SIGTERM to SIGKILL.
    const SLOW: &str = "__import__('time').sleep(8) or 'slept'";

    pub(super) fn lets_requests_in_hand_finish(m: Machine) {
        let m = m.with_probe("fd");
        m.ok(&format!("systemctl enable --now {SERVICE}"));
        let before = m.leader();
        answered(&m, "a reboot", "systemctl reboot", &[(443, "rip-serverctl workers --json".to_owned())]);
        m.until("the machine goes down", || m.leader().is_some() && m.leader() != before);
        m.await_booted();
        m.until("it serves", || m.run(&format!("systemctl is-active {SERVICE}")).code == 0);

        m.ok("useradd -m -s /bin/sh ann; systemd-run --quiet --pipe --wait loginctl enable-linger ann");
        m.put_probe("/home/ann/rip/blog", "fd");
        m.ok("chown -R ann: /home/ann");
        let id = m.ok("id -u ann");
        let ann = |words: &str| {
            format!(
                "runuser -u ann -- env XDG_RUNTIME_DIR=/run/user/{id} DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/{id}/bus {words}"
            )
        };
        m.until("her manager runs", || m.run(&format!("systemctl is-active user@{id}")).code == 0);
        m.ok(&ann("systemctl --user start rip-server@blog"));
        let both = [
            (443, format!("rip-serverctl --instance {INSTANCE} workers --json")),
            (5443, ann("rip-serverctl --instance blog workers --json")),
        ];
        answered(&m, "switching off, beside that of a user's server,", "systemctl poweroff", &both);
    }

    /// Has a request in hand on each port, then the machine go down.
    #[allow(clippy::disallowed_methods, reason = "the tasks are awaited below")]
    fn answered(m: &Machine, how: &str, down: &str, servers: &[(u16, String)]) {
        let path = format!("/{}", encoded(SLOW));
        let answers = m.within(async || {
            let asked: Vec<_> = servers
                .iter()
                .map(|(port, _)| {
                    let (port, path) = (*port, path.clone());
                    tokio::spawn(async move { http::https(port, "localhost", &path).await })
                })
                .collect();
            for (_, workers) in servers {
                m.until("it is in hand", || m.run(workers).output.contains("\"busy\""));
            }
            m.run(down);
            let mut answers = Vec::new();
            for one in asked {
                answers.push(one.await.unwrap());
            }
            answers
        });
        for answer in answers {
            let answer = answer.map(|answer| (answer.status, answer.body));
            m.report("systemd", &format!("{how}: a request of 8 s in hand came to {answer:?}"));
            assert_eq!(answer.unwrap(), (200, "slept".to_owned()), "{how}");
        }
    }
}
