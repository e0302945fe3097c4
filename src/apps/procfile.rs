//! The lines of a `Procfile`: `NAME: COMMAND`.
//!
//! Never here: which of them runs (`kinds`, and whoever reads the app's settings).

use std::path::Path;

use super::source_files::text_of;

/// The lines of the `Procfile` in a folder, in their order; none without such a file.
pub(crate) fn lines_of(folder: &Path) -> Vec<(String, String)> {
    let path = folder.join("Procfile");
    if path.is_file() { lines(&text_of(&path)) } else { Vec::new() }
}

/// The lines of a text that have a name and a command.
pub(super) fn lines(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let (name, command) = line.trim().split_once(':')?;
        let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        let command = command.trim();
        (named && !command.is_empty()).then(|| (name.to_owned(), command.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_a_name_and_a_command_count() {
        let text = "# all\nweb: ./web --port $PORT\n\nworker : x\n my-job_2:  a: b \nrelease:\nrelease: rake db:migrate\r\n";
        let pair = |name: &str, command: &str| (name.to_owned(), command.to_owned());
        let expected =
            [pair("web", "./web --port $PORT"), pair("my-job_2", "a: b"), pair("release", "rake db:migrate")];
        assert_eq!(lines(text), expected);
    }
}
