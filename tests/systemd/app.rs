//! The app that most cases install, and what is asked of a running instance.

use serde_json::Value;

use super::http::{self, Answer};
use super::load::Tally;
use super::machine::Machine;

/// The instance of the app in `/srv/rip/labs/api`.
pub(crate) const INSTANCE: &str = "labs-api";
pub(crate) const SERVICE: &str = "rip-server@labs-api";
const FOLDER: &str = "/srv/rip/labs/api";
const WORKER: &str = include_str!("../it/support/worker.py");

impl Machine {
    /// With the package installed, the scripted worker of the integration tests as app `labs-api`, and two workers.
    pub(crate) fn with_app(self) -> Self {
        self.ok("apt-get install -y /root/rip-server.deb");
        self.put_app(FOLDER, "v1", "/srv/meet");
        self.write(
            "/etc/rip-server/labs-api.toml",
            "[app]\nworkers = 2\n[sandbox]\nwritable = [\"/srv/meet\"]\n",
        );
        self.ok("mkdir -m 1777 -p /srv/meet");
        self
    }

    /// The same, started.
    pub(crate) fn serving(self) -> Self {
        let machine = self.with_app();
        machine.ok(&format!("systemctl start {SERVICE}"));
        machine
    }

    /// With the package installed, `probe.py` as app `labs-api`, and one worker, which listens in this way.
    pub(crate) fn with_probe(self, listen: &str) -> Self {
        self.ok("apt-get install -y /root/rip-server.deb");
        self.put_probe(FOLDER, listen);
        self.write("/etc/rip-server/labs-api.toml", "[app]\nworkers = 1\n");
        self
    }

    /// `probe.py` as an app in a folder.
    pub(crate) fn put_probe(&self, folder: &str, listen: &str) {
        self.write(&format!("{folder}/probe.py"), include_str!("probe.py"));
        let own = format!("command = [\"/usr/bin/python3\", \"probe.py\"]\nlisten = \"{listen}\"\n");
        self.write(&format!("{folder}/rip.toml"), own);
    }

    /// The scripted worker in a folder; what it notes goes into `meet`.
    pub(crate) fn put_app(&self, folder: &str, version: &str, meet: &str) {
        self.write(&format!("{folder}/worker.py"), WORKER);
        self.write(&format!("{folder}/VERSION"), version);
        let own = format!(
            "command = [\"/usr/bin/python3\", \"worker.py\"]\nlisten = \"fd\"\nready_path = \"/ready\"\nenv = {{ MEET = \"{meet}\" }}\n"
        );
        self.write(&format!("{folder}/rip.toml"), own);
    }

    /// Another version of the app's files.
    pub(crate) fn set_version(&self, version: &str) {
        self.write(&format!("{FOLDER}/VERSION"), version);
    }

    /// GET over TLS on 443.
    pub(crate) fn get(&self, path: &str) -> Answer {
        let path = path.to_owned();
        self.within(async move || http::https(443, "localhost", &path).await).unwrap()
    }

    /// The output of `rip-serverctl` in JSON.
    pub(crate) fn ctl(&self, words: &str) -> Value {
        let text = self.ok(&format!("rip-serverctl --instance {INSTANCE} --json {words}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words}: {error}: {text}"))
    }

    /// The main processes of the workers that are there to stay, in order.
    pub(crate) fn worker_pids(&self) -> Vec<u64> {
        let workers = self.ctl("workers");
        let list = workers["workers"].as_array().unwrap();
        let mut pids: Vec<u64> = list
            .iter()
            .filter(|worker| !["draining", "stopping"].contains(&worker["state"].as_str().unwrap()))
            .filter_map(|worker| worker["pid"].as_u64())
            .collect();
        pids.sort_unstable();
        pids
    }

    /// The units of workers, whatever state they are in.
    pub(crate) fn worker_units(&self) -> Vec<String> {
        let units = self.ok("systemctl list-units --all --plain --no-legend 'rip-worker-*' | cut -d' ' -f1");
        units.lines().map(str::to_owned).collect()
    }

    /// Where the server's process is.
    pub(crate) fn server_pid(&self) -> String {
        self.show(&format!("{SERVICE}.service"), "MainPID")
    }

    /// Fails, with what was logged, when requests were lost.
    #[track_caller]
    pub(crate) fn lost_nothing(&self, tally: &Tally) {
        assert!(tally.is_whole(), "{tally}\n{}", self.journal());
    }

    /// Checks that workers saw nothing that they must never see.
    pub(crate) fn assert_no_violations(&self) {
        let seen = std::fs::read_to_string(self.path("/srv/meet/violations")).unwrap_or_default();
        assert!(seen.is_empty(), "workers saw what they must never see:\n{seen}");
    }

    /// Says that something was seen to hold.
    #[track_caller]
    pub(crate) fn holds(&self, what: &str, holds: bool) {
        assert!(holds, "does not hold: {what}\n{}", self.journal());
        self.report("systemd", what);
    }

    /// The same of two values.
    #[track_caller]
    pub(crate) fn same<T: PartialEq + std::fmt::Debug>(&self, what: &str, got: T, wanted: T) {
        assert!(got == wanted, "{what}: {got:?}, not {wanted:?}\n{}", self.journal());
        self.holds(what, true);
    }
}

/// An expression as the path that has `probe.py` evaluate it.
pub(crate) fn encoded(expression: &str) -> String {
    expression.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
