//! The user who runs this process, for messages to people.
//!
//! Never here: who may do what.

use std::fs;

/// The name of the user, with the number where the user has no name.
pub(crate) fn of_this_process() -> String {
    let number = rustix::process::geteuid().as_raw().to_string();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    name.unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_called_root() {
        if rustix::process::geteuid().is_root() {
            assert_eq!(of_this_process(), "root");
        }
    }
}
