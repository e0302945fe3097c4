//! A user's own manager.

crate::on_both! {
    serves_under_a_users_own_manager
}

mod cases {
    use crate::http;
    use crate::machine::Machine;

    pub(super) fn serves_under_a_users_own_manager(m: Machine) {
        m.ok("apt-get install -y /root/rip-server.deb; useradd -m -s /bin/sh ann");
        // As a unit: logind of systemd 257 refuses callers that are in no control group of the machine.
        m.ok("systemd-run --quiet --pipe --wait loginctl enable-linger ann");
        m.put_app("/home/ann/rip/blog", "v1", "/srv/meet");
        m.ok("mkdir -m 1777 /srv/meet; chown -R ann: /home/ann");
        let id = m.ok("id -u ann");
        let as_ann = |words: &str| {
            format!(
                "runuser -u ann -- env XDG_RUNTIME_DIR=/run/user/{id} DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/{id}/bus {words}"
            )
        };
        let ann = |words: &str| m.ok(&as_ann(words));
        m.until("her manager runs", || m.run(&format!("systemctl is-active user@{id}")).code == 0);
        ann("systemctl --user start rip-server@blog");
        let version = || m.within(async || http::https(5443, "localhost", "/version").await).unwrap().body;
        m.same("systemctl --user start serves ~/rip/blog on 5443", version(), "v1".into());
        let plain = m.within(async || http::http(5080, "localhost", "/").await).unwrap();
        m.same("and redirects on 5080", plain.status, 301);
        m.holds("rip-serverctl finds it", ann("rip-serverctl status").contains("blog"));
        let units = || ann("systemctl --user list-units --plain --no-legend 'rip-worker-*' | cut -d' ' -f1");
        let before = units();
        m.holds("workers are units of her manager", before.contains("rip-worker-blog-"));
        ann("systemctl --user restart rip-server@blog");
        m.same("a restart keeps them", units(), before);
        m.write("/home/ann/rip/blog/VERSION", "v2");
        ann("systemctl --user reload rip-server@blog");
        m.same("a reload is a deploy", version(), "v2".into());
        ann("systemctl --user stop rip-server@blog");
        m.same("a stop leaves none", units(), String::new());
        let sockets = || ann("systemctl --user list-units --plain --no-legend 'rip-server-*@blog.socket'");
        m.same("and closes the sockets", sockets(), String::new());
        ann("systemctl --user start rip-server-control@blog.socket");
        let said = m.run(&as_ann("rip-serverctl status"));
        m.holds(
            "a look says how to start it",
            said.code == 7 && said.output.contains("start it: systemctl --user start rip-server@blog"),
        );
        m.same(
            "and does not",
            m.run(&as_ann("systemctl --user is-active rip-server@blog")).output.trim(),
            "inactive",
        );
    }
}
