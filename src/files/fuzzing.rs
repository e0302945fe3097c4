//! The path of a request to a site, as a function of bytes that panics when it could lead out of the site.
//!
//! Every test run calls the function with seeded inputs, and the targets of `tests/fuzz` call it for as long as one
//! likes. Never in a program that serves.

use super::request_path::{plain_path, uri_of};

/// The file that is looked up for a path is below the root and not hidden, and is the same when the path is written
/// anew.
pub fn static_path(data: &[u8]) {
    let Ok(raw) = std::str::from_utf8(data) else { return };
    let Some(path) = plain_path(raw) else { return };
    assert!(!path.starts_with('/') && !path.contains(['\0', '\\']), "{path:?}");
    assert!(path != "rip.toml" && !path.contains("//"), "{path:?}");
    for (at, part) in path.split('/').enumerate() {
        assert!(!part.starts_with('.') || (at == 0 && part == ".well-known"), "{path:?}");
    }
    let again = uri_of(&path);
    assert_eq!(plain_path(again.path()).as_deref(), Some(&*path), "{again}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::feed_kept;

    #[test]
    fn paths_of_sites_keep_their_promises() {
        feed_kept("static_path", 20_000, static_path);
    }
}
