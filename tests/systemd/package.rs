//! The package: what lintian says, what installing brings, what removing and purging leave.

crate::on_both! {
    installs_all_of_it
    removes_what_runs_and_purges_what_was_made
}

#[test]
fn lintian_finds_nothing() {
    let changes = crate::machine::cache().join("rip-server.deb");
    if !changes.exists() {
        return crate::on(crate::machine::System::Bookworm, module_path!(), |_| ());
    }
    let words = ["--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0"];
    // The archive's addresses and bug numbers are not this package's.
    let not = ["--suppress-tags", "initial-upload-closes-no-bugs,bad-distribution-in-changes-file"];
    let said = std::process::Command::new("lintian").args(words).args(not).arg(changes).output().unwrap();
    let said_text =
        String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{said_text}");
    println!("systemd | package  | package::lintian_finds_nothing | lintian finds no error and no warning");
}

mod cases {
    use crate::app::SERVICE;
    use crate::machine::Machine;

    pub(super) fn installs_all_of_it(m: Machine) {
        let said = m.ok("apt-get install -y /root/rip-server.deb");
        let provides = m.ok("dpkg-query -W -f '${Provides}' rip-server");
        m.same("it does not claim to serve /var/www and CGI", provides, String::new());
        m.holds("apt installs it without a complaint", !said.contains("Warning") && !said.contains("rror:"));
        for program in ["rip-server", "rip-serverctl"] {
            m.holds(&format!("{program} runs"), m.ok(&format!("{program} --version")).contains("rip-server"));
        }
        for page in ["8 rip-server", "1 rip-serverctl", "5 rip-server.toml"] {
            // The smallest Debian leaves manual pages out; the package has them.
            let (section, name) = page.split_once(' ').unwrap();
            let file = format!("usr/share/man/man{section}/{name}.{section}.gz");
            let text = m.ok(&format!(
                "dpkg-deb --fsys-tarfile /root/rip-server.deb | tar -xO ./{file} | gunzip | MANROFFOPT=-ww man -l --warnings - 2>&1"
            ));
            m.holds(
                &format!("man {page} reads well"),
                text.contains("SYNOPSIS") && !text.contains("warning:"),
            );
        }
        let files = m.ok("dpkg -L rip-server");
        let has = |file: &str| {
            m.holds(
                &format!("it has {file}"),
                files.lines().any(|there| there == format!("/usr/share/{file}")),
            );
        };
        for program in ["rip-server", "rip-serverctl"] {
            has(&format!("bash-completion/completions/{program}"));
            has(&format!("zsh/vendor-completions/_{program}"));
            has(&format!("fish/vendor_completions.d/{program}.fish"));
        }
        has("doc/rip-server/examples/hello/index.html");
        default_config(&m);
        m.holds(
            "its user has no shell and no home",
            m.ok("getent passwd rip-server").ends_with(":/nonexistent:/usr/sbin/nologin"),
        );
        let verify = m.run(
            "systemd-analyze verify --man=no rip-server@labs-api.service rip-server-https@labs-api.socket \
             rip-server-http@labs-api.socket rip-server-control@labs-api.socket rip-server-launcher.service \
             rip-server-cleanup@labs-api.service rip-server-closing@labs-api.service \
             rip-server-refused@labs-api.service rip-server-agent.socket rip-server-agent.service rip-server.slice rip-workers.slice rip-workers.target",
        );
        m.same(
            "systemd-analyze verify says nothing of its units",
            (verify.code, verify.output.as_str()),
            (0, ""),
        );
        m.same("nothing runs yet", m.run("pgrep rip-server").output, String::new());
        m.same(
            "nothing has failed",
            m.ok("systemctl list-units --failed --plain --no-legend"),
            String::new(),
        );

        m.ok("mkdir -p /srv/rip/hello && cp /usr/share/doc/rip-server/examples/hello/* /srv/rip/hello/ && systemctl start rip-server@hello");
        m.same("the example app serves", m.get("/").status, 200);
    }

    /// A test of the program holds that the file has every key, and that each is right once it is no comment.
    fn default_config(m: &Machine) {
        let file = "/usr/share/rip-server/rip-server.toml";
        m.same(
            "the default config is the program's own",
            m.run(&format!("rip-server default-config | cmp - {file}")).code,
            0,
        );
        let text = m.ok(&format!("cat {file}"));
        let bare = |line: &&str| !(line.is_empty() || line.starts_with('#') || line.starts_with('['));
        m.same("every key in it is commented out", text.lines().find(bare), None);
        let keys = text.lines().filter(|line| line.starts_with('#') && line.contains(" = ")).count();
        m.holds(&format!("there are keys in it ({keys})"), keys > 80);
    }

    pub(super) fn removes_what_runs_and_purges_what_was_made(m: Machine) {
        let m = m.with_app();
        m.ok(&format!("systemctl enable --now {SERVICE}"));
        m.ok("rip-serverctl add my.localhost");
        m.same("it serves", m.get("/version").status, 200);
        m.ok("apt-get remove -y rip-server");
        let left = m.ok("systemctl list-units --all --plain --no-legend 'rip-*' | grep -v not-found || true");
        m.same("removing stops all instances, sockets and workers", left, String::new());
        m.same("no process is left", m.run("pgrep rip-server; pgrep python3").output, String::new());
        m.holds("the registry stays", m.run("test -s /var/lib/rip-server/labs-api/registry.json").code == 0);

        m.ok("apt-get install -y /root/rip-server.deb");
        m.same(
            "installed again what was enabled starts",
            m.ok(&format!("systemctl is-active {SERVICE}")),
            "active".into(),
        );
        m.same("and serves", m.get("/version").status, 200);
        m.holds("it knows its hosts", m.ok("rip-serverctl list").contains("my.localhost"));
        m.ok("rip-serverctl stop; apt-get install -y --reinstall /root/rip-server.deb");
        m.same(
            "an upgrade starts nothing",
            m.run(&format!("systemctl is-active {SERVICE}")).output.trim(),
            "inactive",
        );

        let kept = "/var/lib/private/rip-apps/labs-api/api/data";
        m.ok(&format!("mkdir -p $(dirname {kept}); echo people >{kept}; apt-get purge -y rip-server"));
        m.same(
            "purging keeps what apps have kept when nobody can be asked",
            m.ok(&format!("cat {kept}")),
            "people".into(),
        );
        m.ok("apt-get install -y /root/rip-server.deb");
        m.ok("echo rip-server rip-server/purge-app-data boolean true | debconf-set-selections");
        m.ok("apt-get purge -y rip-server");
        for made in [
            "/var/lib/rip-server",
            "/run/rip-server",
            "/var/lib/private/rip-apps",
            "/var/cache/private/rip-apps",
        ] {
            m.holds(&format!("purging takes {made}"), m.run(&format!("test ! -e {made}")).code == 0);
        }
        m.holds(
            "not what people wrote",
            m.run("test -e /srv/rip/labs/api/rip.toml -a -e /etc/rip-server/labs-api.toml").code == 0,
        );
        m.same("no link of its units is left", m.ok("find /etc/systemd -name 'rip-*'"), String::new());
    }
}
