//! Owns the workers of this server that are units now: what is known of each, and who waits for its start.
//!
//! Never here: asking systemd.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use zbus::OwnedVariant;

use super::unit_state::UnitState;
use crate::backend::contract::exit::Killed;
use crate::backend::sockets::SocketFile;
use crate::backend::systemd::bus::object_of;
use crate::backend::systemd::starter::Target;
use crate::backend::{Signal, WorkerExit};
use crate::name::WorkerId;
use crate::tasks::TaskHandle;

/// All workers that have, or are about to have, a unit.
#[derive(Default)]
pub(in crate::backend::systemd) struct UnitTable {
    /// The units by their objects; the lock is held for a look-up.
    entries: Mutex<HashMap<String, UnitEntry>>,
}

pub(in crate::backend::systemd) struct UnitEntry {
    target: Target,
    known: UnitState,
    /// The caller that waits for the unit's program to run.
    starting: Option<oneshot::Sender<Result<u32, WorkerExit>>>,
    /// Whether the worker was told to end.
    told: bool,
    /// Whether it was reported that the worker's program has exited while others of its processes have not.
    ending: bool,
    killed: Option<Killed>,
    memory: Option<u64>,
    files: Vec<SocketFile>,
    /// The task that reads the worker's notify socket.
    listening: Option<TaskHandle>,
}

/// A worker that has ended, or whose program has.
pub(in crate::backend::systemd) struct UnitEnd {
    pub(in crate::backend::systemd) target: Target,
    pub(in crate::backend::systemd) exit: WorkerExit,
    pub(in crate::backend::systemd) left: Remainder,
    pub(in crate::backend::systemd) unasked: bool,
}

/// The remainder of a worker whose program has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::backend::systemd) enum Remainder {
    Nothing,
    /// Processes that the program had started; systemd is ending them.
    Processes,
}

impl Drop for UnitEntry {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

impl UnitTable {
    /// Adds a worker whose unit is about to be started; the receiver learns when its program runs, or that it never
    /// will.
    pub(in crate::backend::systemd) fn expect(
        &self,
        target: Target,
        files: Vec<SocketFile>,
        listening: Option<TaskHandle>,
    ) -> oneshot::Receiver<Result<u32, WorkerExit>> {
        let (starting, started) = oneshot::channel();
        let entry = UnitEntry::new(target, Some(starting), files, listening);
        self.lock().insert(object_of(&entry.target.unit), entry);
        started
    }

    /// Adds a worker whose program runs already.
    pub(in crate::backend::systemd) fn adopt(&self, target: Target, files: Vec<SocketFile>) {
        let entry = UnitEntry::new(target, None, files, None);
        self.lock().insert(object_of(&entry.target.unit), entry);
    }

    /// Forgets a worker that has no unit after all.
    pub(in crate::backend::systemd) fn forget(&self, unit: &str) {
        self.lock().remove(&object_of(unit));
    }

    /// Takes in the changed properties of a unit; returns the worker if that was its end.
    pub(in crate::backend::systemd) fn note(
        &self,
        object: &str,
        changed: &HashMap<String, OwnedVariant>,
    ) -> Option<UnitEnd> {
        let mut entries = self.lock();
        let entry = entries.get_mut(object)?;
        entry.known.note(changed);
        if entry.known.runs()
            && let Some(starting) = entry.starting.take()
        {
            // A caller that has stopped waiting learns of the unit's end by the event.
            starting.send(Ok(entry.known.pid)).ok();
        }
        if !entry.known.is_over() {
            return entry.lost_leader();
        }
        Self::end(entries.remove(object)?)
    }

    /// Handles a unit that is not loaded, unless it is about to be started: asking for a unit that does not exist makes
    /// systemd load it and report that it is removed again.
    pub(in crate::backend::systemd) fn gone(&self, object: &str) -> Option<UnitEnd> {
        let mut entries = self.lock();
        let is_awaited = entries.get(object)?.starting.is_some();
        if is_awaited { None } else { Self::end(entries.remove(object)?) }
    }

    /// Reports a failed start to the caller that waits for it; returns the end of a worker that ran.
    fn end(mut entry: UnitEntry) -> Option<UnitEnd> {
        let exit = entry.known.exit(entry.killed);
        match entry.starting.take() {
            Some(starting) => match starting.send(Err(exit)) {
                Ok(()) => None,
                // Nobody waits for the start any more.
                Err(_) => None,
            },
            None => {
                let (target, unasked) = (entry.target.clone(), !entry.told);
                Some(UnitEnd { target, exit, left: Remainder::Nothing, unasked })
            }
        }
    }

    /// Notes the signal that a worker is about to be sent, and returns the worker's names.
    pub(in crate::backend::systemd) fn note_signal(
        &self,
        worker: WorkerId,
        signal: Signal,
    ) -> Option<Target> {
        let mut entries = self.lock();
        let entry = entries.values_mut().find(|entry| entry.target.worker == worker)?;
        entry.told |= signal.ends();
        entry.killed = entry.killed.or(signal.kills());
        Some(entry.target.clone())
    }

    pub(in crate::backend::systemd) fn target(&self, worker: WorkerId) -> Option<Target> {
        let entries = self.lock();
        entries.values().find(|entry| entry.target.worker == worker).map(|entry| entry.target.clone())
    }

    /// Whether the worker's program has not exited, as far as is known.
    pub(in crate::backend::systemd) fn lives(&self, worker: WorkerId) -> bool {
        let entries = self.lock();
        let entry = entries.values().find(|entry| entry.target.worker == worker);
        entry.is_some_and(|entry| !entry.known.has_lost_leader() && !entry.known.is_over())
    }

    /// Whether the unit is in the table.
    pub(in crate::backend::systemd) fn has(&self, unit: &str) -> bool {
        self.lock().contains_key(&object_of(unit))
    }

    /// Whether a caller waits for the unit's start.
    pub(in crate::backend::systemd) fn is_awaited(&self, unit: &str) -> bool {
        self.lock().get(&object_of(unit)).is_some_and(|entry| entry.starting.is_some())
    }

    /// The objects of all units.
    pub(in crate::backend::systemd) fn objects(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    pub(in crate::backend::systemd) fn memory(&self, worker: WorkerId) -> Option<u64> {
        self.lock().values().find(|entry| entry.target.worker == worker)?.memory
    }

    pub(in crate::backend::systemd) fn note_memory(&self, object: &str, bytes: Option<u64>) {
        if let Some(entry) = self.lock().get_mut(object) {
            entry.memory = bytes;
        }
    }

    /// Leaves all workers and their sockets as they are.
    pub(in crate::backend::systemd) fn leave(&self) {
        for (_, mut entry) in self.lock().drain() {
            std::mem::take(&mut entry.files).into_iter().for_each(SocketFile::keep);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, UnitEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnitEntry {
    fn new(
        target: Target,
        starting: Option<oneshot::Sender<Result<u32, WorkerExit>>>,
        files: Vec<SocketFile>,
        listening: Option<TaskHandle>,
    ) -> Self {
        let known = UnitState::default();
        Self {
            target,
            known,
            starting,
            told: false,
            ending: false,
            killed: None,
            memory: None,
            files,
            listening,
        }
    }

    /// Returns, once, the end of a program that has exited unasked while others of its processes go on.
    fn lost_leader(&mut self) -> Option<UnitEnd> {
        let news = self.known.has_lost_leader() && !self.told && self.starting.is_none();
        if !news || std::mem::replace(&mut self.ending, true) {
            return None;
        }
        let (target, exit) = (self.target.clone(), self.known.exit(self.killed));
        Some(UnitEnd { target, exit, left: Remainder::Processes, unasked: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::AppName;
    use crate::spec::ReloadSignal;

    fn target(worker: u64) -> Target {
        let unit = format!("rip-worker-a-b-{worker}.service");
        Target { app: AppName::parse("b").unwrap(), worker: WorkerId(worker), unit }
    }

    fn state(active: &str, pid: u32) -> HashMap<String, OwnedVariant> {
        let text = zbus::Variant::from(active).try_to_owned().unwrap();
        let pid = zbus::Variant::from(pid).try_to_owned().unwrap();
        HashMap::from([("ActiveState".to_owned(), text), ("MainPID".to_owned(), pid)])
    }

    #[test]
    fn a_worker_runs_and_ends_once() {
        let units = UnitTable::default();
        let mut started = units.expect(target(1), vec![], None);
        let object = object_of("rip-worker-a-b-1.service");
        assert!(units.note(&object, &state("activating", 0)).is_none());
        assert!(units.note(&object, &state("active", 7)).is_none());
        assert_eq!(started.try_recv(), Ok(Ok(7)));
        let ended = units.note(&object, &state("failed", 0)).unwrap();
        assert!(ended.unasked && ended.target.worker == WorkerId(1));
        assert!(units.note(&object, &state("failed", 0)).is_none() && units.gone(&object).is_none());
    }

    #[test]
    fn an_exit_is_told_before_all_processes_have_ended() {
        let units = UnitTable::default();
        let _started = units.expect(target(1), vec![], None);
        let object = object_of("rip-worker-a-b-1.service");
        assert!(units.note(&object, &state("active", 7)).is_none());
        assert!(units.lives(WorkerId(1)) && !units.lives(WorkerId(2)));
        let mut changed = state("deactivating", 0);
        changed.insert("ExecMainCode".to_owned(), zbus::Variant::from(1_i32).try_to_owned().unwrap());

        let ending = units.note(&object, &changed).unwrap();

        assert_eq!(
            (ending.exit, ending.left, ending.unasked),
            (WorkerExit::Background, Remainder::Processes, true)
        );
        assert!(!units.lives(WorkerId(1)) && units.note(&object, &changed).is_none());
        assert_eq!(units.note(&object, &state("inactive", 0)).unwrap().left, Remainder::Nothing);
    }

    #[test]
    fn a_start_that_fails_is_no_end() {
        let units = UnitTable::default();
        let mut started = units.expect(target(1), vec![], None);
        let object = object_of("rip-worker-a-b-1.service");
        assert!(units.note(&object, &state("failed", 0)).is_none());
        assert_eq!(started.try_recv(), Ok(Err(WorkerExit::Unseen)));
        assert!(!units.has("rip-worker-a-b-1.service"));
    }

    #[test]
    fn a_unit_that_is_yet_to_come_is_not_gone() {
        let units = UnitTable::default();
        let mut started = units.expect(target(1), vec![], None);
        let object = object_of("rip-worker-a-b-1.service");
        assert!(units.gone(&object).is_none());
        assert!(units.note(&object, &state("active", 7)).is_none());
        assert_eq!(started.try_recv(), Ok(Ok(7)));
        assert!(units.gone(&object).is_some());
    }

    #[test]
    fn what_was_told_to_end_did_not_end_by_itself() {
        let units = UnitTable::default();
        units.adopt(target(1), vec![]);
        units.adopt(target(2), vec![]);
        units.note_signal(WorkerId(1), Signal::Terminate).unwrap();
        units.note_signal(WorkerId(2), Signal::Reload(ReloadSignal::Hup)).unwrap();
        assert!(units.note_signal(WorkerId(3), Signal::Terminate).is_none());
        assert!(!units.gone(&object_of("rip-worker-a-b-1.service")).unwrap().unasked);
        assert!(units.gone(&object_of("rip-worker-a-b-2.service")).unwrap().unasked);
    }
}
