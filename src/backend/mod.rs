//! Owns starting, watching and ending worker processes: what a backend promises (`contract`), and the two backends.
//!
//! Never here: when a worker should start or end (`supervisor`).

pub mod child;
mod contract;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod handover;
mod listeners;
pub(crate) mod shim;
mod sockets;
pub(crate) mod systemd;

pub(crate) use child::{environment_of_command, environment_of_unit};
pub use contract::backend_error::{OpenError, StartError};
pub use contract::exit::WorkerExit;
pub use contract::listening::{Holder, Listening};
pub use contract::signal::Signal;
pub use contract::{Backend, Order, Started, SurvivingWorker, WorkerEvent};

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::Duration;

    use super::Order;
    use crate::name::{AppName, GenerationId, InstanceName, WorkerId};
    use crate::spec::{LaunchSpec, Listen, Memory};

    /// An order for a worker of the app `app` of the instance `test`.
    pub(crate) fn order(worker: u64, command: &[&str]) -> Order {
        let launch = LaunchSpec {
            app: AppName::parse("app").unwrap(),
            instance: InstanceName::parse("test").unwrap(),
            directory: PathBuf::from("/"),
            command: command.iter().map(ToString::to_string).collect(),
            env: BTreeMap::new(),
            notify: true,
            pid_file: false,
            listen: Listen::Fd,
            memory: Memory::default(),
            kill_after: Duration::from_secs(5),
            job: None,
        };
        Order { worker: WorkerId(worker), generation: GenerationId(1), launch: Arc::new(launch) }
    }
}
