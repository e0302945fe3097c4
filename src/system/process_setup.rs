//! Owns the state that this process inherits: blocked and ignored signals, which it does not pass on, and the limit of
//! open files, which it passes on as it was.
//!
//! Never here: what a signal means to the server (`signals`), or how many files it needs (`boot`).

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to `wanted`, as far as the hard limit allows; returns the new limit.
/// [`open_files`] is the limit before.
pub(crate) fn raise_open_files(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let soft = limit.current.unwrap_or(u64::MAX);
    if soft >= wanted {
        return soft;
    }
    let raised = wanted.min(limit.maximum.unwrap_or(u64::MAX));
    match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum }) {
        Ok(()) => {
            // Only the first limit is kept: later ones were raised by this process.
            let _ = SOFT.set(soft);
            raised
        }
        Err(_) => soft,
    }
}

/// The soft limit of open files before this process raised it; `None`: it did not.
pub(crate) fn open_files() -> Option<u64> {
    SOFT.get().copied()
}

/// Sets the soft limit of open files that another process had.
pub(crate) fn restore_open_files(soft: u64) {
    let limit = getrlimit(Resource::Nofile);
    // Lowering a soft limit is always allowed; where it cannot be set, the program is started all the same.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: limit.maximum });
}

/// Unblocks every signal, because a server that cannot hear SIGTERM cannot be stopped. To be called while the process
/// has one thread: each later thread takes its mask from it.
pub(crate) fn unblock_signals() {
    #[expect(unsafe_code, reason = "the standard library has no interface to the signal mask")]
    // SAFETY: the set is made by sigemptyset(3) before it is read, and no pointer outlives the calls.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Gives every signal its default action: ignored signals stay ignored across exec, and programs expect that none is
/// (SIGPIPE above all). For a process that executes a program next and has no handlers of its own.
pub(crate) fn default_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        #[expect(unsafe_code, reason = "the standard library has no interface to what signals do")]
        // SAFETY: the default action runs no code of this process. For SIGKILL, SIGSTOP and the C library's own
        // signals the call fails and changes nothing.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

static SOFT: OnceLock<u64> = OnceLock::new();
