//! Finds where the chunked body of a request ends (RFC 9112 §7.1), as hyper does. A line feed without its carriage
//! return breaks a body here, also among the trailers, where hyper would read on.
//!
//! Pure: bytes in, the end out. Never here: what the body is made of, or chunks of answers (`worker_body`).

/// The place in one body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::acceptor) enum Chunks {
    /// Before a size.
    #[default]
    Start,
    Size(u64),
    /// White space behind a size.
    Space(u64),
    Extension(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// The beginning of a trailer line, or of the last, empty one.
    Line,
    Trailer,
    TrailerLf,
    EndLf,
}

/// How far some bytes belong to the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum Followed {
    /// All bytes belong to the body, which goes on.
    On(Chunks),
    /// So many bytes belong to the body, which ends behind them.
    Ended(usize),
    /// So many bytes belong to the body, and the next one breaks it: nothing behind it can be understood.
    Broken(usize),
}

impl Chunks {
    pub(in crate::acceptor) fn follow(self, bytes: &[u8]) -> Followed {
        let mut state = self;
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if let Self::Data(left) = state {
                let taken = left.min((bytes.len() - at) as u64);
                at += taken as usize;
                state = if taken == left { Self::DataCr } else { Self::Data(left - taken) };
                continue;
            }
            at += 1;
            state = match (state, byte) {
                (Self::EndLf, b'\n') => return Followed::Ended(at),
                (state, byte) => match state.step(*byte) {
                    Some(next) => next,
                    None => return Followed::Broken(at - 1),
                },
            };
        }
        Followed::On(state)
    }

    fn step(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Start, _) => Self::Size(digit(0, byte)?),
            (Self::Size(size) | Self::Space(size), b' ' | b'\t') => Self::Space(size),
            (Self::Size(size) | Self::Space(size), b';') => Self::Extension(size),
            (Self::Size(size) | Self::Space(size) | Self::Extension(size), b'\r') => Self::SizeLf(size),
            (Self::Size(size), _) => Self::Size(digit(size, byte)?),
            (Self::Extension(_) | Self::Line | Self::Trailer, b'\n') => return None,
            (Self::Extension(size), _) => Self::Extension(size),
            (Self::SizeLf(0), b'\n') => Self::Line,
            (Self::SizeLf(size), b'\n') => Self::Data(size),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Start,
            (Self::Line, b'\r') => Self::EndLf,
            (Self::Trailer, b'\r') => Self::TrailerLf,
            (Self::Line | Self::Trailer, _) => Self::Trailer,
            (Self::TrailerLf, b'\n') => Self::Line,
            _ => return None,
        })
    }
}

fn digit(size: u64, byte: u8) -> Option<u64> {
    let digit = char::from(byte).to_digit(16)?;
    size.checked_mul(16)?.checked_add(u64::from(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_behind_its_last_line() {
        for body in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "00A \t;x=\"y\"\r\n0123456789\r\n2;\r\n\r\n\r\n0;e\r\n\r\n",
            "1\r\nx\r\n0\r\nX-Sum: 1\r\nX: y\r\n\r\n",
        ] {
            let bytes = format!("{body}GET / HTTP/1.1\r\n");
            for cut in 0..body.len() {
                let Followed::On(state) = Chunks::default().follow(&bytes.as_bytes()[..cut]) else {
                    panic!("{body:?} has no end before {cut}");
                };
                assert_eq!(
                    state.follow(&bytes.as_bytes()[cut..]),
                    Followed::Ended(body.len() - cut),
                    "{body:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_chunk_is_broken() {
        for body in [
            "\r",
            "x",
            " ",
            "3\n",
            "3 3",
            "3\r\nabcd",
            "3\r\nabc\n",
            "3;a\n",
            "3\rx",
            "10000000000000000",
            "0\r\n\rx",
            "0\r\nA: b\rx",
            "0\r\nA: b\n",
            "0\r\n\n",
        ] {
            let before = body.len() - 1;
            assert_eq!(Chunks::default().follow(body.as_bytes()), Followed::Broken(before), "{body:?}");
        }
    }
}
