//! Owns the check of what documents have from tables in the code: a whole file, or the part between two markers.
//!
//! Never here: any table.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Fails when the text between the lines `<!-- NAME … -->` and `<!-- end of NAME -->` of a document is another one.
/// With `UPDATE_PACKAGING` set it is written there instead.
///
/// # Panics
/// When they differ; when the document or its markers are missing.
#[track_caller]
pub(crate) fn assert_up_to_date(document: &str, name: &str, text: &str) {
    assert_made(document, name, |there| replaced(there, name, text));
}

/// Fails when the document is another one than is `made` of it. With `UPDATE_PACKAGING` set it becomes that instead.
///
/// # Panics
/// When they differ; when the document is missing.
#[track_caller]
pub(crate) fn assert_made(document: &str, name: &str, made: impl FnOnce(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let mut file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    // Each test is a process, and several of them may write into the same document.
    file.lock().unwrap();
    let mut there = String::new();
    file.read_to_string(&mut there).unwrap();
    let renewed = made(&there);
    if there == renewed {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_PACKAGING").is_some(),
        "`{name}` of {document} is not up to date: UPDATE_PACKAGING=1 cargo nextest run packaging renews it"
    );
    file.seek(SeekFrom::Start(0)).unwrap();
    file.set_len(0).unwrap();
    file.write_all(renewed.as_bytes()).unwrap();
}

fn replaced(document: &str, name: &str, text: &str) -> String {
    let (begin, end) = (format!("\n<!-- {name} "), format!("\n<!-- end of {name} -->\n"));
    let cut = || {
        let (before, marked) = document.split_once(&begin)?;
        let (marker, rest) = marked.split_once(" -->\n")?;
        let rest = format!("\n{rest}");
        let (_, after) = rest.split_once(&end)?;
        Some(format!("{before}{begin}{marker} -->\n\n{}\n{}{after}", text.trim(), end))
    };
    cut().unwrap_or_else(|| panic!("no lines `{}` … `{}`", begin.trim(), end.trim()))
}

#[test]
fn only_what_stands_between_the_markers_is_replaced() {
    let document = "# A\n\n<!-- t is made from x.rs -->\n\nold\n\n<!-- end of t -->\n\nB\n";
    let expected = "# A\n\n<!-- t is made from x.rs -->\n\nnew\n\n<!-- end of t -->\n\nB\n";
    assert_eq!(replaced(document, "t", "new\n"), expected);
    assert_eq!(replaced(expected, "t", "new\n"), expected);
}
