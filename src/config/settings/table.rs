//! The table of settings: every word, flag, variable and key, with what it takes, its default and its meaning.
//!
//! The parser of the command line, of the environment and of the files, `--help`, the man page, the completions and
//! the default config all come from here. Never here: how a row is read or shown.

use super::form::Form;
use super::form::Form::{Admin, App, Env, Flag, Number, Part, Server, Token, Word};
use super::form::Group;
use super::form::Preset;
use super::form::Preset::{Is, Unset};
use super::kind::Kind;

/// A row of the table.
pub(crate) struct Setting {
    pub(crate) id: Id,
    pub(crate) group: Group,
    pub(crate) kind: Kind,
    pub(crate) preset: Preset,
    /// How its value is called in help.
    pub(crate) metavar: &'static str,
    pub(crate) forms: &'static [Form],
    /// One sentence without a full stop.
    pub(crate) help: &'static str,
}

macro_rules! settings {
    ($($id:ident: $group:ident, $kind:ident $(($($bound:expr),*))?, $preset:expr, $metavar:literal, [$($form:expr),*], $help:literal;)*) => {
        /// A setting.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Id { $($id),* }

        /// Every setting, in the order of [`Id`].
        pub(crate) static TABLE: &[Setting] = &[$(row(Id::$id, Group::$group, Kind::$kind $(($($bound),*))?, $preset, $metavar, {
            const FORMS: &[Form] = &[$($form),*];
            FORMS
        }, $help)),*];
    };
}

// Id: group, what it takes, default, how help calls its value,
//     [forms],
//     "meaning";
settings! {
    Workers: Workers, Workers, Is("half"), "COUNT",
        [Token("w:"), Env("RIP_WORKERS"), App("workers")],
        "worker processes: half of the cores, auto (all), 2x, 3x, or a number";
    Recycle: Workers, Recycle, Is("10000,3600s,10r"), "REQS,SECSs,RELOADSr",
        [Token("r:"), Env("RIP_RECYCLE"), App("recycle")],
        "replace a worker after so many requests, seconds or in-process reloads, whichever comes first (each ±10 %); what is left out keeps its default, 0 means never; the default is off for an app that is a command, a Procfile, a package.json script, an executable or a server of its own";
    RecycleRequests: Workers, Limit(1_000_000_000_000), Unset("see recycle", "10000"), "N",
        [Env("RIP_MAX_REQUESTS"), Part("recycle.requests")],
        "the requests of recycle alone";
    RecycleAge: Workers, Age, Unset("see recycle", "3600"), "SECONDS",
        [Env("RIP_MAX_SECONDS"), Part("recycle.age")],
        "the seconds of recycle alone";
    RecycleReloads: Workers, Limit(1_000_000_000_000), Unset("see recycle", "10"), "N",
        [Env("RIP_MAX_RELOADS"), Part("recycle.reloads")],
        "the reloads of recycle alone";
    Concurrency: Workers, Count(1, 10_000), Unset("1, or 64 for what is concurrent by nature", "8"), "N",
        [Token("c:"), Env("RIP_CONCURRENCY"), App("concurrency")],
        "requests that a worker takes at the same time";
    Reload: Workers, Reload, Is("process"), "none|process|module",
        [Flag("--reload"), Env("RIP_RELOAD"), App("reload")],
        "when the app's entry file, its rip.toml, what watch names, or where its path leads changes: do nothing, replace the workers one by one, or let each load the app anew";
    Watch: Workers, Patterns, Unset("none", "**/*.py,templates"), "PATTERNS",
        [App("watch")],
        "files of the app whose change counts for reload like its entry's, such as **/*.py or a folder; never in node_modules, venv, __pycache__ or hidden folders";
    ReloadSignal: Workers, Signal, Unset("none: the worker looks itself", "HUP"), "HUP|USR1|USR2",
        [App("reload_signal")],
        "with reload = module: the signal that makes a worker load the app anew";
    Memory: Workers, Memory, Unset("no limit", "200M,300M"), "SOFT,HARD",
        [Env("RIP_MEMORY"), App("memory")],
        "memory of one worker: above SOFT it is replaced after its answer, above HARD it is killed";
    MemorySoft: Workers, SizeLimit, Unset("see memory", "200M"), "SIZE", [Part("memory.soft")], "the first part of memory";
    MemoryHard: Workers, SizeLimit, Unset("see memory", "300M"), "SIZE", [Part("memory.hard")], "the second part of memory";
    Tunnels: Workers, Count(0, 1_000_000), Is("100"), "N",
        [Env("RIP_TUNNELS"), App("tunnels")],
        "upgraded connections and event streams that a worker may hold beside its requests, one client half of them";

    MaxQueue: Times, Count(0, 1_000_000), Is("1024"), "N",
        [Flag("--max-queue"), Env("RIP_MAX_QUEUE"), Admin("max_queue")],
        "requests that may wait for a worker of an app; one more is answered 503";
    QueueTimeout: Times, Time, Is("10s"), "N",
        [Flag("--queue-timeout-ms"), Env("RIP_QUEUE_TIMEOUT_MS"), App("timeouts.queue")],
        "how long a request may wait for a worker before it is answered 503";
    ConnectTimeout: Times, Time, Is("1s"), "N",
        [Flag("--connect-timeout-ms"), Env("RIP_CONNECT_TIMEOUT_MS"), App("timeouts.connect")],
        "how long connecting to a worker may take before another is tried";
    RequestTimeout: Times, Time, Is("30s"), "N",
        [Flag("--read-timeout-ms"), Env("RIP_READ_TIMEOUT_MS"), App("timeouts.request")],
        "how long a worker may take until the head of its answer; then 504, and the worker is killed";
    BodyIdleTimeout: Times, Time, Is("60s"), "TIME",
        [Env("RIP_TIMEOUTS_BODY_IDLE"), App("timeouts.body_idle")],
        "how long a worker may pause within its answer before the answer is cut";
    StartTimeout: Times, Time, Is("60s"), "TIME",
        [Env("RIP_TIMEOUTS_START"), App("timeouts.start")],
        "how long a worker may take from its start until it is ready";
    DrainTimeout: Times, TimeOrZero, Is("30s"), "TIME",
        [Env("RIP_TIMEOUTS_DRAIN"), App("timeouts.drain")],
        "how long a worker that is to go may finish what it has in hand";
    KillTimeout: Times, TimeOrZero, Is("5s"), "TIME",
        [Env("RIP_TIMEOUTS_KILL"), App("timeouts.kill")],
        "how long a worker has between SIGTERM and SIGKILL";
    ProbationTimeout: Times, TimeOrZero, Is("5s"), "TIME",
        [Env("RIP_TIMEOUTS_PROBATION"), App("timeouts.probation")],
        "how long the workers of the version before are kept after a deploy: when the new version's crash in this time, it is taken back";
    MaxBody: Times, Size, Is("100M"), "SIZE",
        [Flag("--max-request-body"), Env("RIP_MAX_REQUEST_BODY"), Admin("max_body")],
        "the largest request body; above it 413";

    Https: Listening, Port, Is("auto"), "PORT",
        [Number, Word("https", "auto"), Token("https:"), Flag("--https-port"), Env("RIP_LISTEN_HTTPS"), Server("listen.https")],
        "HTTPS on this port; auto: 443, else the first free one from 5000 up";
    Http: Listening, Port, Unset("off", "auto"), "PORT",
        [Word("http", "auto"), Token("http:"), Env("RIP_LISTEN_HTTP"), Server("listen.http")],
        "plain HTTP only, without TLS and redirect; auto: 80, else the first free one from 5000 up";
    RedirectHttp: Listening, Switch, Is("true"), "BOOL",
        [Word("--no-redirect-http", "false"), Env("RIP_LISTEN_REDIRECT_HTTP"), Server("listen.redirect_http")],
        "redirect plain HTTP to HTTPS, where the port can be had";
    RedirectPort: Listening, Count(0, 65_535), Is("80"), "PORT",
        [Flag("--redirect-port"), Env("RIP_LISTEN_REDIRECT_PORT"), Server("listen.redirect_port")],
        "the port of plain HTTP that is redirected";
    Bind: Listening, Addresses, Unset("all", "127.0.0.1,::1"), "ADDRESS",
        [Flag("--bind"), Env("RIP_LISTEN_BIND"), Server("listen.bind")],
        "listen on this address only; may be repeated";
    TrustedProxies: Listening, Networks, Unset("none", "10.0.0.0/8"), "CIDR",
        [Flag("--trusted-proxy"), Env("RIP_TRUSTED_PROXIES"), Server("trusted_proxies")],
        "believe the X-Forwarded-* fields of these peers; may be repeated";
    StatusForAll: Listening, Switch, Is("false"), "BOOL",
        [Word("--status-for-all", "true"), Env("RIP_STATUS_FOR_ALL"), Server("status_for_all")],
        "answer /server and /status to others than loopback peers too";
    Metrics: Listening, Endpoint, Unset("off", "127.0.0.1:9145"), "ADDRESS:PORT",
        [Flag("--metrics"), Env("RIP_METRICS"), Server("metrics")],
        "serve Prometheus metrics there, beside the control socket";
    Threads: Listening, Count(1, 1024), Unset("one per core", "4"), "N",
        [Flag("--threads"), Env("RIP_THREADS"), Server("threads")],
        "threads that serve connections";

    Cert: Tls, Path, Unset("none", "/etc/ssl/certs/blog.pem"), "PATH",
        [Flag("--cert"), Env("RIP_TLS_CERT"), Server("tls.cert")],
        "certificate chain, PEM; needs its key too";
    Key: Tls, Path, Unset("none", "/etc/ssl/private/blog.key"), "PATH",
        [Flag("--key"), Env("RIP_TLS_KEY"), Server("tls.key")],
        "private key of the certificate, PEM";
    AutoTls: Tls, Switch, Is("false"), "BOOL",
        [Word("--auto-tls", "true"), Env("RIP_TLS_AUTO"), Server("tls.auto")],
        "let mkcert make the certificate, when it is installed; otherwise it is self-signed";
    Hsts: Tls, Switch, Is("false"), "BOOL",
        [Word("--hsts", "true"), Env("RIP_TLS_HSTS"), Server("tls.hsts")],
        "tell browsers to use HTTPS only (Strict-Transport-Security)";
    HstsMaxAge: Tls, TimeOrZero, Is("365d"), "TIME",
        [Env("RIP_TLS_HSTS_MAX_AGE"), Server("tls.hsts_max_age")],
        "how long browsers remember hsts";
    HstsSubdomains: Tls, Switch, Is("false"), "BOOL",
        [Env("RIP_TLS_HSTS_SUBDOMAINS"), Server("tls.hsts_subdomains")],
        "whether hsts means sub-domains too";

    Json: Log, Switch, Is("false"), "BOOL",
        [Word("--json-logging", "true"), Word("--json", "true"), Env("RIP_LOG_JSON"), Server("log.json")],
        "one JSON object per record instead of lines for people; also the output of list and check";
    AccessLog: Log, Switch, Is("true"), "BOOL",
        [Word("--no-access-log", "false"), Env("RIP_LOG_ACCESS"), Server("log.access")],
        "record each request";
    Levels: Log, Levels, Is("info"), "LEVELS",
        [Env("RIP_LOG"), Server("log.level")],
        "how much of what else happens is recorded";

    Instance: Files, Instance, Unset("the app's name", "labs-api"), "NAME",
        [Flag("--instance"), Server("instance")],
        "name of this server; without an app, labs-api runs /srv/rip/labs/api, or /srv/rip/labs-api if that is what is there";
    ConfigFile: Files, Path, Unset("/etc/rip-server/INSTANCE.toml if it exists, with --instance or under systemd", "/etc/rip-server/labs-api.toml"), "FILE",
        [Flag("--config"), Env("RIP_CONFIG")],
        "the server's config file";
    RuntimeDir: Files, Path, Unset("/run/rip-server/INSTANCE as root, else below $XDG_RUNTIME_DIR", "/run/rip-server/labs-api"), "DIR",
        [Flag("--runtime-dir"), Env("RIP_RUNTIME_DIR"), Server("runtime_dir")],
        "sockets; the control socket stands beside it as DIR.sock";
    StateDir: Files, Path, Unset("/var/lib/rip-server/INSTANCE as root, else below $XDG_STATE_HOME", "/var/lib/rip-server/labs-api"), "DIR",
        [Flag("--state-dir"), Env("RIP_STATE_DIR"), Server("state_dir")],
        "registry, certificates, spool files";
    SocketPrefix: Files, Name, Unset("none", "rip_blog"), "NAME",
        [Flag("--socket-prefix"), Env("RIP_SOCKET_PREFIX"), Server("socket_prefix")],
        "what the names of the workers' sockets start with";

    AppPath: App, Path, Unset("the command line's, else /srv/rip/INSTANCE", "/srv/rip/blog"), "PATH",
        [Admin("path")],
        "the app's directory or entry file";
    AppName: App, Name, Unset("its directory's name", "blog"), "NAME",
        [Admin("name")],
        "the app's name in logs, metrics and commands";
    Hosts: App, Hosts, Unset("NAME.local", "blog.example,*.blog.example"), "HOSTS",
        [App("hosts")],
        "host names that lead to the app";
    Command: App, Command, Unset("found by looking at the directory", "gunicorn,app:app"), "LIST",
        [App("command")],
        "program and arguments of a worker";
    Listen: App, Listen, Unset("by what the app is", "fd"), "fd|path|port",
        [App("listen")],
        "how a worker gets at its socket: descriptor 3 with LISTEN_FDS=1, the path in $RIP_SOCKET, the port in $PORT";
    ReadyPath: App, UrlPath, Is("/"), "PATH",
        [App("ready_path")],
        "asked for by GET until the first answer below 500";
    ReadyBy: App, ReadyBy, Unset("by what the app is", "notify"), "answer|notify",
        [App("ready_by")],
        "what shows that a worker is ready: an answer to the request for ready_path, or READY=1 alone, and nothing is asked";
    Keepalive: App, Switch, Is("true"), "BOOL",
        [App("keepalive")],
        "whether connections to workers are used again";
    Protocol: App, Protocol, Is("http1"), "http1|h2c",
        [App("protocol")],
        "what workers speak: HTTP/1.1, or HTTP/2 without TLS (gRPC)";
    Stream: App, UrlPaths, Unset("none", "/upload,/rpc"), "PATHS",
        [App("stream")],
        "paths whose request bodies are passed on as they arrive, each with everything below it";
    Variables: App, Variables, Unset("none", "{ LANG = \"C.UTF-8\" }"), "TABLE",
        [App("env")],
        "variables of the workers' environment";
    StaticRoot: App, Path, Unset("by what the app is", "public"), "DIR",
        [App("static.root")],
        "serve the files of this folder of the app, without a program of its own";
    StaticIndex: App, Text, Is("index.html"), "FILE",
        [App("static.index")],
        "the file that stands for its folder";
    StaticSpa: App, Switch, Is("false"), "BOOL",
        [App("static.spa")],
        "whether unknown paths get the root's index instead of 404";

    Handshake: Limits, Time, Is("10s"), "TIME",
        [Env("RIP_LIMITS_HANDSHAKE"), Server("limits.handshake")],
        "time for the TLS handshake";
    Head: Limits, Time, Is("10s"), "TIME",
        [Env("RIP_LIMITS_HEAD"), Server("limits.head")],
        "time for a request's head once its first byte is there; then 408";
    BodyIdle: Limits, Time, Is("30s"), "TIME",
        [Env("RIP_LIMITS_BODY_IDLE"), Server("limits.body_idle")],
        "longest time between two pieces of a request's body; then 408";
    BodyRate: Limits, Count(0, 1_000_000_000), Is("500"), "N",
        [Env("RIP_LIMITS_BODY_RATE"), Server("limits.body_rate")],
        "bytes per second that a request's body must reach on average after 10 s; then 408";
    WriteIdle: Limits, Time, Is("60s"), "TIME",
        [Env("RIP_LIMITS_WRITE_IDLE"), Server("limits.write_idle")],
        "longest time without a byte written to a client that is to read";
    KeepaliveIdle: Limits, Time, Is("75s"), "TIME",
        [Env("RIP_LIMITS_KEEPALIVE"), Server("limits.keepalive")],
        "time for the next request on a kept connection";
    MaxHead: Limits, Size, Is("32K"), "SIZE",
        [Env("RIP_LIMITS_MAX_HEAD"), Server("limits.max_head")],
        "the largest request head; above it 431";
    MaxFields: Limits, Count(1, 10_000), Is("100"), "N",
        [Env("RIP_LIMITS_MAX_FIELDS"), Server("limits.max_fields")],
        "the most header fields of a request; above it 431";
    MaxUrl: Limits, Size, Is("8K"), "SIZE",
        [Env("RIP_LIMITS_MAX_URL"), Server("limits.max_url")],
        "the longest request target; above it 414";
    MaxConnections: Limits, Count(1, 10_000_000), Is("10000"), "N",
        [Env("RIP_LIMITS_MAX_CONNECTIONS"), Server("limits.max_connections")],
        "connections in all; keep it below half of LimitNOFILE=";
    MaxPerAddress: Limits, Limit(10_000_000), Is("off"), "N",
        [Env("RIP_LIMITS_MAX_CONNECTIONS_PER_ADDRESS"), Server("limits.max_connections_per_address")],
        "connections of one address";
    Rate: Limits, Rate, Is("off"), "RATE",
        [Env("RIP_LIMITS_RATE"), Server("limits.rate")],
        "requests of one address, such as 50/s,100 (per second, at once); above it 429";
    H2Streams: Limits, Count(1, 10_000), Is("100"), "N",
        [Env("RIP_LIMITS_H2_STREAMS"), Server("limits.h2_streams")],
        "concurrent streams of an HTTP/2 connection";
    BodyMemory: Limits, Size, Is("64K"), "SIZE",
        [Env("RIP_LIMITS_BODY_MEMORY"), Server("limits.body_memory")],
        "how much of a request's body is kept in memory before the spool file; of all bodies together 1024 times as much";
    BodyRoom: Limits, SizeLimit, Is("32M"), "SIZE",
        [Env("RIP_LIMITS_BODY_ROOM"), Server("limits.body_room")],
        "memory that larger bodies share before they need spool files, an eighth of it each at most";
    Spool: Limits, Size, Unset("4G, or four times the largest max_body", "20G"), "SIZE",
        [Env("RIP_LIMITS_SPOOL"), Server("limits.spool")],
        "how much all spool files together may hold, of bodies and answers, a client at most what it leaves free; never more than half of what is free on their disk at the start";
    ReplyMemory: Limits, Size, Is("1M"), "SIZE",
        [Env("RIP_LIMITS_REPLY_MEMORY"), Server("limits.reply_memory")],
        "how much of an answer is kept in memory before the spool file";
    ReplySpool: Limits, Size, Is("64M"), "SIZE",
        [Env("RIP_LIMITS_REPLY_SPOOL"), Server("limits.reply_spool")],
        "how much of an answer is kept in the spool file before the worker has to wait";
    ReplyRoom: Limits, SizeLimit, Is("128M"), "SIZE",
        [Env("RIP_LIMITS_REPLY_ROOM"), Server("limits.reply_room")],
        "memory that answers share which wait for their clients; what finds none goes into spool files";

    Backend: Units, Backend, Is("auto"), "auto|child|systemd",
        [Flag("--backend"), Env("RIP_BACKEND"), Server("backend")],
        "what runs the workers: child processes, or a unit of systemd's for each; auto: units where the server is a service";
    SandboxUser: Units, User, Unset("a dynamic user for each app", "blog"), "USER",
        [Server("sandbox.user")],
        "the user that workers run as";
    SandboxRoots: Units, Paths, Is("/srv/rip"), "DIRS",
        [Server("sandbox.roots")],
        "where apps may lie; what else is there is hidden from an app";
    SandboxWritable: Units, Paths, Unset("none", "/var/lib/blog"), "DIRS",
        [Server("sandbox.writable")],
        "folders that workers may write to, beside $STATE_DIRECTORY, $CACHE_DIRECTORY and a /tmp of their own";
    SandboxNetwork: Units, Switch, Is("true"), "BOOL",
        [Server("sandbox.network")],
        "whether workers have the network; without, they have only a loopback of their own";
    SandboxIpAllow: Units, Networks, Unset("none", "10.0.0.0/8"), "CIDRS",
        [Server("sandbox.ip_allow")],
        "addresses that workers may speak with although they are denied";
    SandboxIpDeny: Units, Networks, Unset("none", "0.0.0.0/0,::/0"), "CIDRS",
        [Server("sandbox.ip_deny")],
        "addresses that workers may not speak with";
    SandboxTasks: Units, Count(1, 1_000_000), Is("512"), "N",
        [Server("sandbox.tasks_max")],
        "processes and threads of one worker";
    SandboxMemory: Units, SizeLimit, Is("off"), "SIZE",
        [Server("sandbox.memory_max")],
        "most memory of one worker, whatever its app says";
    SandboxMemoryHigh: Units, SizeLimit, Is("off"), "SIZE",
        [Server("sandbox.memory_high")],
        "memory above which a worker is slowed and its memory reclaimed, before memory_max ends it";
    SandboxCpuWeight: Units, Count(1, 10_000), Is("100"), "N",
        [Server("sandbox.cpu_weight")],
        "share of the processors beside other units";
    SandboxCpuQuota: Units, Limit(1_000_000), Is("off"), "PERCENT",
        [Server("sandbox.cpu_quota")],
        "most time of one worker, in percent of one processor";
    SandboxWriteExecute: Units, Switch, Is("true"), "BOOL",
        [Server("sandbox.write_execute")],
        "whether workers may make written memory executable; Node, Bun and PyPy need it";
    SandboxEnvFile: Units, Path, Unset("/etc/rip-server/INSTANCE.env if it exists", "/etc/rip-server/labs-api.env"), "FILE",
        [Server("sandbox.env_file")],
        "variables for the workers, one NAME=VALUE a line; the place for secrets";
    SandboxCredentials: Units, Credentials, Unset("none", "db:/etc/rip-server/db.key"), "ID:PATHS",
        [Server("sandbox.credentials")],
        "secret files for the workers, found as $CREDENTIALS_DIRECTORY/ID";
}

const fn row(
    id: Id,
    group: Group,
    kind: Kind,
    preset: Preset,
    metavar: &'static str,
    forms: &'static [Form],
    help: &'static str,
) -> Setting {
    Setting { id, group, kind, preset, metavar, forms, help }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_says_what_it_does_in_one_sentence() {
        for row in TABLE {
            assert!(row.help.len() > 10 && !row.help.ends_with('.'), "{:?}", row.id);
            assert!(
                !row.metavar.is_empty() && !row.forms.is_empty() && !row.key().is_empty(),
                "{:?}",
                row.id
            );
            assert_eq!(Setting::of(row.id).id, row.id);
        }
    }

    #[test]
    fn every_default_and_every_example_is_a_right_value() {
        for row in TABLE {
            let (Is(text) | Unset(_, text)) = row.preset;
            if row.kind != Kind::Variables {
                row.kind.parse(text).unwrap_or_else(|wrong| panic!("{:?}: {text}: {wrong:?}", row.id));
            }
        }
    }

    #[test]
    fn no_form_is_there_twice() {
        let mut seen = BTreeSet::new();
        for form in TABLE.iter().flat_map(|row| row.forms) {
            assert!(seen.insert(format!("{form:?}")), "{form:?}");
        }
    }

    #[test]
    fn variables_follow_from_keys_but_for_the_inherited_names() {
        let inherited = [
            "RIP_MAX_REQUESTS",
            "RIP_MAX_SECONDS",
            "RIP_MAX_RELOADS",
            "RIP_QUEUE_TIMEOUT_MS",
            "RIP_CONNECT_TIMEOUT_MS",
            "RIP_READ_TIMEOUT_MS",
            "RIP_MAX_REQUEST_BODY",
            "RIP_LOG",
        ];
        for row in TABLE {
            if let Some(env) = row.env().filter(|env| !inherited.contains(env)) {
                assert_eq!(
                    env,
                    format!("RIP_{}", row.key().replace('.', "_").to_uppercase()),
                    "{:?}",
                    row.id
                );
            }
        }
    }

    #[test]
    fn the_admin_alone_sets_limits() {
        for row in TABLE.iter().filter(|row| !row.is_of_apps()) {
            assert!(!row.forms.iter().any(|form| matches!(form, App(_) | Admin(_))), "{:?}", row.id);
        }
        for id in [Id::MaxQueue, Id::MaxBody, Id::AppName, Id::AppPath] {
            assert!(!Setting::of(id).forms.iter().any(|form| matches!(form, App(_))), "{id:?}");
        }
    }
}
