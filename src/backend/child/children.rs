//! Owns the workers' process groups as the reaper knows them, and the lines by which the server tells the reaper.
//!
//! Pure. Never here: the pipe, or a process.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::BufRead;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::process::Pid;

use super::strays::Mark;

/// The process groups of the workers that run.
pub(super) type Children = HashMap<Pid, ChildGroup>;

/// The reaper's record of a process group, beside the group's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChildGroup {
    /// The mark in the environment of the group's processes, also of those that have left the group.
    pub(super) mark: Mark,
    /// The socket files that the worker leaves behind.
    pub(super) files: Vec<PathBuf>,
}

/// The line that tells the reaper of a group. Shorter than PIPE_BUF, so that it arrives whole or not at all: pipe(7).
pub(super) fn added_line(group: Pid, child: &ChildGroup) -> Vec<u8> {
    let mut line = format!("+{group}\t{}", child.mark.as_str()).into_bytes();
    for file in &child.files {
        line.push(b'\t');
        line.extend_from_slice(file.as_os_str().as_bytes());
    }
    line.push(b'\n');
    line
}

/// The line that releases a group.
pub(super) fn released_line(group: Pid) -> Vec<u8> {
    format!("-{group}\n").into_bytes()
}

/// Reads the server's lines to their end, and returns the groups that were not released.
pub(super) fn follow(mut lines: impl BufRead) -> Children {
    let (mut children, mut line) = (Children::new(), Vec::new());
    while let Ok(1..) = lines.read_until(b'\n', &mut line) {
        // A last line without its end was cut short by the server's death.
        if line.pop() == Some(b'\n') {
            apply(&mut children, &line);
        }
        line.clear();
    }
    children
}

fn apply(children: &mut Children, line: &[u8]) {
    let mut words = line.get(1..).unwrap_or_default().split(|byte| *byte == b'\t');
    let number =
        words.next().and_then(|word| std::str::from_utf8(word).ok()).and_then(|word| word.parse().ok());
    // A signal to group 1 would reach every process: such a line is ignored.
    let Some(group) = number.filter(|number| *number > 1).and_then(Pid::from_raw) else {
        return;
    };
    match line[0] {
        b'+' => {
            let mark = words.next().and_then(|word| std::str::from_utf8(word).ok());
            let Some(mark) = mark.filter(|mark| !mark.is_empty()).map(Mark::parse) else { return };
            let files = words.map(|word| PathBuf::from(OsStr::from_bytes(word))).collect();
            children.insert(group, ChildGroup { mark, files });
        }
        b'-' => drop(children.remove(&group)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(raw: i32) -> Pid {
        Pid::from_raw(raw).unwrap()
    }

    #[test]
    fn what_was_not_released_is_left() {
        let files = vec![PathBuf::from("/run/a b/w/1.sock"), PathBuf::from("/run/a b/n/1")];
        let bare = ChildGroup { mark: Mark::new(), files: vec![] };
        let child = ChildGroup { mark: Mark::new(), files };
        let mut lines = added_line(pid(100), &child);
        lines.extend(added_line(pid(200), &bare));
        lines.extend(added_line(pid(300), &bare));
        lines.extend(released_line(pid(200)));
        lines.extend(released_line(pid(999)));

        assert_eq!(follow(&lines[..]), Children::from([(pid(100), child), (pid(300), bare)]));
    }

    #[test]
    fn lines_that_make_no_sense_guard_nothing() {
        for lines in [
            "",
            "\n",
            "+\n",
            "+0\n",
            "+1\n",
            "+-1\n",
            "+x\n",
            "+300\n",
            "+300\t\n",
            "100\n",
            "+99999999999\n",
            "+100",
            "\t\n",
            "+\t\n",
        ] {
            assert_eq!(follow(lines.as_bytes()), Children::new(), "{lines:?}");
        }
    }
}
