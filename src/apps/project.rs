//! The project that an app's folder belongs to, and the hints in its files for a person when no app was recognised.
//!
//! Never here: recognising an app.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::source_files::name_of;

/// The folder and those above it, nearest first, up to the project's: the first that has one of a project's marks. The
/// folder alone where none has, or where others may write to what is between.
pub(super) fn roots(folder: &Path) -> Vec<PathBuf> {
    let alone = vec![folder.to_path_buf()];
    let Some(owner) = owner(folder).filter(|_| !is_marked(folder)) else { return alone };
    let mut roots = alone.clone();
    for above in folder.ancestors().skip(1).take(MOST_STEPS) {
        if above.parent().is_none() || !self::owner(above).is_some_and(|uid| uid == owner || uid == 0) {
            return alone;
        }
        roots.push(above.to_path_buf());
        if is_marked(above) {
            return roots;
        }
    }
    alone
}

/// Hints about what in the folder has to be built or run in some other way first, and how.
pub(super) fn hints(folder: &Path) -> Vec<String> {
    let there = |name: &str| match name.strip_prefix('*') {
        Some(ending) => names(folder).iter().any(|name| name.ends_with(ending)),
        None => folder.join(name).exists(),
    };
    let rows = HINTS.iter().filter(|(names, _)| names.iter().any(|name| there(name)));
    let mut hints: Vec<_> = rows.map(|(_, hint)| (*hint).to_owned()).collect();
    let names = names(folder);
    if hints.is_empty() && !names.is_empty() {
        let shown: Vec<_> = names.iter().take(SHOWN).map(String::as_str).collect();
        let more = if names.len() > SHOWN { ", …" } else { "" };
        hints.push(format!("it has {}{more}", shown.join(", ")));
    }
    hints
}

/// Whether a folder in a project can hold an app of its own, or a module of one.
pub(super) fn holds_code(folder: &Path) -> bool {
    let name = name_of(folder);
    !name.starts_with('.') && !OTHERS.contains(&&*name) && !folder.join("pyvenv.cfg").exists()
}

/// The folders in this one, in the order of their names.
pub(super) fn folders(folder: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<_> =
        names(folder).iter().map(|name| folder.join(name)).filter(|path| path.is_dir()).collect();
    folders.retain(|folder| holds_code(folder));
    folders
}

/// The files in this folder with that suffix, in the order of their names.
pub(super) fn files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let files = names(folder).into_iter().map(|name| folder.join(name));
    files.filter(|path| path.extension().is_some_and(|own| own == suffix) && path.is_file()).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}

/// The owner of a folder; `None` when others may write to it.
fn owner(folder: &Path) -> Option<u32> {
    let meta = fs::metadata(folder).ok()?;
    (meta.mode() & 0o002 == 0).then(|| meta.uid())
}

fn is_marked(folder: &Path) -> bool {
    MARKS.iter().any(|mark| folder.join(mark).exists())
}

/// The files and folders that only a whole project has.
const MARKS: [&str; 17] = [
    ".venv",
    "venv",
    "pyproject.toml",
    "requirements.txt",
    "setup.py",
    "setup.cfg",
    "Pipfile",
    "poetry.lock",
    "uv.lock",
    "manage.py",
    "package.json",
    "Gemfile",
    "rip.toml",
    "Procfile",
    ".git",
    "Dockerfile",
    "node_modules",
];
/// The folders of a project that are neither an app nor a module that makes one.
const OTHERS: [&str; 22] = [
    "node_modules",
    "venv",
    "env",
    "__pycache__",
    "tests",
    "test",
    "docs",
    "doc",
    "migrations",
    "scripts",
    "static",
    "templates",
    "media",
    "instance",
    "dist",
    "build",
    "out",
    "examples",
    "vendor",
    "tmp",
    "log",
    "data",
];
const HINTS: [(&[&str], &str); 10] = [
    (&["go.mod"], "go.mod is there, but no program: `go build -o app .`"),
    (
        &["Cargo.toml"],
        "Cargo.toml is there, but no program in the folder itself: `cargo build --release`, then in rip.toml \
         `command = [\"target/release/NAME\"]`",
    ),
    (
        &["pom.xml", "build.gradle", "build.gradle.kts"],
        "a Java project, but no .jar of it in target or build/libs: build it",
    ),
    (
        &["*.csproj", "*.fsproj"],
        "a .NET project: `dotnet publish -o out`, then in rip.toml `command = [\"out/NAME\"]`",
    ),
    (
        &["mix.exs"],
        "an Elixir project: `MIX_ENV=prod mix release`, then a Procfile with \
      `web: _build/prod/rel/NAME/bin/NAME start`",
    ),
    (
        &["composer.json"],
        "a PHP project, but no index.php here, in public or in web: `php.root` in rip.toml names its folder",
    ),
    (
        &["deno.json", "deno.jsonc"],
        "a Deno project, but no main.ts that serves: a Procfile with `web: deno serve --allow-all FILE`",
    ),
    (
        &["Dockerfile", "docker-compose.yml", "compose.yaml"],
        "a Dockerfile or compose file, which is not read: what its \
      CMD says goes into a Procfile, as in `web: PROGRAM --port $PORT`",
    ),
    (&["Gemfile"], "Gemfile is there, but no config.ru: one with `require \"./NAME\"` and `run NAME`"),
    (
        &["requirements.txt", "pyproject.toml", "setup.py"],
        "a Python project, but no file or package in which an \
      application was found: in rip.toml `command = [\"gunicorn\", \"MODULE:NAME\"]`",
    ),
];
const MOST_STEPS: usize = 3;
const SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_project_is_looked_for_as_far_as_its_marks_and_no_further() {
        let home = tempfile::tempdir().unwrap();
        let at = |below: &str| home.path().join(below);
        fs::create_dir_all(at("shop/web/app/core/deep")).unwrap();
        assert_eq!(roots(&at("shop/web/app")), [at("shop/web/app")], "no mark");
        fs::create_dir(at("shop/.venv")).unwrap();
        assert_eq!(roots(&at("shop/web/app")), [at("shop/web/app"), at("shop/web"), at("shop")]);
        assert_eq!(roots(&at("shop")), [at("shop")]);
        assert_eq!(roots(&at("shop/web/app/core/deep")), [at("shop/web/app/core/deep")], "too far");
        fs::write(at("shop/web/app/requirements.txt"), "").unwrap();
        assert_eq!(roots(&at("shop/web/app")), [at("shop/web/app")]);

        fs::remove_file(at("shop/web/app/requirements.txt")).unwrap();
        fs::set_permissions(at("shop"), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(roots(&at("shop/web/app")), [at("shop/web/app")], "others may write there");
    }
}
