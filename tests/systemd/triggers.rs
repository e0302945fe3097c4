//! A server that cannot be started, and clients that go on coming: what that costs the machine, and who says why.

crate::on_both! {
    end_when_the_server_cannot_be_started
}

mod cases {
    use std::time::Duration;

    use tokio::time::timeout;

    use crate::app::SERVICE;
    use crate::http;
    use crate::machine::Machine;

    pub(super) fn end_when_the_server_cannot_be_started(m: Machine) {
        let m = m.serving();
        stay_open_while_the_server_dies(&m);
        let stop = format!("systemctl stop {SERVICE} 'rip-server-*@labs-api.socket'");
        m.ok(&stop);
        end_while_another_program_has_the_port(&m);
        m.ok(&stop);
        end_while_the_state_folder_cannot_be_written(&m);
        m.ok(&stop);
        end_while_a_setting_is_wrong(&m);
    }

    /// The limits that end such loops may not close a socket of a server that dies under load and comes back.
    fn stay_open_while_the_server_dies(m: &Machine) {
        let refused = m.within(async || {
            let mut refused = 0;
            for _ in 0..DEATHS {
                let server = m.server_pid();
                m.ok(&format!("kill -9 {server}"));
                while m.server_pid() == server || m.show(SERVICE, "SubState") != "running" {
                    // Answered by the next server, or cut off with this one.
                    let asked = http::https(443, "localhost", "/version").await;
                    refused += u32::from(is_refused(asked));
                }
            }
            refused
        });
        m.same("no connection is refused while the server dies and comes back", refused, 0);
        m.ok(&format!("systemctl reset-failed {SERVICE}"));
    }

    fn end_while_another_program_has_the_port(m: &Machine) {
        m.ok("systemd-run --quiet --unit taken python3 -m http.server 443");
        m.until("the port is taken", || {
            m.run("python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 443))'").code == 0
        });
        m.fails(&format!("systemctl start {SERVICE}"));
        loop_ends(m, "one connection to 80 while 443 is taken", "http", 80);
        told(m, "Address already in use", "resources");
        m.ok(&format!("systemctl stop taken; systemctl start {SERVICE}"));
        m.same("once the port is free, a start is enough", m.get("/version").status, 200);
    }

    fn end_while_the_state_folder_cannot_be_written(m: &Machine) {
        m.ok("mount -t tmpfs -o ro,mode=755 tmpfs /var/lib/rip-server");
        m.ok("systemctl start rip-server-https@labs-api.socket");
        loop_ends(m, "one connection to 443 while the state folder is read-only", "https", 443);
        told(m, "/var/lib/rip-server/labs-api", "exit-code");
        m.ok(&format!("umount /var/lib/rip-server; systemctl start {SERVICE}"));
        m.same("once it can be written, a start is enough", m.get("/version").status, 200);
    }

    fn end_while_a_setting_is_wrong(m: &Machine) {
        let file = "/etc/rip-server/labs-api.toml";
        m.ok(&format!("cp {file} /root/good.toml; echo 'nonsense = 1' >{file}"));
        m.ok("systemctl start rip-server-https@labs-api.socket");
        let before = lines(m);
        m.within(async || {
            // Each of them starts it.
            while !is_refused(http::https(443, "localhost", "/").await) {}
        });
        let written = lines(m) - before;
        m.holds(
            &format!("a wrong setting with clients coming ends, after {written} lines"),
            written < MOST_LINES,
        );
        let reset = format!("systemctl reset-failed '{SERVICE}'; systemctl start '{SERVICE}'");
        m.until("its end is told", || m.run(&format!("systemctl status {SERVICE}")).output.contains(&reset));
        let said = m.run(&format!("systemctl status {SERVICE}")).output;
        m.holds("systemctl status says what is wrong, and what to do", said.contains("nonsense"));
        let said = m.run("rip-serverctl --instance labs-api status");
        m.same("rip-serverctl status finds none running", said.code, 7);
        m.holds(
            "and says what to do",
            said.output.contains(&format!("systemctl reset-failed {SERVICE}; systemctl start {SERVICE}")),
        );
        m.ok(&format!("cp /root/good.toml {file}; {reset}"));
        m.same("which works once it is mended", m.get("/version").status, 200);
    }

    /// Makes one connection, and follows systemd until the socket by which the connection came is closed.
    fn loop_ends(m: &Machine, what: &str, kind: &str, port: u16) {
        let (before, spent) = (lines(m), spent(m));
        // Unanswered for as long as the loop goes on.
        m.within(async || drop(timeout(PATIENCE, http::http(port, "localhost", "/")).await));
        let socket = format!("rip-server-{kind}@labs-api.socket");
        m.until("the socket is closed", || m.show(&socket, "Result") == "trigger-limit-hit");
        m.same(
            "nothing is queued any more",
            m.ok("systemctl list-jobs --no-legend | grep rip-server@ || true"),
            String::new(),
        );
        let (written, spent) = (lines(m) - before, spent_since(m, spent));
        m.holds(&format!("{what} ends, after {written} lines of the journal"), written < MOST_LINES);
        m.holds(&format!("and {spent} ms of systemd's time"), spent < MOST_TIME);
        let tried = attempts(m);
        let refused = m.within(async || is_refused(http::http(port, "localhost", "/").await));
        m.holds("and then clients are refused", refused);
        m.same("and start nothing", attempts(m), tried);
    }

    /// Why, in each place where an admin looks.
    fn told(m: &Machine, why: &str, result: &str) {
        let start = format!("systemctl start '{SERVICE}'");
        m.until("systemctl status says why, and what to do", || {
            let said = m.run(&format!("systemctl status --full {SERVICE}")).output;
            said.contains(why) && said.contains(&start)
        });
        m.holds("systemctl status says why, and what to do", true);
        let said = m.run("rip-serverctl --instance labs-api status");
        m.same("rip-serverctl status finds none running", said.code, 7);
        m.holds(
            "and says which socket failed, and what to do",
            said.output.contains(&format!("has failed: {result}")) && said.output.contains("systemctl start"),
        );
    }

    fn is_refused<T>(asked: std::io::Result<T>) -> bool {
        asked.err().is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    }

    /// In the journal, all of it.
    fn lines(m: &Machine) -> usize {
        m.ok("journalctl --sync; journalctl -q -o cat | wc -l").parse().unwrap()
    }

    /// To start the server, which failed by another unit.
    fn attempts(m: &Machine) -> usize {
        m.ok("journalctl --sync; journalctl -q -o cat | grep -c 'Dependency failed for rip-server@' || true")
            .parse()
            .unwrap()
    }

    /// Of the first process, in hundredths of a second.
    fn spent(m: &Machine) -> u64 {
        m.ok("awk '{ print $14 + $15 }' /proc/1/stat").parse().unwrap()
    }

    fn spent_since(m: &Machine, before: u64) -> u64 {
        (spent(m) - before) * 10
    }

    const PATIENCE: Duration = Duration::from_secs(30);
    const DEATHS: usize = 8;
    const MOST_LINES: usize = 600;
    const MOST_TIME: u64 = 10_000;
}
