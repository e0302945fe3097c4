//! Config files: the server's TOML file and an app's own `rip.toml`, read key by key against the table.
//!
//! Every key of a file is either a row of the table that may stand there, or an error with its line: nothing is
//! skipped. Never here: defaults, or which value wins.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::layer::Layer;
use super::value_origin::ValueOrigin;
use super::words::suggest::nearest;
use crate::files::plain_file;
use crate::name::PathPrefix;
use crate::spec::settings::form::Form;
use crate::spec::settings::setting_kind::SettingKind;
use crate::spec::settings::setting_value::SettingValue;
use crate::spec::settings::table::{Id, Setting, TABLE};

/// The settings of the server's file.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ServerFile {
    pub(crate) server: Layer,
    /// `app` or `[app]`: the main app.
    pub(crate) app: Layer,
    /// `[[apps]]`, each with its path.
    pub(crate) apps: Vec<Layer>,
}

/// Reads the server's file.
///
/// # Errors
/// When the file cannot be read, is not TOML, or has a key that is not in the table; with line and column.
pub(crate) fn read_server(path: &Path) -> Result<ServerFile, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        what: "the config file".into(),
        path: path.into(),
        source,
    })?;
    parse_server(path, &text)
}

/// Reads an app's own file; `None`: the app has none.
///
/// The app and not the server controls the file, so that one that is no plain file, or is too large, is an error and
/// never waited for.
///
/// # Errors
/// As [`read_server`].
pub(crate) fn read_own(path: &Path) -> Result<Option<Layer>, ConfigError> {
    match plain_file::read_to_string(path, LARGEST) {
        Ok(text) => parse_own(path, &text).map(Some),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => {
            Err(ConfigError::Unreadable { what: "the app's own settings".into(), path: path.into(), source })
        }
    }
}

/// Reads the server's file from a text.
pub(crate) fn parse_server(path: &Path, text: &str) -> Result<ServerFile, ConfigError> {
    let source = TomlFile { path: path.into(), text, place: KeyPlace::Server };
    let mut file = ServerFile::default();
    let root = source.table()?;
    for (key, value) in root.get_ref() {
        match (&**key.get_ref(), value.get_ref()) {
            ("app", DeValue::String(_)) => source.put(Setting::of(Id::AppPath), value, &mut file.app)?,
            ("app", DeValue::Table(table)) => {
                source.at_place(KeyPlace::Admin).walk(table, "", &mut file.app)?
            }
            ("app", _) => return Err(source.wrong("app", value, "a path, or a table [app]")),
            ("apps", DeValue::Array(tables)) => {
                for table in tables {
                    file.apps.push(source.one_of_apps(table)?);
                }
            }
            ("apps", _) => return Err(source.wrong("apps", value, "tables [[apps]], each with its path")),
            (name, _) => source.entry(name, key, value, &mut file.server)?,
        }
    }
    Ok(file)
}

/// Reads an app's own file from a text.
pub(crate) fn parse_own(path: &Path, text: &str) -> Result<Layer, ConfigError> {
    let source = TomlFile { path: path.into(), text, place: KeyPlace::Own };
    let mut layer = Layer::default();
    source.walk(source.table()?.get_ref(), "", &mut layer)?;
    Ok(layer)
}

/// The keys that may stand in a table, by the table's place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyPlace {
    /// The top of the server's file.
    Server,
    /// `[app]` and `[[apps]]` in the server's file.
    Admin,
    Own,
    /// A table of `[app.route]`, and of `route` of an `[[apps]]`.
    AdminRoute,
    /// A table of `[route]` in an app's own file.
    OwnRoute,
}

impl KeyPlace {
    fn key(self, form: &Form) -> Option<&'static str> {
        match (self, form) {
            (Self::Server, Form::Server(key)) => Some(key),
            (Self::Admin, Form::Admin(key)) => Some(key),
            (Self::Admin | Self::Own, Form::App(key)) => Some(key),
            (Self::AdminRoute | Self::OwnRoute, Form::Route(key)) => Some(key),
            (Self::AdminRoute, Form::AdminRoute(key)) => Some(key),
            _ => None,
        }
    }

    fn row(self, key: &str) -> Option<&'static Setting> {
        TABLE.iter().find(|row| row.forms.iter().any(|form| self.key(form) == Some(key)))
    }

    fn keys(self) -> impl Iterator<Item = &'static str> {
        TABLE.iter().flat_map(|row| row.forms).filter_map(move |form| self.key(form))
    }

    fn has_section(self, name: &str) -> bool {
        self.keys().any(|key| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
    }
}

struct TomlFile<'a> {
    path: Arc<Path>,
    text: &'a str,
    place: KeyPlace,
}

impl<'a> TomlFile<'a> {
    fn table(&self) -> Result<Spanned<DeTable<'a>>, ConfigError> {
        DeTable::parse(self.text).map_err(|error| ConfigError::Syntax {
            origin: self.at(error.span().unwrap_or_default()),
            message: error.message().lines().collect::<Vec<_>>().join(", "),
        })
    }

    fn at_place(&self, place: KeyPlace) -> Self {
        Self { path: Arc::clone(&self.path), text: self.text, place }
    }

    fn one_of_apps(&self, table: &Spanned<DeValue<'a>>) -> Result<Layer, ConfigError> {
        let DeValue::Table(keys) = table.get_ref() else {
            return Err(self.wrong("apps", table, "tables [[apps]], each with its path"));
        };
        let mut layer = Layer::default();
        self.at_place(KeyPlace::Admin).walk(keys, "", &mut layer)?;
        if layer.get(Id::AppPath).is_none() {
            let first = format!("[[apps]] ({})", self.at(table.span()));
            return Err(ConfigError::Incomplete { first, second: "`path = …`".into() });
        }
        Ok(layer)
    }

    fn walk(&self, table: &DeTable<'a>, section: &str, layer: &mut Layer) -> Result<(), ConfigError> {
        for (key, value) in table {
            let name = match section {
                "" => key.get_ref().to_string(),
                section => format!("{section}.{}", key.get_ref()),
            };
            self.entry(&name, key, value, layer)?;
        }
        Ok(())
    }

    fn entry(
        &self,
        name: &str,
        key: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'a>>,
        layer: &mut Layer,
    ) -> Result<(), ConfigError> {
        match self.place.row(name) {
            Some(row) if row.kind == SettingKind::Tables => return self.path_tables(row, value, layer),
            // `static` is a list, or a table with keys of its own.
            Some(_) if value.get_ref().is_table() && self.place.has_section(name) => {}
            Some(row) => return self.put(row, value, layer),
            None => {}
        }
        match value.get_ref() {
            DeValue::Table(table) if self.place.has_section(name) => self.walk(table, name, layer),
            _ if self.place.has_section(name) => Err(self.wrong(name, value, &format!("a table [{name}]"))),
            _ => Err(ConfigError::UnknownKey {
                origin: self.at(key.span()),
                key: name.into(),
                hint: self.hint(name),
            }),
        }
    }

    /// The tables of `[route]`, each for a prefix of the app's paths.
    fn path_tables(
        &self,
        row: &Setting,
        value: &Spanned<DeValue<'a>>,
        layer: &mut Layer,
    ) -> Result<(), ConfigError> {
        let DeValue::Table(tables) = value.get_ref() else {
            return Err(self.wrong(row.key(), value, &row.kind.expected()));
        };
        let place = if self.place == KeyPlace::Own { KeyPlace::OwnRoute } else { KeyPlace::AdminRoute };
        for (key, table) in tables {
            let key_is_wrong = |right: String| ConfigError::Value {
                origin: self.at(key.span()),
                key: row.key().into(),
                read: key.get_ref().to_string(),
                right,
            };
            let prefix = PathPrefix::parse(key.get_ref())
                .map_err(|bad| key_is_wrong(format!("a path such as [route.\"/admin\"] ({bad})")))?;
            let twin = |other: &PathPrefix| other.as_str().eq_ignore_ascii_case(prefix.as_str());
            if layer.paths().any(|(other, _)| twin(other)) {
                return Err(key_is_wrong("a path that differs from the others in more than case".into()));
            }
            let DeValue::Table(keys) = table.get_ref() else {
                return Err(self.wrong(row.key(), table, &row.kind.expected()));
            };
            let mut own = Layer::default();
            self.at_place(place).walk(keys, "", &mut own)?;
            layer.put_path(prefix, own);
        }
        let prefixes = layer.paths().map(|(prefix, _)| prefix.to_string()).collect();
        layer.put(row.id, SettingValue::Texts(prefixes), self.at(value.span()));
        Ok(())
    }

    fn put(&self, row: &Setting, value: &Spanned<DeValue<'a>>, layer: &mut Layer) -> Result<(), ConfigError> {
        let parsed = row.kind.parse_toml(value.get_ref());
        let parsed = parsed.map_err(|wrong| self.wrong(row.key(), value, &wrong.0))?;
        if let SettingValue::Mounts(mounts) = &parsed
            && self.place == KeyPlace::Own
            && mounts.first_outside().is_some()
        {
            let right = "folders in the app's own: only the server's config may name others";
            return Err(self.wrong(row.key(), value, right));
        }
        layer.put(row.id, self.beside_the_file(row, parsed), self.at(value.span()));
        Ok(())
    }

    /// Makes a relative path of the server's file absolute: it starts where the file is, wherever the server was
    /// started.
    fn beside_the_file(&self, row: &Setting, value: SettingValue) -> SettingValue {
        match (value, self.path.parent()) {
            (SettingValue::Path(path), Some(folder))
                if !matches!(row.id, Id::StaticRoot | Id::PhpRoot | Id::Errors) =>
            {
                SettingValue::Path(folder.join(path))
            }
            (SettingValue::Auth(auth), Some(folder)) => SettingValue::Auth(auth.beside(folder)),
            (value, _) => value,
        }
    }

    fn hint(&self, name: &str) -> Option<String> {
        let last = name.rsplit('.').next().unwrap_or(name);
        let others = [
            (KeyPlace::Own, "belongs under [app]"),
            (KeyPlace::Admin, "belongs under [app]"),
            (KeyPlace::Server, ""),
        ];
        let of_apps = KeyPlace::Admin.row(name).is_some();
        let admin = of_apps || KeyPlace::Server.row(name).is_some();
        if self.place == KeyPlace::Own && admin {
            return Some("only the server's own config may set it, the app's may not".into());
        }
        if self.place == KeyPlace::OwnRoute && KeyPlace::AdminRoute.row(name).is_some() {
            return Some("only the server's own config may set it, the app's may not".into());
        }
        if matches!(self.place, KeyPlace::OwnRoute | KeyPlace::AdminRoute) && of_apps {
            return Some("it is the whole app's and cannot be set for some of its paths".into());
        }
        if let Some((_, text)) =
            others.iter().find(|(place, text)| !text.is_empty() && place.row(name).is_some())
        {
            return Some(format!("it {text}"));
        }
        if self.place == KeyPlace::Admin && KeyPlace::Server.row(name).is_some() {
            return Some("it is the server's: it belongs at the top of the file, outside [app]".into());
        }
        let sections = self.place.keys().filter_map(|key| key.rsplit_once('.')).map(|(section, _)| section);
        let app = ["app", "apps"].into_iter().filter(|_| self.place == KeyPlace::Server);
        let known = self.place.keys().chain(sections).chain(app);
        if let Some(near) = nearest(name, known) {
            return Some(format!("did you mean `{near}`?"));
        }
        let moved = self.place.keys().find(|key| key.rsplit('.').next() == Some(last));
        moved.map(|key| format!("did you mean `{key}`?"))
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue<'a>>, right: &str) -> ConfigError {
        let read = self.text.get(value.span()).unwrap_or_default();
        let cut: String = read.chars().take(SHOWN).collect();
        let read = if cut.len() < read.len() { format!("{cut}…") } else { cut };
        ConfigError::Value { origin: self.at(value.span()), key: key.into(), read, right: right.into() }
    }

    fn at(&self, span: Range<usize>) -> ValueOrigin {
        let before = self.text.get(..span.start).unwrap_or_default();
        let path = Arc::clone(&self.path);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        match self.place {
            KeyPlace::Own | KeyPlace::OwnRoute => ValueOrigin::AppFile { path, line, column },
            KeyPlace::Server | KeyPlace::Admin | KeyPlace::AdminRoute => {
                ValueOrigin::File { path, line, column }
            }
        }
    }
}

const LARGEST: u64 = 1 << 20;
/// The most characters of a wrong value that an error shows.
const SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> Result<ServerFile, String> {
        parse_server(Path::new("/etc/x.toml"), text).map_err(|error| error.to_string())
    }

    fn own(text: &str) -> Result<Layer, String> {
        parse_own(Path::new("/a/rip.toml"), text).map_err(|error| error.to_string())
    }

    fn shown(layer: &Layer, id: Id) -> String {
        layer.get(id).map(|there| format!("{} ({})", there.value, there.origin)).unwrap_or_default()
    }

    #[test]
    fn a_server_file_has_the_server_the_main_app_and_more_apps() {
        let file = server(
            r#"
                threads = 2
                [app]
                path = "/srv/a"
                workers = "2x"
                recycle = "500,10r"
                timeouts.queue = "1500ms"
                env = { LANG = "C" }
                [[apps]]
                path = "b"
                hosts = ["b.example"]
                max_queue = 5
                [limits]
                head = 20
                max_connections_per_address = "off"
            "#,
        )
        .unwrap();
        assert_eq!(shown(&file.server, Id::Threads), "2 (/etc/x.toml:2:27)");
        assert_eq!(shown(&file.server, Id::Head), "20s (/etc/x.toml:14:24)");
        assert_eq!(shown(&file.server, Id::MaxPerAddress), "off (/etc/x.toml:15:47)");
        assert_eq!(shown(&file.app, Id::AppPath), "/srv/a (/etc/x.toml:4:24)");
        assert_eq!(shown(&file.app, Id::Workers), "2x (/etc/x.toml:5:27)");
        assert_eq!(shown(&file.app, Id::RecycleReloads), "10 (/etc/x.toml:6:27)");
        assert_eq!(shown(&file.app, Id::QueueTimeout), "1500ms (/etc/x.toml:7:34)");
        assert_eq!(shown(&file.app, Id::Variables), "LANG (/etc/x.toml:8:23)");
        assert_eq!(shown(&file.apps[0], Id::AppPath), "/etc/b (/etc/x.toml:10:24)");
        assert_eq!(shown(&file.apps[0], Id::MaxQueue), "5 (/etc/x.toml:12:29)");
    }

    #[test]
    fn the_main_app_may_be_one_line() {
        assert_eq!(shown(&server(r#"app = "/srv/a""#).unwrap().app, Id::AppPath), "/srv/a (/etc/x.toml:1:7)");
    }

    #[test]
    fn an_app_s_own_file_has_its_keys_at_the_top() {
        let layer = own(r#"
command = ["gunicorn", "app:app"]
listen = "fd"
ready_path = "/up"
concurrency = 4
keepalive = false
protocol = "h2c"
tunnels = 0
workers = 3
memory = "200M,300M"
hosts = ["a.example"]
reload = "module"
reload_signal = "HUP"
stream = ["/upload"]
static = { root = "public", index = "home.html", spa = true }
[timeouts]
start = "2min"
[env]
A = "1"
"#)
        .unwrap();
        assert_eq!(shown(&layer, Id::Command), r#"["gunicorn", "app:app"] (/a/rip.toml:2:11)"#);
        assert_eq!(shown(&layer, Id::StaticRoot), "public (/a/rip.toml:15:19)");
        assert_eq!(shown(&layer, Id::MemoryHard), "300M (/a/rip.toml:10:10)");
        assert_eq!(shown(&layer, Id::StartTimeout), "2min (/a/rip.toml:17:9)");
        assert!(matches!(layer.get(Id::Workers).unwrap().origin, ValueOrigin::AppFile { line: 9, .. }));
    }

    #[test]
    fn errors_name_file_line_column_key_and_what_would_be_right() {
        for (text, error) in [
            ("thread = 2", "/etc/x.toml:1:1: unknown key `thread`: did you mean `threads`?"),
            ("\n[limit]\nhead = 1", "/etc/x.toml:2:2: unknown key `limit`: did you mean `limits`?"),
            ("[limits]\nhaed = 1", "/etc/x.toml:2:1: unknown key `limits.haed`: did you mean `limits.head`?"),
            ("cert = 'a'", "/etc/x.toml:1:1: unknown key `cert`: did you mean `tls.cert`?"),
            ("workers = 4", "/etc/x.toml:1:1: unknown key `workers`: it belongs under [app]"),
            ("zzz = 4", "/etc/x.toml:1:1: unknown key `zzz`"),
            (
                "[app]\nthreads = 4",
                "/etc/x.toml:2:1: unknown key `threads`: it is the server's: it belongs at the top of the file, outside [app]",
            ),
            (
                "[app]\nworkers = \"x\"",
                "/etc/x.toml:2:11: workers: read `\"x\"`, expected half, auto, 2x, 3x, a number from 1 to 4096, or two of them such as 2..8 for as many as the load asks for",
            ),
            (
                "threads = \"2\"",
                "/etc/x.toml:1:11: threads: read `\"2\"`, expected a whole number from 1 to 1024",
            ),
            ("threads = -1", "/etc/x.toml:1:11: threads: read `-1`, expected a whole number from 1 to 1024"),
            (
                "threads = 1.5",
                "/etc/x.toml:1:11: threads: read `1.5`, expected a whole number from 1 to 1024",
            ),
            ("[tls]\nhsts = \"yes\"", "/etc/x.toml:2:8: tls.hsts: read `\"yes\"`, expected true or false"),
            ("limits = 5", "/etc/x.toml:1:10: limits: read `5`, expected a table [limits]"),
            ("app = 5", "/etc/x.toml:1:7: app: read `5`, expected a path, or a table [app]"),
            ("apps = 5", "/etc/x.toml:1:8: apps: read `5`, expected tables [[apps]], each with its path"),
            ("[[apps]]\nworkers = 1", "[[apps]] (/etc/x.toml:1:1) needs `path = …` too"),
            (
                "[app]\ncommand = \"node x.js\"",
                "/etc/x.toml:2:11: command: read `\"node x.js\"`, expected a list of program and arguments, such as \
                 [\"gunicorn\", \"app:app\"]",
            ),
            (
                "[app]\nenv = { PORT = 3000 }",
                "/etc/x.toml:2:7: env: read `{ PORT = 3000 }`, expected PORT as a text: put its value in quotes",
            ),
        ] {
            assert_eq!(server(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn what_is_not_toml_is_shown_with_its_place() {
        for text in ["threads =", "threads = 2\nthreads = 3", "[app", "a = \u{0}"] {
            let error = server(text).unwrap_err();
            assert!(error.starts_with("/etc/x.toml:") && error.len() > 20, "{text:?}: {error}");
        }
    }

    #[test]
    fn an_app_may_not_set_what_is_the_admin_s() {
        for text in [
            "max_queue = 5",
            "max_body = 5",
            "path = '/'",
            "name = 'x'",
            "[limits]\nhead = 1",
            "tls.cert = ''",
        ] {
            let error = own(text).unwrap_err();
            assert!(error.contains("unknown key"), "{text}: {error}");
        }
        let error = own("max_queue = 5").unwrap_err();
        assert_eq!(
            error,
            "/a/rip.toml:1:1: unknown key `max_queue`: only the server's own config may set it, the app's may not"
        );
    }

    #[test]
    fn the_names_rip_server_sets_itself_are_refused() {
        for name in ["RIP_WORKER", "LISTEN_FDS", "NOTIFY_SOCKET", "", "a=b"] {
            assert!(own(&format!("[env]\n\"{name}\" = \"x\"")).is_err(), "{name}");
        }
    }

    #[test]
    fn an_own_file_that_is_no_plain_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rip.toml");
        assert_eq!(read_own(&path).unwrap(), None);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(read_own(&path).unwrap_err().to_string().contains("not a plain file"));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, " ".repeat((1 << 20) + 1)).unwrap();
        assert!(read_own(&path).unwrap_err().to_string().contains("larger than 1 MiB"));
    }
}
