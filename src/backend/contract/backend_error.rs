//! Owns why a backend, or a worker of it, could not be started.
//!
//! Never here: what follows from that.

use std::io;
use std::path::PathBuf;

/// Why a worker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The worker's listening socket could not be made.
    #[error("cannot make the worker's socket {path}: {source}")]
    Socket {
        /// The socket's path, or the address.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// The unit was refused, or the program that starts units could not be reached.
    #[error("cannot start the unit {unit}: {reason}")]
    Unit {
        /// The unit's name.
        unit: String,
        /// The reason, for people.
        reason: String,
    },
    /// The worker's program could not be started.
    #[error("cannot start `{program}` in {}: {source}", directory.display())]
    Program {
        /// The program.
        program: String,
        /// The directory that it should run in.
        directory: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Why there is no backend.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The workers of another server are still there.
    #[error("another server has its workers' sockets in {}", runtime_dir.display())]
    Busy {
        /// The runtime directory.
        runtime_dir: PathBuf,
    },
    /// The backend's files could not be made.
    #[error("cannot make the workers' sockets in {}: {source}", runtime_dir.display())]
    Files {
        /// The runtime directory.
        runtime_dir: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The process that ends the workers of a killed server could not be started.
    #[error("cannot start the guard of the workers, `{} worker-guard`: {source}", program.display())]
    Reaper {
        /// The program.
        program: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// systemd cannot be talked to.
    #[error("cannot talk to systemd over D-Bus: {0}; workers can be child processes: backend = \"child\"")]
    Bus(#[from] zbus::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_error_names_program_and_directory() {
        let error = StartError::Program {
            program: "gunicorn".into(),
            directory: PathBuf::from("/srv/rip/blog"),
            source: io::Error::other("no such program in PATH"),
        };
        assert_eq!(error.to_string(), "cannot start `gunicorn` in /srv/rip/blog: no such program in PATH");
    }
}
