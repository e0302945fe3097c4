//! The sockets that systemd passes: any number of each, never closed, unlinked or bound anew.

crate::on_both! {
    are_served_in_any_number
    stay_the_same_whatever_becomes_of_the_server
}

mod cases {
    use crate::app::SERVICE;
    use crate::http;
    use crate::machine::Machine;

    const MORE: [(&str, &str); 2] = [("https", "ListenStream=8443"), ("http", "ListenStream=127.0.0.1:8080")];
    /// systemd allows one socket in a unit that has `Symlinks=`, as that of the control socket has.
    const SECOND: &str = "[Socket]\nListenStream=/run/second.sock\nFileDescriptorName=control\nService=rip-server@labs-api.service\n";

    pub(super) fn are_served_in_any_number(m: Machine) {
        let m = m.with_app();
        for (kind, more) in MORE {
            let drop_in = format!("[Socket]\n{more}\n");
            m.write(&format!("/etc/systemd/system/rip-server-{kind}@labs-api.socket.d/more.conf"), drop_in);
        }
        m.write("/etc/systemd/system/second.socket", SECOND);
        m.write(
            "/etc/systemd/system/rip-server@labs-api.service.d/second.conf",
            "[Service]\nSockets=second.socket\n",
        );
        m.ok(&format!("systemctl daemon-reload; systemctl start {SERVICE}"));
        for port in [443, 8443] {
            let answer = m.within(async || http::https(port, "localhost", "/version").await).unwrap();
            m.same(&format!("https on {port}"), (answer.status, &*answer.body), (200, "v1"));
        }
        for port in [80, 8080] {
            let answer = m.within(async || http::http(port, "localhost", "/version").await).unwrap();
            m.same(&format!("http on {port}"), answer.status, 301);
        }
        for socket in ["/run/rip-server/labs-api.sock", "/run/second.sock"] {
            let listed = m.ok(&format!("rip-serverctl --socket {socket} list"));
            m.holds(&format!("control on {socket}"), listed.contains("localhost"));
        }
    }

    pub(super) fn stay_the_same_whatever_becomes_of_the_server(m: Machine) {
        let m = m.serving();
        let before = inodes(&m);
        m.same("there are three of them", before.lines().count(), 3);
        m.ok(&format!("systemctl restart {SERVICE}"));
        m.same("a restart keeps the sockets", inodes(&m), before.clone());
        let server = m.server_pid();
        m.ok(&format!("kill -9 {server}"));
        m.until("it is back", || m.server_pid() != server && m.run("rip-serverctl status").code == 0);
        m.same("kill -9 keeps them", inodes(&m), before.clone());
        m.ok(&format!("systemctl try-restart {SERVICE}"));
        m.same("and so does try-restart", inodes(&m), before);
    }

    /// Of the control socket's name, and of the sockets that listen on 443 and 80 (proc_net_tcp(5)).
    fn inodes(m: &Machine) -> String {
        m.ok("stat -L -c %i /run/rip-server/labs-api.sock; awk '$4 == \"0A\" && $2 ~ /:(01BB|0050)$/ { print $2, $10 }' /proc/net/tcp /proc/net/tcp6 | sort")
    }
}
