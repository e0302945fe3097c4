//! A clean Debian that systemd has booted in a container of its own, and what a test does to it.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::time::Instant;

/// The release of Debian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    /// 12, with systemd 252.
    Bookworm,
    /// 13, with systemd 257.
    Trixie,
}

impl System {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

/// How a system counts its processes; cgroups(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hierarchy {
    /// In the one of the kernel's version 2.
    Unified,
    /// In one called `systemd` of version 1, as Debian 12 does with `systemd.unified_cgroup_hierarchy=0`.
    Legacy,
}

impl Hierarchy {
    /// Where the control groups of this host's systems are; `None` where it has no such hierarchy.
    pub(crate) fn folder(self) -> Option<&'static Path> {
        let folder = match self {
            Self::Unified => cgroups(),
            Self::Legacy => Path::new("/sys/fs/cgroup/systemd"),
        };
        folder.exists().then_some(folder)
    }
}

/// A booted system. When it is dropped it is switched off, and everything that was changed in it is gone.
pub(crate) struct Machine {
    system: System,
    /// In reports.
    case: &'static str,
    unshare: Child,
    /// The control group that everything in it is in.
    group: PathBuf,
}

/// The result of a command in a machine.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    /// Of both streams.
    pub(crate) output: String,
}

impl Machine {
    /// Boots a system with the package's file in `/root`, not installed.
    pub(crate) fn boot(system: System, case: &'static str) -> Self {
        Self::boot_with(system, case, Hierarchy::Unified)
    }

    /// The same with another hierarchy of control groups, which the host has to have.
    pub(crate) fn boot_with(system: System, case: &'static str, hierarchy: Hierarchy) -> Self {
        let name = format!("rip{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let group = hierarchy.folder().expect("the host's control groups").join(&name);
        let lower = cache().join(system.name());
        // Mounts and processes are of namespaces of their own, so that nothing is left when the test is killed.
        let script = r#"
            set -e
            mount -t tmpfs -o mode=755,size=2g tmpfs /mnt
            mkdir /mnt/upper /mnt/work /mnt/root
            mount -t overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
            cp "$3"/rip-server*.deb /mnt/root/root/
            # Or all machines would have the same.
            mkdir "$4"
            echo $$ >"$4/cgroup.procs"
            # 133: it wants to be booted again.
            while
                systemd-nspawn -q -D /mnt/root -M "$2" --register=no --keep-unit --private-network --link-journal=no \
                --console=read-only -b --kill-signal=SIGRTMIN+3
                [ $? = 133 ]
            do :; done
        "#;
        let unshare = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"])
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", script, "boot"])
            .args([lower.as_os_str(), OsStr::new(&name), cache().as_os_str(), group.as_os_str()])
            // systemd 257 refuses the old hierarchy, which nspawn falls back to where it cannot tell.
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", if hierarchy == Hierarchy::Unified { "1" } else { "0" })
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let machine = Self { system, case, unshare, group };
        machine.await_booted();
        machine
    }

    pub(crate) fn await_booted(&self) {
        self.until("the system has booted", || {
            self.leader().is_some()
                && ["running", "degraded"].contains(&self.run("systemctl is-system-running").output.trim())
        });
    }

    pub(crate) fn system(&self) -> System {
        self.system
    }

    /// A line of the report: `systemd | SYSTEM | CASE | …`, or of figures with another word in front.
    pub(crate) fn report(&self, kind: &str, what: &str) {
        println!("{kind} | {:<8} | {} | {what}", self.system.name(), self.case);
    }

    /// The first process in it; another after each reboot.
    pub(crate) fn leader(&self) -> Option<u32> {
        let shell = only_child(self.unshare.id())?;
        only_child(only_child(shell)?)
    }

    /// Runs lines of the shell in it, as root.
    pub(crate) fn run(&self, script: &str) -> Done {
        let Some(leader) = self.leader() else { return Done { code: -1, output: "not booted".into() } };
        let output = Command::new("nsenter")
            .args(["-t", &leader.to_string(), "-a", "--"])
            .args(["/usr/bin/env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"])
            .args([
                "HOME=/root",
                "LC_ALL=C.UTF-8",
                "TERM=dumb",
                "DEBIAN_FRONTEND=noninteractive",
                "SYSTEMD_PAGER=cat",
            ])
            .args(["/bin/sh", "-c", &format!("exec 2>&1; cd; {script}")])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Done {
            code: output.status.code().unwrap_or(-1),
            output: String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr),
        }
    }

    /// Runs lines that have to succeed; what they print, without the last line's end.
    #[track_caller]
    pub(crate) fn ok(&self, script: &str) -> String {
        let done = self.run(script);
        assert!(done.code == 0, "{script}: {}\n{}\n{}", done.code, done.output, self.journal());
        done.output.trim_end().to_owned()
    }

    /// Runs lines that have to fail; what they print.
    #[track_caller]
    pub(crate) fn fails(&self, script: &str) -> String {
        let done = self.run(script);
        assert!(done.code != 0, "{script}: went well\n{}\n{}", done.output, self.journal());
        done.output
    }

    /// A property of a unit.
    pub(crate) fn show(&self, unit: &str, property: &str) -> String {
        self.ok(&format!("systemctl show -P {property} '{unit}'"))
    }

    /// The last lines of the journal, for a test that fails.
    pub(crate) fn journal(&self) -> String {
        self.run("journalctl -q --no-pager -o short-precise | grep -vE ' (GET|POST|HEAD) /' | tail -n 80")
            .output
    }

    /// Waits until something holds.
    #[track_caller]
    #[allow(clippy::disallowed_methods, reason = "a thread of its own, asking what cannot call back")]
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}\n{}", self.journal());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where a path of the machine is seen from here.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.leader().unwrap()))
    }

    /// Writes a file in it, with the folders that lead there.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let seen = self.path(path);
        std::fs::create_dir_all(seen.parent().unwrap()).unwrap();
        std::fs::write(seen, content).unwrap();
    }

    /// Runs something that connects, in the machine's network.
    pub(crate) fn within<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        let network = std::fs::File::open(format!("/proc/{}/ns/net", self.leader().unwrap())).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                // Threads made from here on are in that network too; this one may block.
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(work())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // As the cord pulled out: what is in it goes with its first process.
        self.unshare.kill().ok();
        self.unshare.wait().ok();
        // The control groups can be removed when the last process is gone for good.
        let begun = Instant::now();
        while self.group.exists() && begun.elapsed() < PATIENCE {
            let mut remove = Command::new("find");
            remove.arg(&self.group).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
            remove.stderr(Stdio::null()).status().ok();
        }
    }
}

/// Where control groups of the one hierarchy are.
fn cgroups() -> &'static Path {
    let both = Path::new("/sys/fs/cgroup/unified");
    if both.exists() { both } else { Path::new("/sys/fs/cgroup") }
}

fn only_child(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Where `tests/systemd/prepare` puts things.
pub(crate) fn cache() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.cache/systemd"))
}

/// Far more than anything takes, for machines that are busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);
static NEXT: AtomicU32 = AtomicU32::new(0);
