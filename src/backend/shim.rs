//! Owns `rip-server worker-exec`: a moment in the worker's own process that puts its listener at file descriptor 3
//! and becomes the app's program.
//!
//! Never here: anything that outlives the exec; a setting; a wait for anybody but the server.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::sockopt::socket_acceptconn;

use super::handover::{self, ExecRefusal, Given};
use crate::system::process_setup;

/// Runs `worker-exec [--channel | --keep-input] [--open-files=N] -- PROGRAM [ARGUMENT]...`, given the words after `worker-exec`.
///
/// The program starts with no signal blocked or ignored, and with the soft limit of open files that `--open-files`
/// names.
///
/// With `--channel`, standard input is the server's handover channel, and the shim reports there why a program cannot
/// be executed. Without it, standard input is the listener itself, as systemd passes it, or anything else when the
/// worker gets none. With `--keep-input` the program reads what this process would. Returns only when there is no program: with 2 for wrong words, else 127.
///
/// The call has to come before the process has a second thread or a file of its own, because all inherited descriptors
/// but the first three are closed.
pub(crate) fn run_shim(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Some(call) = ShimCall::parse(words) else {
        eprintln!(
            "usage: rip-server worker-exec [--channel | --keep-input] [--open-files=N] -- PROGRAM [ARGUMENT]..."
        );
        return ExitCode::from(2);
    };
    close_strays();
    process_setup::unblock_signals();
    process_setup::default_signals();
    if let Some(soft) = call.open_files {
        process_setup::restore_open_files(soft);
    }
    let refused = if call.channel { on_channel(&call) } else { on_stdin(&call) };
    if let Err(ExecRefusal { text, .. }) = refused {
        eprintln!("rip-server: cannot start `{}`: {text}", call.program.display());
    }
    ExitCode::from(127)
}

struct ShimCall {
    channel: bool,
    keep_input: bool,
    open_files: Option<u64>,
    program: OsString,
    arguments: Vec<OsString>,
}

impl ShimCall {
    fn parse(words: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut words = words.into_iter();
        let mut word = words.next()?;
        let (channel, keep_input) = (word == "--channel", word == KEEP_INPUT);
        if channel || keep_input {
            word = words.next()?;
        }
        let open_files = match word.to_str().and_then(|word| word.strip_prefix(OPEN_FILES)) {
            Some(number) => Some(number.parse().ok()?),
            None => None,
        };
        if open_files.is_some() {
            word = words.next()?;
        }
        if word != "--" {
            return None;
        }
        Some(Self { channel, keep_input, open_files, program: words.next()?, arguments: words.collect() })
    }

    /// Becomes the program, or returns why it cannot.
    fn execute(&self, listener: Option<OwnedFd>) -> ExecRefusal {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        if !self.keep_input {
            command.stdin(Stdio::null());
        }
        if let Some(listener) = listener {
            if let Err(error) = settle(listener) {
                return error.into();
            }
            // exec keeps the process id, so that it is the program's too (sd_listen_fds(3)).
            command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "http");
            command.env("LISTEN_PID", std::process::id().to_string());
        }
        explained(&self.program, &command.exec())
    }
}

fn on_channel(call: &ShimCall) -> Result<(), ExecRefusal> {
    // The channel moves away from 0, which becomes /dev/null, and from 3.
    let channel = UnixStream::from(fcntl_dupfd_cloexec(io::stdin(), ABOVE_LISTENER)?);
    match handover::receive(&channel)? {
        Given::Go(listener) => Ok(call.execute(listener).send(&channel)?),
        Given::Gone => Ok(()),
    }
}

fn on_stdin(call: &ShimCall) -> Result<(), ExecRefusal> {
    if call.keep_input {
        return Err(call.execute(None));
    }
    let stdin = io::stdin();
    // ENOTSOCK and a plain "no" mean the same: there is no listener to pass on.
    let listens = socket_acceptconn(stdin.as_fd()).unwrap_or(false);
    let listener = listens.then(|| fcntl_dupfd_cloexec(&stdin, LISTENER)).transpose()?;
    Err(call.execute(listener))
}

/// Moves the listener to descriptor 3, open across exec.
fn settle(listener: OwnedFd) -> io::Result<()> {
    let listener = match listener.as_raw_fd() {
        LISTENER => listener,
        _ => fcntl_dupfd_cloexec(&listener, LISTENER)?,
    };
    if listener.as_raw_fd() != LISTENER {
        return Err(io::Error::other("file descriptor 3 is taken"));
    }
    fcntl_setfd(&listener, FdFlags::empty())?;
    // The program owns the descriptor from now on.
    let _ = listener.into_raw_fd();
    Ok(())
}

/// Closes inherited descriptors that were left open without close-on-exec: a worker inherits only its own.
fn close_strays() {
    let Ok(listing) = fs::read_dir("/proc/self/fd") else {
        return;
    };
    let open: Vec<RawFd> = listing
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in open {
        // A descriptor that is closed by now was the listing's own.
        if fs::read_link(format!("/proc/self/fd/{fd}")).is_ok() {
            #[expect(unsafe_code, reason = "an inherited descriptor has no owner until one is made")]
            // SAFETY: the descriptor is open, and this process has one thread and has opened nothing that it still
            // holds.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
}

/// Adds to an error number what a person needs to know.
fn explained(program: &OsStr, error: &io::Error) -> ExecRefusal {
    let text = match Errno::from_io_error(error) {
        Some(Errno::NOENT) if found(program) => {
            "the interpreter named in its first line does not exist".into()
        }
        Some(Errno::NOENT) if is_path(program) => "there is no such file".into(),
        Some(Errno::NOENT) => format!("there is no such program in PATH ({})", search_path().display()),
        Some(Errno::ACCESS) => {
            "it may not be executed: look at the permissions of the file and its folders".into()
        }
        _ => error.to_string(),
    };
    ExecRefusal { errno: error.raw_os_error().unwrap_or_default(), text }
}

/// Whether `program` is a path, which is not looked up in PATH: execvp(3).
fn is_path(program: &OsStr) -> bool {
    program.as_bytes().contains(&b'/')
}

fn found(program: &OsStr) -> bool {
    match is_path(program) {
        true => Path::new(program).exists(),
        false => std::env::split_paths(&search_path()).any(|folder| folder.join(program).exists()),
    }
}

fn search_path() -> OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

/// The word for a program that reads what the shim would.
pub(super) const KEEP_INPUT: &str = "--keep-input";
/// The word before the soft limit of open files that the program gets.
pub(super) const OPEN_FILES: &str = "--open-files=";
const LISTENER: RawFd = 3;
const ABOVE_LISTENER: RawFd = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_an_optional_channel_a_dash_and_a_program() {
        let parse = |words: &[&str]| {
            let call = ShimCall::parse(words.iter().map(OsString::from))?;
            Some((call.channel, call.program, call.arguments))
        };
        let limit = |words: &[&str]| ShimCall::parse(words.iter().map(OsString::from))?.open_files;
        assert_eq!(limit(&["--channel", "--open-files=1024", "--", "a"]), Some(1024));
        assert_eq!(limit(&["--", "a", "--open-files=1024"]), None);
        assert_eq!(parse(&["--", "a"]), Some((false, "a".into(), vec![])));
        assert_eq!(
            parse(&["--channel", "--", "a", "--", "b"]),
            Some((true, "a".into(), vec!["--".into(), "b".into()]))
        );
        for wrong in [
            &[][..],
            &["--"],
            &["a"],
            &["--channel"],
            &["--channel", "--"],
            &["--open-files=x", "--", "a"],
            &["--other", "--", "a"],
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_told_from_an_interpreter_that_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("run");
        fs::write(&script, "#!/nonexistent/interpreter\n").unwrap();
        let missing = io::Error::from(Errno::NOENT);

        let text = |program: &OsStr| explained(program, &missing).text;

        assert_eq!(text(script.as_os_str()), "the interpreter named in its first line does not exist");
        assert_eq!(text(OsStr::new("./no-such-file")), "there is no such file");
        assert!(text(OsStr::new("no-such-program")).starts_with("there is no such program in PATH (/"));
    }
}
