//! Owns `passwd`: a user's line in a file of users.
//!
//! Never here: reading a password (`password_input`), or what lines mean (`passwords`).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::ctl::error::{CtlError, Exit};
use crate::ctl::password_input;
use crate::ctl::session::Caller;
use crate::files::plain_file;
use crate::passwords::hash::PasswordHash;
use crate::passwords::users::{LARGEST, Users, check_name};
use crate::system::durable::{self, FileRights};

/// Write a user and a password into a file, for the setting auth; servers go by it at once
///
/// The password is asked for twice and not shown; of a pipe it is the first line. The file is replaced as a whole:
/// owner, group, mode, other lines and comments stay, and a new one is readable for its owner and group. Needs no
/// server
#[derive(Debug, Args)]
pub(in crate::ctl) struct PasswdVerb {
    /// The file, such as /etc/rip-server/staff.htpasswd
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The user's name
    #[arg(value_name = "USER", value_parser = user)]
    user: String,
    /// Take the user out of the file
    #[arg(long)]
    delete: bool,
}

impl PasswdVerb {
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        // A link stays a link, and the file that it leads to is replaced.
        let file = fs::canonicalize(&self.file).unwrap_or_else(|_| self.file.clone());
        let (text, rights) = read(&file)?;
        let others: Vec<_> = text.lines().filter(|line| !is_of(line, &self.user)).collect();
        let was_there = others.len() < text.lines().count();
        if self.delete && !was_there {
            let message = format!("{} has no user `{}`", file.display(), self.user);
            return Err(CtlError::new(Exit::Failed, "no-such-user", message));
        }
        let mut lines: Vec<_> = others.iter().map(|line| (*line).to_owned()).collect();
        if !self.delete {
            let password = password_input::read(&self.user)?;
            let hash = PasswordHash::make(&password)
                .map_err(|why| CtlError::new(Exit::Failed, "internal", format!("no hash was made: {why}")))?;
            lines.push(format!("{}:{}", self.user, hash.as_str()));
        }
        let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        durable::write_with_rights(&file, text.as_bytes(), rights)
            .map_err(|error| CtlError::file(&file, &error))?;
        let done = match (self.delete, was_there) {
            (true, _) => "deleted",
            (false, true) => "changed",
            (false, false) => "added",
        };
        if caller.common.json {
            caller.screen.json(&json!({ "ok": true, "user": self.user, "done": done }));
        } else {
            caller.screen.data(format!("{done} {} in {}\n", self.user, file.display()).as_bytes());
        }
        Ok(Exit::Ok)
    }
}

fn user(text: &str) -> Result<String, &'static str> {
    check_name(text).map(|()| text.to_owned())
}

fn is_of(line: &str, user: &str) -> bool {
    line.strip_prefix(user).is_some_and(|rest| rest.starts_with(':'))
}

/// The text of the file, empty where there is none, and the rights that it has or is to have.
fn read(file: &Path) -> Result<(String, FileRights), CtlError> {
    let failed = |error| CtlError::file(file, &error);
    let text = match plain_file::read_to_string(file, LARGEST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((String::new(), new_file())),
        read => read.map_err(failed)?,
    };
    // A person who has misspelt the file's name must not lose another file.
    Users::parse(&text).map_err(|why| {
        CtlError::new(Exit::Failed, "bad-file", format!("{} {why}", file.display()))
            .hint("put the line right, or delete it: the server takes no such file")
    })?;
    let there = fs::metadata(file).map_err(failed)?;
    let rights =
        FileRights { mode: there.mode() & 0o777, owner: Some(there.uid()), group: Some(there.gid()) };
    Ok((text, rights))
}

/// The rights of a new file. For root, the group is that of the service, which has to read it.
fn new_file() -> FileRights {
    let groups = || fs::read_to_string("/etc/group").ok();
    let of_service = |line: &str| line.strip_prefix("rip-server:")?.split(':').nth(1)?.parse().ok();
    let group = rustix::process::geteuid().is_root().then(groups).flatten();
    FileRights {
        mode: 0o640,
        owner: None,
        group: group.and_then(|groups| groups.lines().find_map(of_service)),
    }
}
