//! Reads the records that an application sends, strictly: its standard output is left without them.
//!
//! Never here: what that output says, or reading a socket.

use super::{HEADER, REQUEST, VERSION, kind};

/// The state in which the reading of one request's records is.
#[derive(Debug, Default)]
pub(crate) struct Records {
    state: StreamState,
    /// The bytes so far of a header, or of an `END_REQUEST`.
    part: [u8; HEADER],
    held: usize,
    /// The bytes to come of the content of the current record.
    content: u16,
    padding: u8,
    /// Whether a record has been read.
    begun: bool,
    stdout_ended: bool,
    refused: bool,
    /// Whether bytes came behind the end of the request.
    goes_on: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum StreamState {
    #[default]
    Header,
    Stdout,
    Stderr,
    End,
    /// The padding behind the last record's content.
    LastPadding,
    Over,
}

/// The fault of the bytes that came, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadRecord(pub(crate) &'static str);

impl Records {
    /// Takes the records off the bytes behind `from`, which came last, and leaves their standard output there. Standard
    /// error goes to `stderr`.
    ///
    /// # Errors
    /// [`BadRecord`]; `bytes` is then of no use.
    pub(crate) fn unwrap(
        &mut self,
        bytes: &mut Vec<u8>,
        from: usize,
        mut stderr: impl FnMut(&[u8]),
    ) -> Result<(), BadRecord> {
        let (mut at, mut to) = (from, from);
        while at < bytes.len() {
            let there = bytes.len() - at;
            let content = there.min(self.content.into());
            match self.state {
                StreamState::Over => {
                    self.goes_on = true;
                    break;
                }
                StreamState::Header if self.content == 0 && self.padding > 0 => {
                    at += self.skip_padding(there);
                    continue;
                }
                StreamState::LastPadding => at += self.skip_padding(there),
                StreamState::Header => {
                    let count = self.hold(&bytes[at..]);
                    at += count;
                    if self.held == HEADER {
                        self.held = 0;
                        self.open()?;
                    }
                }
                StreamState::Stdout => {
                    bytes.copy_within(at..at + content, to);
                    (at, to) = (at + content, to + content);
                    self.content -= content as u16;
                }
                StreamState::Stderr => {
                    stderr(&bytes[at..at + content]);
                    at += content;
                    self.content -= content as u16;
                }
                StreamState::End => {
                    let count = self.hold(&bytes[at..]);
                    at += count;
                    self.content -= count as u16;
                }
            }
            self.close()?;
        }
        bytes.truncate(to);
        Ok(())
    }

    /// Whether the whole answer has come.
    pub(crate) fn is_over(&self) -> bool {
        self.state == StreamState::Over
    }

    /// Whether the application has ended the request without having looked at it (§5.5: `FCGI_OVERLOADED`,
    /// `FCGI_CANT_MPX_CONN`).
    pub(crate) fn is_refused(&self) -> bool {
        self.refused
    }

    /// Whether bytes came behind the answer's end: they belong to no answer.
    pub(crate) fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// Whether no record has been read.
    pub(crate) fn is_none(&self) -> bool {
        !self.begun
    }

    fn hold(&mut self, bytes: &[u8]) -> usize {
        let count = (HEADER - self.held).min(bytes.len());
        self.part[self.held..self.held + count].copy_from_slice(&bytes[..count]);
        self.held += count;
        count
    }

    fn skip_padding(&mut self, there: usize) -> usize {
        let count = there.min(self.padding.into());
        self.padding -= count as u8;
        count
    }

    /// Begins a record whose header has come.
    fn open(&mut self) -> Result<(), BadRecord> {
        let [version, kind, id_high, id_low, high, low, padding, _] = self.part;
        if version != VERSION {
            return Err(BadRecord("it has a record of another version than 1"));
        }
        if u16::from_be_bytes([id_high, id_low]) != REQUEST {
            return Err(BadRecord("it has a record of another request"));
        }
        self.content = u16::from_be_bytes([high, low]);
        self.padding = padding;
        self.state = match kind {
            kind::STDOUT if self.content == 0 => {
                self.stdout_ended = true;
                StreamState::Header
            }
            kind::STDOUT if self.stdout_ended => {
                return Err(BadRecord("its standard output goes on behind its end"));
            }
            kind::STDOUT => StreamState::Stdout,
            kind::STDERR => StreamState::Stderr,
            kind::END_REQUEST if self.content == 8 => StreamState::End,
            kind::END_REQUEST => return Err(BadRecord("its last record has not 8 bytes")),
            _ => return Err(BadRecord("it has a record that no application sends")),
        };
        self.begun = true;
        Ok(())
    }

    /// Goes on after the content of the current record.
    fn close(&mut self) -> Result<(), BadRecord> {
        match self.state {
            StreamState::Stdout | StreamState::Stderr if self.content == 0 => {
                self.state = StreamState::Header
            }
            StreamState::End if self.content == 0 => {
                self.refused = match self.part[4] {
                    COMPLETE => false,
                    CANT_MPX_CONN | OVERLOADED => true,
                    UNKNOWN_ROLE => return Err(BadRecord("it is from an application that is no responder")),
                    _ => return Err(BadRecord("its last record has an unknown status")),
                };
                self.state = if self.padding == 0 { StreamState::Over } else { StreamState::LastPadding };
            }
            StreamState::LastPadding if self.padding == 0 => self.state = StreamState::Over,
            _ => {}
        }
        Ok(())
    }
}

/// The protocol status of a completed request (§8).
const COMPLETE: u8 = 0;
const CANT_MPX_CONN: u8 = 1;
const OVERLOADED: u8 = 2;
const UNKNOWN_ROLE: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
        let mut record = vec![1, kind, 0, 1, 0, content.len() as u8, padding, 0];
        record.extend_from_slice(content);
        record.extend(std::iter::repeat_n(b'-', padding.into()));
        record
    }

    fn end(status: u8) -> Vec<u8> {
        record(kind::END_REQUEST, &[0, 0, 0, 7, status, 0, 0, 0], 0)
    }

    /// Standard output and error, and whether the answer is over.
    fn read(bytes: &[u8], cut: usize) -> Result<(String, String, bool), BadRecord> {
        let mut records = Records::default();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(cut) {
            let from = out.len();
            out.extend_from_slice(piece);
            records.unwrap(&mut out, from, |line| err.extend_from_slice(line))?;
        }
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ok((text(out), text(err), records.is_over()))
    }

    #[test]
    fn records_cut_anywhere_are_the_same_records() {
        let bytes = [
            record(kind::STDOUT, b"Status: 200\r\n", 3),
            record(kind::STDERR, b"warning\n", 0),
            record(kind::STDOUT, b"\r\nhello", 0),
            record(kind::STDOUT, b"", 2),
            record(kind::STDERR, b"", 0),
            record(kind::END_REQUEST, &[0; 8], 5),
        ]
        .concat();
        for cut in 1..=bytes.len() {
            let expected = ("Status: 200\r\n\r\nhello".into(), "warning\n".into(), true);
            assert_eq!(read(&bytes, cut), Ok(expected), "cut every {cut}");
        }
        for length in 0..bytes.len() {
            assert!(!read(&bytes[..length], 7).unwrap().2, "{length} of {} bytes are not all", bytes.len());
        }
    }

    #[test]
    fn an_application_may_refuse_a_request_unread() {
        for (status, refused) in [(COMPLETE, false), (CANT_MPX_CONN, true), (OVERLOADED, true)] {
            let mut records = Records::default();
            records.unwrap(&mut end(status), 0, |_| {}).unwrap();
            assert_eq!((records.is_over(), records.is_refused()), (true, refused));
        }
    }

    #[test]
    fn bytes_behind_the_end_are_not_of_the_answer() {
        for behind in [end(COMPLETE), b"x".to_vec()] {
            let mut bytes = [record(kind::STDOUT, b"all", 0), end(COMPLETE), behind].concat();
            let mut records = Records::default();
            records.unwrap(&mut bytes, 0, |_| {}).unwrap();
            assert_eq!((&bytes[..], records.is_over(), records.goes_on()), (&b"all"[..], true, true));
        }
    }

    #[test]
    fn what_is_no_record_of_this_answer_is_an_error() {
        let mut of_another = record(kind::STDOUT, b"x", 0);
        of_another[3] = 2;
        let mut of_none = record(kind::STDOUT, b"x", 0);
        of_none[3] = 0;
        let mut version = record(kind::STDOUT, b"x", 0);
        version[0] = 2;
        for bytes in [
            b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
            of_another,
            of_none,
            version,
            record(kind::STDIN, b"x", 0),
            record(kind::PARAMS, b"x", 0),
            record(11, &[0; 8], 0),
            record(kind::END_REQUEST, b"", 0),
            record(kind::END_REQUEST, &[0; 9], 0),
            end(UNKNOWN_ROLE),
            end(4),
            [record(kind::STDOUT, b"", 0), record(kind::STDOUT, b"x", 0)].concat(),
        ] {
            for cut in [1, bytes.len()] {
                assert!(read(&bytes, cut).is_err(), "{}", bytes.escape_ascii());
            }
        }
    }
}
