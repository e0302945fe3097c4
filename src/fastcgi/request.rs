//! Writes requests: their beginning, their parameters, their bodies.
//!
//! Never here: which parameters and bodies.

use super::{HEADER, MAX_CONTENT, REQUEST, VERSION, kind};

/// Writes the beginning of a request to a responder (§5.1, §6.2). `keep`: the application is to leave the connection
/// open after its answer.
pub(crate) fn begin(out: &mut Vec<u8>, keep: bool) {
    header(out, kind::BEGIN_REQUEST, REQUEST, 8);
    out.extend_from_slice(&[0, RESPONDER, u8::from(keep) * KEEP_CONN, 0, 0, 0, 0, 0]);
}

/// Writes the parameters of a request (§3.4, §5.2). Only [`end`](Self::end) completes them.
pub(crate) struct Params<'a> {
    out: &'a mut Vec<u8>,
    /// The place where the first record of the parameters begins.
    start: usize,
}

impl<'a> Params<'a> {
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        Self { out, start }
    }

    pub(crate) fn add(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        self.lengths(name.len(), value.len());
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(value);
    }

    /// Adds a header field under its name of CGI (RFC 3875 §4.1.18): `HTTP_ACCEPT_LANGUAGE`. Several values become one,
    /// with `between` in the gaps.
    pub(crate) fn add_field<'v, I: Iterator<Item = &'v [u8]>>(
        &mut self,
        name: &str,
        values: impl Fn() -> I,
        between: &str,
    ) {
        let (count, bytes) =
            values().fold((0_usize, 0), |(count, bytes), value| (count + 1, bytes + value.len()));
        self.lengths(PREFIX.len() + name.len(), bytes + count.saturating_sub(1) * between.len());
        self.out.extend_from_slice(PREFIX.as_bytes());
        self.out.extend(name.bytes().map(|byte| if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }));
        for (at, value) in values().enumerate() {
            if at > 0 {
                self.out.extend_from_slice(between.as_bytes());
            }
            self.out.extend_from_slice(value);
        }
    }

    /// Adds the script: its folder, its name there, and the rest of the path. `prefix` stands before the script's name
    /// in URLs. Without a script the program behind the worker answers all paths below the prefix.
    pub(crate) fn add_script(&mut self, script: Option<[&str; 3]>, prefix: &str, path: impl AsRef<[u8]>) {
        let Some([root, name, info]) = script else {
            self.add("SCRIPT_NAME", prefix);
            self.add("PATH_INFO", path);
            return;
        };
        self.add("DOCUMENT_ROOT", root);
        self.add("SCRIPT_FILENAME", format!("{root}{name}"));
        self.add("SCRIPT_NAME", [prefix, name].concat());
        if !info.is_empty() {
            self.add("PATH_INFO", info);
            self.add("PATH_TRANSLATED", format!("{root}{info}"));
        }
    }

    /// Ends the parameters.
    pub(crate) fn end(self) {
        let Self { out, start } = self;
        let length = out.len() - start - HEADER;
        if length <= MAX_CONTENT {
            let mut first = Vec::with_capacity(HEADER);
            header(&mut first, kind::PARAMS, REQUEST, length);
            out[start..start + HEADER].copy_from_slice(&first);
        } else {
            let all = out.split_off(start + HEADER);
            out.truncate(start);
            stream(out, kind::PARAMS, &all);
        }
        header(out, kind::PARAMS, REQUEST, 0);
    }

    /// Writes the lengths of a name and a value (§3.4): one byte below 128, else four with the highest bit set.
    fn lengths(&mut self, name: usize, value: usize) {
        for length in [name, value] {
            match u8::try_from(length) {
                Ok(short) if short < 0x80 => self.out.push(short),
                _ => self.out.extend_from_slice(&(length as u32 | 1 << 31).to_be_bytes()),
            }
        }
    }
}

/// Writes a part of a request's body (§5.3), which must not be empty, because that would be the body's end.
pub(crate) fn stdin(out: &mut Vec<u8>, data: &[u8]) {
    debug_assert!(!data.is_empty());
    out.reserve(data.len() + data.len().div_ceil(MAX_CONTENT) * HEADER);
    stream(out, kind::STDIN, data);
}

/// The end of a request's body.
pub(crate) const STDIN_END: [u8; HEADER] = [VERSION, kind::STDIN, 0, REQUEST as u8, 0, 0, 0, 0];

/// The question to an application about itself (§4.1), which it answers without the app behind it.
pub(crate) fn get_values() -> Vec<u8> {
    const NAME: &str = "FCGI_MAX_CONNS";
    let mut out = Vec::new();
    header(&mut out, kind::GET_VALUES, 0, NAME.len() + 2);
    out.extend_from_slice(&[NAME.len() as u8, 0]);
    out.extend_from_slice(NAME.as_bytes());
    out
}

fn stream(out: &mut Vec<u8>, kind: u8, data: &[u8]) {
    for piece in data.chunks(MAX_CONTENT) {
        header(out, kind, REQUEST, piece.len());
        out.extend_from_slice(piece);
    }
}

fn header(out: &mut Vec<u8>, kind: u8, request: u16, length: usize) {
    let [id_high, id_low] = request.to_be_bytes();
    let [high, low] = (length as u16).to_be_bytes();
    out.extend_from_slice(&[VERSION, kind, id_high, id_low, high, low, 0, 0]);
}

const RESPONDER: u8 = 1;
const KEEP_CONN: u8 = 1;
const PREFIX: &str = "HTTP_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_as_the_specification_shows_it() {
        let mut out = Vec::new();
        begin(&mut out, true);
        let mut params = Params::begin(&mut out);
        params.add("SERVER_PORT", "80");
        params.add("QUERY_STRING", "x".repeat(130));
        params.add_field("accept-language", || [&b"de"[..], b"en"].into_iter(), ", ");
        params.end();
        stdin(&mut out, b"a=b");
        out.extend_from_slice(&STDIN_END);
        let mut expected = b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x01\x00\x00\x00\x00\x00".to_vec();
        let mut content = b"\x0b\x02SERVER_PORT80\x0c\x80\x00\x00\x82QUERY_STRING".to_vec();
        content.extend_from_slice("x".repeat(130).as_bytes());
        content.extend_from_slice(b"\x14\x06HTTP_ACCEPT_LANGUAGEde, en");
        expected.extend_from_slice(&[1, 4, 0, 1, 0, content.len() as u8, 0, 0]);
        expected.extend(content);
        expected.extend_from_slice(b"\x01\x04\x00\x01\x00\x00\x00\x00");
        expected.extend_from_slice(b"\x01\x05\x00\x01\x00\x03\x00\x00a=b\x01\x05\x00\x01\x00\x00\x00\x00");
        assert_eq!(out.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    #[test]
    fn what_is_larger_than_a_record_takes_several() {
        let mut out = Vec::new();
        let mut params = Params::begin(&mut out);
        params.add("A", vec![b'a'; MAX_CONTENT]);
        params.end();
        stdin(&mut out, &vec![b'b'; MAX_CONTENT + 1]);
        let mut lengths = Vec::new();
        let mut rest = &out[..];
        while let [VERSION, kind, 0, 1, high, low, 0, 0, after @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            lengths.push((*kind, length));
            rest = &after[length..];
        }
        assert!(rest.is_empty());
        let params = [(kind::PARAMS, MAX_CONTENT), (kind::PARAMS, 6), (kind::PARAMS, 0)];
        assert_eq!(lengths, [&params[..], &[(kind::STDIN, MAX_CONTENT), (kind::STDIN, 1)]].concat());
    }
}
