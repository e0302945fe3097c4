//! Owns which workers of this server are units now, what is known of each, and who waits for it.
//!
//! Never here: asking systemd.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use zbus::OwnedVariant;

use super::bus::object_of;
use super::end::Known;
use super::starter::Target;
use crate::backend::Exit;
use crate::backend::killed::Killed;
use crate::backend::sockets::SocketFile;
use crate::name::WorkerId;
use crate::tasks::TaskHandle;

/// All workers that have, or are about to have, a unit.
#[derive(Default)]
pub(super) struct Roster {
    /// By the unit's object. Held for a look-up.
    entries: Mutex<HashMap<String, Entry>>,
}

/// One worker.
pub(super) struct Entry {
    target: Target,
    known: Known,
    /// Whoever waits for its program to run.
    starting: Option<oneshot::Sender<Result<u32, Exit>>>,
    /// It was told to end.
    told: bool,
    /// Its program has exited, and others of its processes have not: that is told once.
    ending: bool,
    killed: Option<Killed>,
    memory: Option<u64>,
    files: Vec<SocketFile>,
    /// Reads its notify socket.
    listening: Option<TaskHandle>,
}

/// A worker that has ended, or whose program has.
pub(super) struct Ended {
    pub(super) target: Target,
    pub(super) exit: Exit,
    pub(super) left: Left,
    /// Nobody told it to.
    pub(super) unasked: bool,
}

/// What is left of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// Processes that its program had started; systemd is ending them.
    Processes,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

impl Roster {
    /// A worker whose unit is about to be asked for; the receiver hears when its program runs, or that it never will.
    pub(super) fn expect(
        &self,
        target: Target,
        files: Vec<SocketFile>,
        listening: Option<TaskHandle>,
    ) -> oneshot::Receiver<Result<u32, Exit>> {
        let (starting, started) = oneshot::channel();
        let entry = Entry::new(target, Some(starting), files, listening);
        self.lock().insert(object_of(&entry.target.unit), entry);
        started
    }

    /// A worker whose program runs already.
    pub(super) fn adopt(&self, target: Target, files: Vec<SocketFile>) {
        let entry = Entry::new(target, None, files, None);
        self.lock().insert(object_of(&entry.target.unit), entry);
    }

    /// Forgets a worker that has no unit after all.
    pub(super) fn forget(&self, unit: &str) {
        self.lock().remove(&object_of(unit));
    }

    /// Takes over what has changed; the worker, if that was its end.
    pub(super) fn note(&self, object: &str, changed: &HashMap<String, OwnedVariant>) -> Option<Ended> {
        let mut entries = self.lock();
        let entry = entries.get_mut(object)?;
        entry.known.note(changed);
        if entry.known.runs()
            && let Some(starting) = entry.starting.take()
        {
            // Whoever has stopped waiting hears of its end.
            starting.send(Ok(entry.known.pid)).ok();
        }
        if !entry.known.is_over() {
            return entry.lost_leader();
        }
        Self::end(entries.remove(object)?)
    }

    /// The unit is not there, if it is not yet to come: whoever asks for one that does not exist makes systemd load it
    /// and tell that it is removed again.
    pub(super) fn gone(&self, object: &str) -> Option<Ended> {
        let mut entries = self.lock();
        let is_awaited = entries.get(object)?.starting.is_some();
        if is_awaited { None } else { Self::end(entries.remove(object)?) }
    }

    /// A start that failed is told to whoever waits for it; an end of what ran is an event.
    fn end(mut entry: Entry) -> Option<Ended> {
        let exit = entry.known.exit(entry.killed);
        match entry.starting.take() {
            Some(starting) => match starting.send(Err(exit)) {
                Ok(()) => None,
                // Nobody waits any more.
                Err(_) => None,
            },
            None => {
                let (target, unasked) = (entry.target.clone(), !entry.told);
                Some(Ended { target, exit, left: Left::Nothing, unasked })
            }
        }
    }

    /// The worker's names, and a note of what it is about to be told.
    pub(super) fn tell(&self, worker: WorkerId, telling: Telling) -> Option<Target> {
        let mut entries = self.lock();
        let entry = entries.values_mut().find(|entry| entry.target.worker == worker)?;
        entry.told |= telling != Telling::Reload;
        if let Telling::Kill(why) = telling {
            entry.killed.get_or_insert(why);
        }
        Some(entry.target.clone())
    }

    /// Whether its program is not known to have exited.
    pub(super) fn lives(&self, worker: WorkerId) -> bool {
        let entries = self.lock();
        let entry = entries.values().find(|entry| entry.target.worker == worker);
        entry.is_some_and(|entry| !entry.known.has_lost_leader() && !entry.known.is_over())
    }

    /// Whether its unit is still there.
    pub(super) fn has(&self, unit: &str) -> bool {
        self.lock().contains_key(&object_of(unit))
    }

    /// Whether its start is being waited for.
    pub(super) fn is_awaited(&self, unit: &str) -> bool {
        self.lock().get(&object_of(unit)).is_some_and(|entry| entry.starting.is_some())
    }

    /// The objects of all units.
    pub(super) fn objects(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    pub(super) fn memory(&self, worker: WorkerId) -> Option<u64> {
        self.lock().values().find(|entry| entry.target.worker == worker)?.memory
    }

    pub(super) fn note_memory(&self, object: &str, bytes: Option<u64>) {
        if let Some(entry) = self.lock().get_mut(object) {
            entry.memory = bytes;
        }
    }

    /// Leaves all workers and their sockets as they are.
    pub(super) fn leave(&self) {
        for (_, mut entry) in self.lock().drain() {
            std::mem::take(&mut entry.files).into_iter().for_each(SocketFile::keep);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a worker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Telling {
    End,
    Kill(Killed),
    Reload,
}

impl Entry {
    fn new(
        target: Target,
        starting: Option<oneshot::Sender<Result<u32, Exit>>>,
        files: Vec<SocketFile>,
        listening: Option<TaskHandle>,
    ) -> Self {
        let known = Known::default();
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

    /// Once, if its program has exited without having been told to and others of its processes go on.
    fn lost_leader(&mut self) -> Option<Ended> {
        let news = self.known.has_lost_leader() && !self.told && self.starting.is_none();
        if !news || std::mem::replace(&mut self.ending, true) {
            return None;
        }
        let (target, exit) = (self.target.clone(), self.known.exit(self.killed));
        Some(Ended { target, exit, left: Left::Processes, unasked: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::AppName;

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
        let roster = Roster::default();
        let mut started = roster.expect(target(1), vec![], None);
        let object = object_of("rip-worker-a-b-1.service");
        assert!(roster.note(&object, &state("activating", 0)).is_none());
        assert!(roster.note(&object, &state("active", 7)).is_none());
        assert_eq!(started.try_recv(), Ok(Ok(7)));
        let ended = roster.note(&object, &state("failed", 0)).unwrap();
        assert!(ended.unasked && ended.target.worker == WorkerId(1));
        assert!(roster.note(&object, &state("failed", 0)).is_none() && roster.gone(&object).is_none());
    }

    #[test]
    fn an_exit_is_told_before_all_processes_have_ended() {
        let roster = Roster::default();
        let _started = roster.expect(target(1), vec![], None);
        let object = object_of("rip-worker-a-b-1.service");
        assert!(roster.note(&object, &state("active", 7)).is_none());
        assert!(roster.lives(WorkerId(1)) && !roster.lives(WorkerId(2)));
        let mut changed = state("deactivating", 0);
        changed.insert("ExecMainCode".to_owned(), zbus::Variant::from(1_i32).try_to_owned().unwrap());

        let ending = roster.note(&object, &changed).unwrap();

        assert_eq!((ending.exit, ending.left, ending.unasked), (Exit::Background, Left::Processes, true));
        assert!(!roster.lives(WorkerId(1)) && roster.note(&object, &changed).is_none());
        assert_eq!(roster.note(&object, &state("inactive", 0)).unwrap().left, Left::Nothing);
    }

    #[test]
    fn a_start_that_fails_is_no_end() {
        let roster = Roster::default();
        let mut started = roster.expect(target(1), vec![], None);
        let object = object_of("rip-worker-a-b-1.service");
        assert!(roster.note(&object, &state("failed", 0)).is_none());
        assert_eq!(started.try_recv(), Ok(Err(Exit::Unseen)));
        assert!(!roster.has("rip-worker-a-b-1.service"));
    }

    #[test]
    fn a_unit_that_is_yet_to_come_is_not_gone() {
        let roster = Roster::default();
        let mut started = roster.expect(target(1), vec![], None);
        let object = object_of("rip-worker-a-b-1.service");
        assert!(roster.gone(&object).is_none());
        assert!(roster.note(&object, &state("active", 7)).is_none());
        assert_eq!(started.try_recv(), Ok(Ok(7)));
        assert!(roster.gone(&object).is_some());
    }

    #[test]
    fn what_was_told_to_end_did_not_end_by_itself() {
        let roster = Roster::default();
        roster.adopt(target(1), vec![]);
        roster.adopt(target(2), vec![]);
        roster.tell(WorkerId(1), Telling::End).unwrap();
        roster.tell(WorkerId(2), Telling::Reload).unwrap();
        assert!(roster.tell(WorkerId(3), Telling::End).is_none());
        assert!(!roster.gone(&object_of("rip-worker-a-b-1.service")).unwrap().unasked);
        assert!(roster.gone(&object_of("rip-worker-a-b-2.service")).unwrap().unasked);
    }
}
