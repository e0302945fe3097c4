//! The parsers of words and files, each as a function of bytes that panics when one of its promises is broken.
//!
//! Run with seeded inputs by every test run, and for as long as one likes by the targets of `tests/fuzz`. Never in a
//! program that serves.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::file;
use super::settings::compound;
use super::words::command_line;

/// The words of a command line, one a line: read, or refused with a text that says something.
pub fn words(data: &[u8]) {
    let words: Vec<OsString> =
        data.split(|byte| *byte == b'\n').map(|word| OsString::from_vec(word.to_vec())).collect();
    let exists = |path: &Path| path.ends_with("app") || path.ends_with("index.js");
    if let Err(error) = command_line::parse(&words, &exists) {
        assert!(!error.to_string().trim().is_empty(), "{error:?}");
        assert_eq!(error.exit_code(), 2, "{error}");
    }
}

/// What follows `r:`, `w:`, and the other values with parts: read the same whatever the order of the parts, or refused.
pub fn values(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let reversed = text.rsplit(',').collect::<Vec<_>>().join(",");
    match (compound::recycle(text), compound::recycle(&reversed)) {
        (Ok(one), Ok(other)) => assert_eq!(one, other, "{text:?}"),
        (Err(_), Err(_)) => {}
        (one, other) => panic!("{text:?}: {one:?}, and in another order {other:?}"),
    }
    let _ = (compound::workers(text), compound::memory(text), compound::rate(text));
}

/// A server's and an app's file: read, or refused with the file's name and the place in it.
pub fn files(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = Path::new("/fuzz.toml");
    let errors = [file::parse_server(path, text).err(), file::parse_own(path, text).err()];
    for error in errors.into_iter().flatten() {
        assert!(error.to_string().contains("/fuzz.toml:"), "{error}");
        assert_eq!(error.exit_code(), 2, "{error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::feed;

    const ROUNDS: usize = 20_000;

    #[test]
    fn words_keep_their_promises() {
        let examples: &[&[u8]] = &[
            b"./app@a,b.example\nw:2x\nr:10000,3600s,10r\n8443\n--hsts",
            b"http:8080\n./app\n--reload=module\n--max-queue=10\n--json",
            b"--cert=a.pem\n--key\nb.pem\n--auto-tls\n./index.js",
            b"add\nblog.example\n--instance=labs-api",
            b"check\n./app\nc:4\nhttps:auto\n--trusted-proxy=10.0.0.0/8",
            b"completions\nbash",
        ];
        feed(examples, ROUNDS, words);
    }

    #[test]
    fn values_keep_their_promises() {
        let examples: &[&[u8]] = &[
            b"10000,3600s,10r",
            b"50000",
            b"1h",
            b"200M,300M",
            b"50/s,100",
            b"half",
            b"2x",
            b"off",
            b"10r,5",
        ];
        feed(examples, ROUNDS, values);
    }

    #[test]
    fn files_keep_their_promises() {
        let examples: &[&[u8]] = &[
            b"instance = \"a\"\nthreads = 2\n[listen]\nhttps = 8443\nbind = [\"127.0.0.1\"]\n[limits]\nhead = \"10s\"\n",
            b"app = \"/srv/rip/blog\"\nlimits.rate = \"50/s,100\"\n[[apps]]\npath = \"/srv/x\"\nhosts = [\"x.example\"]\n",
            b"command = [\"node\", \"server.js\"]\nlisten = \"port\"\nenv = { A = \"b\" }\nstatic = { root = \"public\", spa = true }\n",
            b"workers = \"2x\"\nrecycle = { requests = 10, age = \"1h\" }\nmemory = \"200M,300M\"\ntimeouts.request = \"5s\"\n",
            b"\xef\xbb\xbfready_path = '/x'\n# comment\nconcurrency = 4\nstream = [\"/up\"]\nreload = \"none\"\n",
        ];
        feed(examples, ROUNDS, files);
    }
}
