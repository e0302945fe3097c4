//! Owns the output for the person: data on standard output, messages on standard error, with colours or without.
//!
//! Never here: what the text says.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use anstream::{AutoStream, ColorChoice};
use serde::Serialize;

use super::error::CtlError;

/// Both outputs. Texts may have colours, which are taken out where they do not belong.
pub(super) struct Screen {
    data: Box<dyn Write>,
    messages: Box<dyn Write>,
    failed: Option<io::Error>,
}

/// Whether the data is still read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataReader {
    Listening,
    Gone,
}

impl Screen {
    pub(super) fn of_process(color: ColorChoice) -> Self {
        let data = AutoStream::new(io::stdout(), color);
        let messages = AutoStream::new(io::stderr(), color);
        Self::new(Box::new(data), Box::new(messages))
    }

    pub(super) fn new(data: Box<dyn Write>, messages: Box<dyn Write>) -> Self {
        Self { data, messages, failed: None }
    }

    /// Writes data as it is, at once. After the first failure nothing more is written.
    pub(super) fn data(&mut self, bytes: &[u8]) -> DataReader {
        if self.failed.is_none() {
            self.failed = self.data.write_all(bytes).and_then(|()| self.data.flush()).err();
        }
        if self.failed.is_none() { DataReader::Listening } else { DataReader::Gone }
    }

    /// Writes a value as a line of JSON.
    pub(super) fn json(&mut self, value: &impl Serialize) -> DataReader {
        match serde_json::to_vec(value) {
            Ok(mut line) => {
                line.push(b'\n');
                self.data(&line)
            }
            Err(error) => {
                self.failed.get_or_insert(error.into());
                DataReader::Gone
            }
        }
    }

    /// Writes an answer of the server unchanged, so that fields of a newer server are kept.
    pub(super) fn answer(&mut self, bytes: &[u8]) -> DataReader {
        let mut line = bytes.trim_ascii_end().to_vec();
        line.push(b'\n');
        self.data(&line)
    }

    /// Writes a message. A failure changes nothing.
    pub(super) fn say(&mut self, text: impl Display) {
        drop(writeln!(self.messages, "{text}"));
    }

    /// Writes an error, and what to do.
    pub(super) fn complain(&mut self, error: &CtlError) {
        use super::render::{bad, plain};

        self.say(format_args!("{} {}", bad("rip-serverctl:"), plain(&error.text.message)));
        if let Some(hint) = &error.text.hint {
            self.say(format_args!("  {}", plain(hint)));
        }
    }

    /// Ends the output; an error when data was lost. A reader that left early has what it wanted, which is no failure.
    pub(super) fn finish(self) -> io::Result<()> {
        match self.failed {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_success_and_a_full_disk_is_not() {
        for (kind, well) in [(ErrorKind::BrokenPipe, true), (ErrorKind::StorageFull, false)] {
            let mut screen = Screen::new(Box::new(Broken(kind)), Box::new(Broken(kind)));
            screen.say("nobody hears this");
            assert_eq!(screen.data(b"x"), DataReader::Gone);
            assert_eq!(screen.finish().is_ok(), well, "{kind}");
        }
    }
}
