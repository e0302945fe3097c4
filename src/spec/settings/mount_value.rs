//! Reads lists of folders at paths: `static = [{ path = "/assets", root = "public/assets" }]`.
//!
//! Never here: which settings are such lists (`table`), or finding the folders (`mounts`).

use toml::de::{DeTable, DeValue};

use super::setting_value::{SettingValue, Wrong};
use crate::name::PathPrefix;
use crate::spec::mounts::{Mount, Mounts};

/// The keys of an entry of `static`.
pub(crate) const OF_STATIC: &[&str] = &["path", "root", "fallback"];
/// The keys of an entry of `accel`.
pub(crate) const OF_ACCEL: &[&str] = &["path", "root"];

/// The form of a list with these keys, as the end of the sentence "expected …".
pub(super) fn expected(keys: &[&str]) -> String {
    let example = if keys == OF_STATIC { ("/assets", "public/assets") } else { ("/protected", "files") };
    format!("a list of folders at paths, such as [{{ path = {:?}, root = {:?} }}]", example.0, example.1)
}

/// Reads a list whose entries have these keys.
///
/// # Errors
/// The form that would be right.
pub(super) fn read<'a>(
    keys: &[&str],
    entries: impl IntoIterator<Item = &'a DeValue<'a>>,
) -> Result<SettingValue, Wrong> {
    let entries = entries.into_iter().map(|entry| match entry {
        DeValue::Table(table) => mount(keys, table),
        _ => Err(expected(keys)),
    });
    let mounts = entries.collect::<Result<_, _>>().and_then(Mounts::new);
    mounts.map(SettingValue::Mounts).map_err(Wrong)
}

fn mount(keys: &[&str], table: &DeTable<'_>) -> Result<Mount, String> {
    let (mut path, mut root, mut fallback) = (None, None, true);
    for (key, value) in table {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("path", DeValue::String(text)) => path = Some(prefix(text)?),
            ("root", DeValue::String(text)) if !text.is_empty() && !text.contains('\0') => {
                root = Some(text.as_ref().into());
            }
            ("fallback", DeValue::Boolean(on)) if keys.contains(&"fallback") => fallback = *on,
            ("path" | "root", _) => {
                return Err(format!("{key} as a text that is not empty", key = key.get_ref()));
            }
            ("fallback", _) if keys.contains(&"fallback") => return Err("fallback as true or false".into()),
            (other, _) => return Err(format!("the keys {}, of which `{other}` is none", keys.join(", "))),
        }
    }
    let (Some(prefix), Some(root)) = (path, root) else {
        return Err("a path and a root in each of its tables".into());
    };
    Ok(Mount { prefix, root, fallback, folder: None })
}

/// Reads a path prefix; `/` is every path.
fn prefix(text: &str) -> Result<Option<PathPrefix>, String> {
    match text {
        "/" => Ok(None),
        _ => PathPrefix::parse(text).map(Some).map_err(|why| format!("a path such as /assets ({why})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(keys: &[&str], list: &str) -> Result<String, String> {
        let text = format!("list = {list}");
        let table = DeTable::parse(&text).unwrap();
        let DeValue::Array(entries) = table.get_ref()["list"].get_ref() else { panic!("{list} is no list") };
        let read = read(keys, entries.iter().map(toml::Spanned::get_ref));
        read.map(|value| value.to_string()).map_err(|wrong| wrong.0)
    }

    #[test]
    fn a_list_is_read_and_each_wrong_entry_said_so() {
        assert_eq!(
            parse(
                OF_STATIC,
                "[{ path = '/', root = 'public' }, { path = '/a', root = 'x', fallback = false }]"
            ),
            Ok("/a from x (fallback = false), / from public".into())
        );
        assert_eq!(parse(OF_ACCEL, "[]"), Ok(String::new()));
        for (list, why) in [
            ("['/a']", "a list of folders at paths"),
            ("[{ path = '/a' }]", "a path and a root"),
            ("[{ root = 'x' }]", "a path and a root"),
            ("[{ path = 'a', root = 'x' }]", "must begin with `/`"),
            ("[{ path = '/a/../b', root = 'x' }]", "`.` and `..`"),
            ("[{ path = '/a%2Fb', root = 'x' }]", "without `%`"),
            ("[{ path = '/a/', root = 'x' }]", "must not end"),
            ("[{ path = '/a', root = '' }]", "root as a text"),
            ("[{ path = '/a', root = 5 }]", "root as a text"),
            ("[{ path = '/a', root = 'x', index = 'y' }]", "`index` is none"),
            ("[{ path = '/a', root = 'x', fallback = 'no' }]", "true or false"),
            ("[{ path = '/a', root = 'x' }, { path = '/a', root = 'y' }]", "there twice"),
        ] {
            let error = parse(OF_STATIC, list).unwrap_err();
            assert!(error.contains(why), "{list}: {error}");
        }
        assert!(
            parse(OF_ACCEL, "[{ path = '/a', root = 'x', fallback = true }]")
                .unwrap_err()
                .contains("is none")
        );
    }
}
