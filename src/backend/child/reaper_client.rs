//! Owns the server's side of the reaper: the process, the pipe to it, and the list that the reaper has to know; a
//! reaper that dies is replaced.
//!
//! Never here: what the reaper does when the server is gone (`reaper`).

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Pid;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::children::{ChildGroup, Children, added_line, released_line};
use super::procfs::ExitWatch;
use crate::name::InstanceName;
use crate::tasks::TaskGroup;
use crate::time::Backoff;

/// Keeps one reaper running, and tells it of every worker.
pub(super) struct ReaperClient {
    self_exe: PathBuf,
    instance: InstanceName,
    lock: File,
    /// The list and the pipe, under one lock: a new reaper gets the whole list and then each change, none twice, none
    /// lost.
    state: Mutex<ReaperState>,
    emptied: Notify,
}

#[derive(Default)]
struct ReaperState {
    children: Children,
    guard: Option<ReaperProcess>,
}

struct ReaperProcess {
    process: Child,
    pipe: ChildStdin,
}

impl ReaperClient {
    /// Starts a reaper that holds `lock`, and a task of `stop` that replaces it until no worker is left after
    /// the stop was requested.
    pub(super) fn start(
        self_exe: PathBuf,
        instance: InstanceName,
        lock: File,
        stop: &TaskGroup,
    ) -> io::Result<Arc<Self>> {
        let (state, emptied) = (Mutex::default(), Notify::new());
        let reaper = Arc::new(Self { self_exe, instance, lock, state, emptied });
        let watch = reaper.spawn()?;
        stop.spawn("worker guard", Arc::clone(&reaper).keep(watch, stop.clone()));
        Ok(reaper)
    }

    /// Has the reaper end the group when the server ends.
    pub(super) fn add(&self, group: Pid, child: ChildGroup) {
        let mut state = self.lock();
        state.tell(&added_line(group, &child));
        state.children.insert(group, child);
    }

    /// Forgets the group; to be called while no other group can have its id yet.
    pub(super) fn release(&self, group: Pid) {
        let mut state = self.lock();
        state.tell(&released_line(group));
        state.children.remove(&group);
        if state.children.is_empty() {
            self.emptied.notify_one();
        }
    }

    async fn keep(self: Arc<Self>, mut watch: ExitWatch, stop: TaskGroup) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let born = Instant::now();
            tokio::select! {
                () = watch.exited() => {}
                () = self.unneeded(&stop) => break,
            }
            tracing::error!("the guard of the workers died; starting another");
            if born.elapsed() > LONGEST_PAUSE {
                backoff.reset();
            } else {
                sleep(backoff.next_delay()).await;
            }
            watch = loop {
                self.dismiss();
                match self.spawn() {
                    Ok(watch) => break watch,
                    Err(error) => tracing::error!(%error, "cannot start the guard of the workers"),
                }
                sleep(backoff.next_delay()).await;
            };
        }
        self.dismiss();
    }

    async fn unneeded(&self, stop: &TaskGroup) {
        stop.requested().await;
        while !self.lock().children.is_empty() {
            self.emptied.notified().await;
        }
    }

    /// Starts a reaper and sends it the whole list.
    fn spawn(&self) -> io::Result<ExitWatch> {
        let mut process = Command::new(&self.self_exe)
            .arg0("rip-server")
            .args(["worker-guard", self.instance.as_str()])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(self.lock.try_clone()?)
            // Ctrl-C in the terminal is for the server, which then ends its workers in order.
            .process_group(0)
            .spawn()?;
        let pipe = process.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let watch = ExitWatch::new(&process);
        let mut state = self.lock();
        let ReaperState { children, guard } = &mut *state;
        let guard = guard.insert(ReaperProcess { process, pipe });
        let told =
            children.iter().try_for_each(|(group, child)| guard.pipe.write_all(&added_line(*group, child)));
        let ready = told.and(watch).and_then(|watch| {
            // A reaper that has stopped reading must not stop the server.
            rustix::io::ioctl_fionbio(&guard.pipe, true)?;
            Ok(watch)
        });
        drop(state);
        if ready.is_err() {
            self.dismiss();
        }
        ready
    }

    /// Kills the reaper, because a closed pipe would mean to it that the server is gone.
    fn dismiss(&self) {
        let Some(mut guard) = self.lock().guard.take() else {
            return;
        };
        guard.kill();
        // The process cannot outlive SIGKILL by much, and nobody else reaps it.
        if let Err(error) = guard.process.wait() {
            tracing::warn!(%error, "cannot reap the guard of the workers");
        }
    }

    fn lock(&self) -> MutexGuard<'_, ReaperState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReaperState {
    /// Sends the reaper a line. A reaper that cannot be told is of no use: it is killed, and the next one gets the
    /// whole list.
    fn tell(&mut self, line: &[u8]) {
        let Some(guard) = &mut self.guard else {
            return;
        };
        if guard.pipe.write_all(line).is_err() {
            guard.kill();
        }
    }
}

impl ReaperProcess {
    fn kill(&mut self) {
        if let Err(error) = self.process.kill() {
            tracing::warn!(%error, "cannot kill the guard of the workers");
        }
    }
}

/// Takes the lock of a runtime directory, when the workers of a server that was killed there have ended.
///
/// # Errors
/// `WouldBlock` when another server holds the lock for longer than that takes; else what the file system said.
pub(super) async fn lock(runtime_dir: &Path) -> io::Result<File> {
    let path = runtime_dir.join("workers.lock");
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    let give_up = Instant::now() + LOCK_LIMIT;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= give_up => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Err(TryLockError::WouldBlock) => {}
        }
        if !told {
            tracing::info!("waiting for the workers of an earlier server to end");
            told = true;
        }
        sleep(LOCK_TICK).await;
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The time limit for the lock: longer than a reaper gives the workers.
const LOCK_LIMIT: Duration = Duration::from_secs(10);
const LOCK_TICK: Duration = Duration::from_millis(20);
