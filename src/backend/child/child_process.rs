//! Owns a worker's process from its program's start to its reaping: output, readiness, end.
//!
//! Never here: starting it (`spawn`); whether an end was wanted (`supervisor`).
//!
//! A worker's first process stays a zombie from its exit until the rest of its group is killed: meanwhile the group's
//! id cannot become another group's, and no signal of the server can hit a stranger.

use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::UnixDatagram;
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep, timeout};

use super::child_workers::ChildWorkers;
use super::output_lines;
use super::procfs::{ExitWatch, Groups, oom_kills};
use super::strays::Mark;
use crate::backend::contract::exit::Killed;
use crate::backend::contract::readiness::tell_readiness;
use crate::backend::{WorkerEvent, WorkerExit};
use crate::name::WorkerId;

/// The first process of a worker; its program runs.
pub(super) struct ChildProcess {
    pub(super) worker: WorkerId,
    pub(super) process: Child,
    pub(super) watch: ExitWatch,
    pub(super) mark: Mark,
}

impl ChildProcess {
    /// Watches the process until nothing of the worker is left; returns how it ended.
    pub(super) async fn run(
        &mut self,
        workers: &ChildWorkers,
        notify: UnixDatagram,
        output: pipe::Receiver,
        ooms_before: Option<u64>,
    ) -> WorkerExit {
        let mut output = pin!(output_lines::pump(output, self.worker, workers.events.clone()));
        let mut readiness = pin!(tell_readiness(notify, self.worker, workers.events.clone()));
        let mut open = true;
        loop {
            tokio::select! {
                () = &mut output, if open => open = false,
                () = &mut readiness => {}
                () = self.watch.exited() => break,
            }
        }
        let unasked = !workers.was_told(self.worker);
        let rest = {
            let mut rest = pin!(self.rest_ends(workers));
            loop {
                tokio::select! {
                    () = &mut output, if open => open = false,
                    () = &mut readiness => {}
                    rest = &mut rest => break rest,
                }
            }
        };
        let background = unasked && self.is_in_background().await;
        let early = if background {
            WorkerExit::Background
        } else {
            exit_of(self.watch.status().unwrap_or_default(), None, ooms_before)
        };
        let worker = self.worker;
        let ended = self.end(workers);
        // Both run at once: a full pipe must not outlast the processes that fill it.
        let whole = async move {
            if open { tokio::join!(ended, timeout(OUTPUT_TIMEOUT, output)).0 } else { ended.await }
        };
        let mut whole = pin!(whole);
        let (status, killed) = match timeout(SHORT_END, &mut whole).await {
            Ok(ended) => ended,
            Err(_) => {
                if unasked {
                    workers.events.send(WorkerEvent::Ending(worker, early)).await.ok();
                }
                whole.await
            }
        };
        match rest {
            _ if background => WorkerExit::Background,
            GroupEnd::Ended => exit_of(status, killed, ooms_before),
            GroupEnd::TooSlow => WorkerExit::Timeout,
        }
    }

    /// Waits for the rest of a group whose leader has exited. When the worker was told to end, the rest has its time
    /// all the same: a shell between the server and the program dies of SIGTERM at once, while the program finishes
    /// what it has in hand.
    async fn rest_ends(&self, workers: &ChildWorkers) -> GroupEnd {
        let group = Pid::from_child(&self.process);
        let mut pause = GROUP_TICK;
        let mut outlived = false;
        while workers.has_time_to_end(self.worker) {
            // As in `end`: a `/proc` that cannot be read counts as empty.
            if !Groups::read().is_ok_and(|groups| !groups.members(group).is_empty()) {
                return GroupEnd::Ended;
            }
            outlived = true;
            sleep(pause).await;
            // Looking costs something on a machine with many processes.
            pause = (pause * 2).min(LONGEST_TICK);
        }
        match outlived && workers.was_too_slow(self.worker) {
            true => GroupEnd::TooSlow,
            false => GroupEnd::Ended,
        }
    }

    /// Whether the process has exited as a daemon's first process does: with status 0, while others that it started go
    /// on.
    async fn is_in_background(&self) -> bool {
        let leader = Pid::from_child(&self.process);
        let others = || Groups::read().is_ok_and(|groups| !groups.members(leader).is_empty());
        let status = self.watch.status();
        status.is_some_and(|status| status.success()) && (others() || self.mark.has_others(leader).await)
    }

    /// Ends the rest of the group and the processes that have left it, then reaps the first process.
    pub(super) async fn end(&mut self, workers: &ChildWorkers) -> (ExitStatus, Option<Killed>) {
        let group = Pid::from_child(&self.process);
        kill(group);
        self.watch.exited().await;
        let give_up = Instant::now() + GROUP_LIMIT;
        self.mark.end(self.worker, group).await;
        while Groups::read().is_ok_and(|groups| !groups.members(group).is_empty()) {
            if Instant::now() >= give_up {
                tracing::warn!(worker = %self.worker, %group, "processes of an ended worker do not die");
                break;
            }
            sleep(GROUP_TICK).await;
            kill(group);
        }
        let killed = workers.forget(self.worker);
        workers.reaper.release(group);
        let status = self.process.wait().unwrap_or_else(|error| {
            tracing::error!(worker = %self.worker, %error, "cannot reap a worker");
            ExitStatus::default()
        });
        (status, killed)
    }
}

/// How the rest of a worker's group ended, after its leader.
enum GroupEnd {
    Ended,
    /// The group was killed when its time was over.
    TooSlow,
}

fn kill(group: Pid) {
    // Errors do not matter: processes that are gone, or that the server may not signal, show up in the count of
    // members.
    kill_process_group(group, Signal::KILL).ok();
}

/// How the worker exited. A SIGKILL that the server did not send, while the kernel counted a kill for memory, was that
/// kill. A SIGKILL of the server is named by its reason.
fn exit_of(status: ExitStatus, killed: Option<Killed>, ooms_before: Option<u64>) -> WorkerExit {
    let Some(signal) = status.signal() else {
        return WorkerExit::Status(status.code().unwrap_or_default());
    };
    let by_kernel = || killed.is_none() && ooms_before.is_some() && oom_kills() > ooms_before;
    if signal == Signal::KILL.as_raw() && (killed == Some(Killed::ForMemory) || by_kernel()) {
        return WorkerExit::OutOfMemory;
    }
    if signal == Signal::KILL.as_raw() && killed == Some(Killed::TooSlow) {
        return WorkerExit::Timeout;
    }
    WorkerExit::Signal(signal)
}

const GROUP_LIMIT: Duration = Duration::from_secs(5);
const GROUP_TICK: Duration = Duration::from_millis(10);
const LONGEST_TICK: Duration = Duration::from_millis(160);
/// The time limit for the output after the end: a process that left its group and threw its environment away may hold
/// the pipe for ever.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(1);
/// An exit is reported as the worker's end when the rest ends within this time, else as the beginning of its end.
const SHORT_END: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sigkill_is_told_by_its_reason() {
        let killed = ExitStatus::from_raw(9);
        let many = Some(u64::MAX);
        assert_eq!(exit_of(killed, Some(Killed::ForMemory), many), WorkerExit::OutOfMemory);
        assert_eq!(exit_of(killed, Some(Killed::TooSlow), many), WorkerExit::Timeout);
        assert_eq!(exit_of(killed, None, many), WorkerExit::Signal(9));
        assert_eq!(exit_of(killed, None, None), WorkerExit::Signal(9));
        assert_eq!(exit_of(ExitStatus::from_raw(15), Some(Killed::ForMemory), many), WorkerExit::Signal(15));
        assert_eq!(
            exit_of(ExitStatus::from_raw(3 << 8), Some(Killed::ForMemory), many),
            WorkerExit::Status(3)
        );
    }
}
