//! Owns what the properties of a unit say about its worker: whether it runs, and how it ended. Pure.

use std::collections::HashMap;

use zbus::{OwnedVariant, Variant};

use crate::backend::WorkerExit;
use crate::backend::contract::exit::Killed;

/// The state of a unit, as its properties gave it last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::backend::systemd) struct UnitState {
    /// `ActiveState`
    pub(in crate::backend::systemd) active: String,
    /// Whether the unit has been anything but inactive; a new unit begins as inactive, too.
    begun: bool,
    /// `MainPID`; 0 for none.
    pub(in crate::backend::systemd) pid: u32,
    /// `Result`
    result: String,
    /// `ExecMainCode`, as `si_code` of sigaction(2).
    code: i32,
    /// `ExecMainStatus`: an exit status, or a signal.
    status: i32,
}

impl UnitState {
    /// Takes in the changed properties.
    pub(in crate::backend::systemd) fn note(&mut self, changed: &HashMap<String, OwnedVariant>) {
        for (name, value) in changed {
            match (name.as_str(), &**value) {
                ("ActiveState", Variant::Str(text)) => {
                    self.active = text.to_string();
                    self.begun |= self.active != "inactive";
                }
                ("Result", Variant::Str(text)) => self.result = text.to_string(),
                ("MainPID", Variant::U32(pid)) => self.pid = *pid,
                ("ExecMainCode", Variant::I32(code)) => self.code = *code,
                ("ExecMainStatus", Variant::I32(status)) => self.status = *status,
                _ => {}
            }
        }
    }

    pub(in crate::backend::systemd) fn runs(&self) -> bool {
        self.active == "active" && self.pid != 0
    }

    /// Whether the program has exited and processes that it started are still being ended.
    pub(in crate::backend::systemd) fn has_lost_leader(&self) -> bool {
        self.active == "deactivating" && self.pid == 0 && self.code != 0
    }

    /// Whether no process is left.
    pub(in crate::backend::systemd) fn is_over(&self) -> bool {
        self.begun && matches!(self.active.as_str(), "inactive" | "failed")
    }

    /// How the worker ended; systemd.service(5), `Result`, and systemd.exec(5), `$EXIT_CODE`.
    ///
    /// systemd and the server give a worker the same time to end, and either may then kill it.
    pub(in crate::backend::systemd) fn exit(&self, killed: Option<Killed>) -> WorkerExit {
        match (self.result.as_str(), self.code) {
            ("oom-kill", _) => WorkerExit::OutOfMemory,
            (_, KILLED | DUMPED) if killed == Some(Killed::ForMemory) => WorkerExit::OutOfMemory,
            ("watchdog", _) => WorkerExit::Watchdog,
            ("timeout", _) => WorkerExit::Timeout,
            (_, KILLED | DUMPED) if killed == Some(Killed::TooSlow) => WorkerExit::Timeout,
            (_, EXITED) if self.status == 0 && self.has_lost_leader() => WorkerExit::Background,
            (_, EXITED) => WorkerExit::Status(self.status),
            (_, KILLED | DUMPED) => WorkerExit::Signal(self.status),
            _ => WorkerExit::Unseen,
        }
    }
}

/// CLD_EXITED
const EXITED: i32 = 1;
/// CLD_KILLED
const KILLED: i32 = 2;
/// CLD_DUMPED
const DUMPED: i32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(pairs: &[(&str, Variant<'_>)]) -> HashMap<String, OwnedVariant> {
        let owned = |value: &Variant<'_>| value.try_to_owned().unwrap();
        pairs.iter().map(|(name, value)| ((*name).to_owned(), owned(value))).collect()
    }

    fn ended(result: &str, code: i32, status: i32) -> UnitState {
        let mut known = UnitState::default();
        known.note(&changed(&[
            ("Result", result.into()),
            ("ExecMainCode", code.into()),
            ("ExecMainStatus", status.into()),
            ("ActiveState", "failed".into()),
            ("Unknown", 1_u8.into()),
        ]));
        known
    }

    #[test]
    fn results_become_causes() {
        for (result, code, status, exit) in [
            ("success", EXITED, 0, WorkerExit::Status(0)),
            ("exit-code", EXITED, 3, WorkerExit::Status(3)),
            ("signal", KILLED, 9, WorkerExit::Signal(9)),
            ("core-dump", DUMPED, 11, WorkerExit::Signal(11)),
            ("oom-kill", KILLED, 9, WorkerExit::OutOfMemory),
            ("timeout", KILLED, 9, WorkerExit::Timeout),
            ("timeout", EXITED, 1, WorkerExit::Timeout),
            ("watchdog", KILLED, 6, WorkerExit::Watchdog),
            ("watchdog", DUMPED, 6, WorkerExit::Watchdog),
            ("", 0, 0, WorkerExit::Unseen),
        ] {
            assert_eq!(ended(result, code, status).exit(None), exit, "{result}");
            assert!(ended(result, code, status).is_over());
        }
        assert_eq!(ended("signal", KILLED, 9).exit(Some(Killed::ForMemory)), WorkerExit::OutOfMemory);
        assert_eq!(ended("signal", KILLED, 9).exit(Some(Killed::TooSlow)), WorkerExit::Timeout);
        assert_eq!(ended("success", EXITED, 0).exit(Some(Killed::TooSlow)), WorkerExit::Status(0));
    }

    #[test]
    fn a_unit_that_has_not_begun_is_not_over() {
        let mut known = UnitState::default();
        known.note(&changed(&[("ActiveState", "inactive".into())]));
        assert!(!known.is_over());
        known.note(&changed(&[("ActiveState", "activating".into())]));
        known.note(&changed(&[("ActiveState", "inactive".into())]));
        assert!(known.is_over());
    }

    #[test]
    fn a_program_that_exits_before_its_children_has_gone_into_the_background() {
        let mut known = UnitState::default();
        known.note(&changed(&[("ActiveState", "active".into()), ("MainPID", 7_u32.into())]));
        known.note(&changed(&[("ActiveState", "deactivating".into())]));
        assert!(!known.has_lost_leader(), "it was told to end, and has not");
        known.note(&changed(&[
            ("MainPID", 0_u32.into()),
            ("ExecMainCode", EXITED.into()),
            ("ExecMainStatus", 0_i32.into()),
        ]));
        assert!(known.has_lost_leader() && !known.runs() && !known.is_over());
        assert_eq!(known.exit(None), WorkerExit::Background);
        known.note(&changed(&[("ActiveState", "inactive".into()), ("Result", "success".into())]));
        assert_eq!((known.has_lost_leader(), known.exit(None)), (false, WorkerExit::Status(0)));
    }

    #[test]
    fn it_runs_once_it_is_active_with_a_process() {
        let mut known = UnitState::default();
        assert!(!known.runs() && !known.is_over());
        known.note(&changed(&[("ActiveState", "active".into())]));
        assert!(!known.runs());
        known.note(&changed(&[("MainPID", 7_u32.into())]));
        assert!(known.runs());
    }
}
