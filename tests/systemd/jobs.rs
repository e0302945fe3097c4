//! Jobs and commands beside worker units: what they are, and that they have the workers' folder, user and sandbox.

crate::on_both! {
    run_as_units_with_the_workers_sandbox
    outlive_a_restart_of_the_server_and_release_once
    run_as_an_admin_wants_it_with_streams_and_a_terminal
}

mod cases {
    use crate::app::{INSTANCE, SERVICE};
    use crate::machine::Machine;

    const FOLDER: &str = "/srv/rip/labs/api";

    /// A word for each thing that a command can do in the sandbox.
    const TELL: &str = "test -w . && echo writable || echo read-only; test -r /etc/rip-server && echo sees settings; \
        test $(id -u) = 0 && echo root || id -un; pwd; echo ${RIP_JOB-no job} $RIP_APP $RIP_GENERATION";

    fn job_units(m: &Machine, job: &str) -> Vec<String> {
        let units = m.worker_units().into_iter();
        units.filter(|unit| m.show(unit, "Description").contains(job)).collect()
    }

    fn add(m: &Machine, settings: &str) {
        let own = format!("{FOLDER}/rip.toml");
        let text = std::fs::read_to_string(m.path(&own)).unwrap();
        m.write(&own, format!("{text}{settings}\n"));
    }

    pub(super) fn run_as_units_with_the_workers_sandbox(m: Machine) {
        let m = m.with_app();
        m.write(&format!("{FOLDER}/tell.sh"), TELL);
        add(&m, "release = 'sh tell.sh > $MEET/release'");
        add(&m, "process.side = { command = 'sh tell.sh > $MEET/side; exec sleep 600' }");
        add(&m, "timer.tick = { command = 'sh tell.sh > $MEET/timer', every = '1s' }");
        m.ok(&format!("systemctl start {SERVICE}"));
        let user = m.ok(&format!("ps -o user:40= -p {}", m.worker_pids()[0]));
        let told = |job: &str| format!("read-only\n{}\n{FOLDER}\n{job} api 1\n", user.trim());
        for (file, job) in [("release", "release"), ("side", "process.side"), ("timer", "timer.tick")] {
            let path = m.path(&format!("/srv/meet/{file}"));
            m.until("it has run", || std::fs::read_to_string(&path).unwrap_or_default().ends_with(" 1\n"));
            m.same(
                &format!("{job} has folder, user and sandbox of the workers"),
                std::fs::read_to_string(&path).unwrap(),
                told(job),
            );
        }
        let unit = job_units(&m, "process.side").remove(0);
        m.same(
            "a side process is in the slice of the workers",
            m.show(&unit, "Slice"),
            "rip-workers-labs\\x2dapi.slice".into(),
        );

        add(&m, "# other content");
        let own = format!("{FOLDER}/rip.toml");
        let text = std::fs::read_to_string(m.path(&own)).unwrap();
        m.write(
            &own,
            text.replace("release = 'sh tell.sh > $MEET/release'", "release = 'echo no such table; exit 3'"),
        );
        let refused = m.fails(&format!("rip-serverctl --instance {INSTANCE} deploy api"));
        m.holds(
            "a release step that fails rejects the deploy, with what it wrote",
            refused.contains("the release step `echo no such table; exit 3` exited with status 3")
                && refused.lines().any(|line| line.contains("| no such table")),
        );
        m.same("the old version serves", m.get("/version").status, 200);
        m.ok(&format!("systemctl stop {SERVICE}"));
        m.until("no unit is left", || m.worker_units().is_empty());
        m.holds("a stop ends the jobs, too", true);
    }

    pub(super) fn outlive_a_restart_of_the_server_and_release_once(m: Machine) {
        let m = m.with_app();
        add(&m, "release = 'echo released >> $MEET/released'");
        add(&m, "process.side = { command = 'exec sleep 600' }");
        m.ok(&format!("systemctl start {SERVICE}"));
        m.until("the side process runs", || job_units(&m, "process.side").len() == 1);
        let before = job_units(&m, "process.side");
        m.ok(&format!("systemctl restart {SERVICE}"));
        m.until("it serves again", || m.get("/version").status == 200);
        m.until("it is known", || m.ctl("status")["apps"][0]["jobs"][0]["running"] == 1);
        m.same("a side process outlives a restart of the server", job_units(&m, "process.side"), before);
        let released = || std::fs::read_to_string(m.path("/srv/meet/released")).unwrap();
        m.same("a restart releases nothing", released(), "released\n".into());
        m.ok(&format!("rip-serverctl --instance {INSTANCE} deploy api"));
        m.same("a deploy by name does", released(), "released\nreleased\n".into());
        m.until("another side process is in its place", || {
            let now = job_units(&m, "process.side");
            now.len() == 1 && now != job_units(&m, "generation 1")
        });
        m.ok(&format!("rip-serverctl --instance {INSTANCE} rollback"));
        m.same("a rollback releases nothing", released(), "released\nreleased\n".into());
    }

    pub(super) fn run_as_an_admin_wants_it_with_streams_and_a_terminal(m: Machine) {
        let m = m.serving();
        m.write(&format!("{FOLDER}/tell.sh"), TELL);
        let run = |words: &str| format!("rip-serverctl --instance {INSTANCE} run api -- {words}");
        let user = m.ok(&format!("ps -o user:40= -p {}", m.worker_pids()[0]));
        m.same(
            "a command has folder, user and sandbox of the workers",
            m.ok(&run("sh tell.sh")),
            format!("read-only\n{}\n{FOLDER}\nno job api 1", user.trim()),
        );
        m.same(
            "it reads what its caller passes on",
            m.ok(&format!("echo 'a b' | {}", run("tr a-z A-Z"))),
            "A B".into(),
        );
        m.same("its exit code is kept", m.run(&run("sh -c 'exit 42'")).code, 42);
        m.same("of one that was killed, too", m.run(&run("sh -c 'kill -9 $$'")).code, 137);
        m.same("a program that is not there is no success", m.run(&run("no-such-program")).code, 127);
        let terminal = m.run(&format!(
            "script -qec \"{}\" /dev/null </dev/null",
            run("sh -c 'test -t 0 && test -t 1 && stty size; exit 7'")
        ));
        m.holds(
            &format!("it has a terminal: {}", terminal.output.trim()),
            terminal.output.contains('0') && terminal.code == 7,
        );
        m.holds(
            "nothing is left of it",
            !m.worker_units().iter().any(|unit| unit.starts_with("rip-worker--")),
        );
        let refused = m.run(&format!("runuser -u rip-server -- {}", run("true")));
        m.holds("no other user may", refused.code == 5 && refused.output.contains("run it as root"));
    }
}
