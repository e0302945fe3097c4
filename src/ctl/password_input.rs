//! Owns reading a new password: twice and unseen from a terminal, or one line of a pipe.
//!
//! Never here: what is done with the password (`verbs`).

use std::io::{self, BufRead, IsTerminal, Read, Stdin, Write};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use super::error::{CtlError, Exit};

/// Reads a password from standard input.
///
/// # Errors
/// When no password was given, when the two differ, or when no client could send the password.
pub(super) fn read(user: &str) -> Result<Vec<u8>, CtlError> {
    let input = io::stdin();
    let password = if input.is_terminal() { ask_twice(&input, user)? } else { first_line(&input)? };
    if password.is_empty() {
        return Err(refused("no password was given"));
    }
    if password.len() > LONGEST || password.iter().any(u8::is_ascii_control) {
        return Err(refused("a password has at most 1024 bytes, and no control characters (RFC 7617)"));
    }
    Ok(password)
}

fn first_line(input: &Stdin) -> Result<Vec<u8>, CtlError> {
    let mut line = Vec::new();
    let most = 2 * LONGEST as u64;
    input.lock().take(most).read_until(b'\n', &mut line).map_err(|error| unread(&error))?;
    Ok(without_end(line))
}

fn ask_twice(input: &Stdin, user: &str) -> Result<Vec<u8>, CtlError> {
    let _silence = Silence::begin(input).map_err(|error| unread(&error))?;
    let password = ask(input, &format!("New password of {user}: "))?;
    match ask(input, "The same again: ")? == password {
        true => Ok(password),
        false => Err(refused("the two passwords differ: nothing was changed")),
    }
}

fn ask(input: &Stdin, prompt: &str) -> Result<Vec<u8>, CtlError> {
    let mut errors = io::stderr().lock();
    let shown = errors.write_all(prompt.as_bytes()).and_then(|()| errors.flush());
    shown.map_err(|error| unread(&error))?;
    let mut line = vec![0; 2 * LONGEST];
    // A read of a terminal brings one line, and no byte of the next one.
    let read = rustix::io::read(input, &mut line).map_err(|error| unread(&error.into()))?;
    line.truncate(read);
    // The line end that the person typed was not shown.
    drop(errors.write_all(b"\n"));
    if line.is_empty() || line.last() == Some(&INTERRUPT) {
        return Err(refused("given up: nothing was changed"));
    }
    Ok(without_end(line))
}

fn without_end(mut line: Vec<u8>) -> Vec<u8> {
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    line
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silence<'a> {
    input: &'a Stdin,
    before: Termios,
}

impl<'a> Silence<'a> {
    /// Switches the echo off. Ctrl-C then ends the line and not the program, which could not restore the terminal any
    /// more.
    fn begin(input: &'a Stdin) -> io::Result<Self> {
        let before = tcgetattr(input)?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO | LocalModes::ISIG;
        silent.local_modes |= LocalModes::ICANON;
        silent.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(input, OptionalActions::Flush, &silent)?;
        Ok(Self { input, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        tcsetattr(self.input, OptionalActions::Flush, &self.before).unwrap_or_default();
    }
}

fn refused(why: &str) -> CtlError {
    CtlError::new(Exit::Failed, "no-password", why)
}

fn unread(error: &io::Error) -> CtlError {
    CtlError::new(Exit::Failed, "no-password", format!("the password cannot be read: {error}"))
}

/// The byte that Ctrl-C sends.
const INTERRUPT: u8 = 3;
/// The most bytes of a password.
const LONGEST: usize = 1024;
