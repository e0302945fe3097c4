//! The rows of the table that speak of the server.
//!
//! Never here: those of apps (`rows_of_apps`), or what becomes of a row (`sections`).

macro_rules! rows_of_server {
    // A section: its struct. A row: Id(field: type): group, what it takes, default, how help calls its value,
    //     [forms],
    //     "meaning", "more of it for the manual and SPEC.md";
    ($next:ident $($then:ident)*; $($before:tt)*) => { $next! { $($then)*; $($before)*
        /// The listeners of the server, and the peers that it believes.
        ListenSettings {
            Https: Listening, Port, Is("auto"), "PORT",
                [Number, Word("https", "auto"), Token("https:"), Flag("--https-port"), Env("RIP_LISTEN_HTTPS"), Server("listen.https")],
                "HTTPS on this port; auto: 443, else the first free one from 5000 up",
                "`auto` looks further where a port is taken or not allowed, up to 5999";
            Http: Listening, Port, Unset("off", "auto"), "PORT",
                [Word("http", "auto"), Token("http:"), Env("RIP_LISTEN_HTTP"), Server("listen.http")],
                "plain HTTP only, without TLS and redirect; auto: 80, else the first free one from 5000 up",
                "`auto` looks further as for HTTPS";
            RedirectHttp: Listening, Switch, Is("true"), "BOOL",
                [Word("--no-redirect-http", "false"), Env("RIP_LISTEN_REDIRECT_HTTP"), Server("listen.redirect_http")],
                "redirect plain HTTP to HTTPS, where the port can be had",
                "a port that cannot be had is warned of, and the server goes on";
            RedirectPort: Listening, Count(0, 65_535), Is("80"), "PORT",
                [Flag("--redirect-port"), Env("RIP_LISTEN_REDIRECT_PORT"), Server("listen.redirect_port")],
                "the port of plain HTTP that is redirected";
            Bind(bind: Vec<IpAddr>): Listening, Addresses, Unset("all", "127.0.0.1,::1"), "ADDRESS",
                [Flag("--bind"), Env("RIP_LISTEN_BIND"), Server("listen.bind")],
                "listen on this address only; may be repeated";
            TrustedProxies(trusted_proxies: Vec<IpNet>): Listening, Networks, Unset("none", "10.0.0.0/8"), "CIDR",
                [Flag("--trusted-proxy"), Env("RIP_TRUSTED_PROXIES"), Server("trusted_proxies")],
                "believe the X-Forwarded-* fields of these peers; may be repeated";
            Proxy(proxy: Vec<ProxiedListener>): Listening, Choices(ProxiedListener::WORDS), Unset("none", "https,http"), "LISTENERS",
                [Env("RIP_LISTEN_PROXY"), Server("listen.proxy")],
                "listeners whose connections begin with a PROXY header, in which a balancer of trusted_proxies says whose they are",
                "version 1 or 2; see [9.6](#96-behind-a-balancer)";
            H2WebSocket(h2_websocket: bool): Listening, Switch, Is("true"), "BOOL",
                [Env("RIP_LISTEN_H2_WEBSOCKET"), Server("listen.h2_websocket")],
                "let clients open WebSockets over HTTP/2 (RFC 8441)",
                "`false`: they open a connection of HTTP/1.1 for each; see [7.6](#76-long-lived-connections)";
            StatusForAll(status_for_all: bool): Listening, Switch, Is("false"), "BOOL",
                [Word("--status-for-all", "true"), Env("RIP_STATUS_FOR_ALL"), Server("status_for_all")],
                "answer /server and /status to others than loopback peers too";
            Metrics(metrics: Option<SocketAddr>): Listening, Endpoint, Unset("off", "127.0.0.1:9145"), "ADDRESS:PORT",
                [Flag("--metrics"), Env("RIP_METRICS"), Server("metrics")],
                "serve Prometheus metrics there, beside the control socket",
                "at `/metrics`, without TLS; see [15](#15-metrics)";
            Health(health: Option<SocketAddr>): Listening, Endpoint, Unset("off", "0.0.0.0:8081"), "ADDRESS:PORT",
                [Flag("--health"), Env("RIP_LISTEN_HEALTH"), Server("listen.health")],
                "tell balancers there whether to send requests here",
                "at `/ready` and `/live`, without TLS; see [9.6](#96-behind-a-balancer)";
            Ready(ready: ReadyWhen): Listening, Choice(ReadyWhen::WORDS), Is("all"), "all|any",
                [Env("RIP_LISTEN_READY"), Server("listen.ready")],
                "whether every app or any has to have a worker for balancers to be told that the server is ready";
            AgentCheck(agent: Option<SocketAddr>): Listening, Endpoint, Unset("off", "0.0.0.0:8082"), "ADDRESS:PORT",
                [Env("RIP_LISTEN_AGENT"), Server("listen.agent")],
                "tell HAProxy the same there, in the words of its agent-check";
            LameDuck(lame_duck: Duration): Listening, TimeOrZero, Is("0s"), "TIME",
                [Env("RIP_LISTEN_LAME_DUCK"), Server("listen.lame_duck")],
                "how long a server that is to stop serves on while balancers are told to send requests elsewhere";
            Threads(threads: Option<NonZeroU32>): Listening, Count(1, 1024), Unset("one per core", "4"), "N",
                [Flag("--threads"), Env("RIP_THREADS"), Server("threads")],
                "threads that serve connections";
        }

        /// TLS, beside where certificates come from.
        TlsSettings {
            Cert: Tls, Path, Unset("none", "/etc/ssl/certs/blog.pem"), "PATH",
                [Flag("--cert"), Env("RIP_TLS_CERT"), Server("tls.cert")],
                "certificate chain, PEM; needs its key too";
            Key: Tls, Path, Unset("none", "/etc/ssl/private/blog.key"), "PATH",
                [Flag("--key"), Env("RIP_TLS_KEY"), Server("tls.key")],
                "private key of the certificate, PEM";
            Certs: Tls, Path, Unset("none", "/etc/ssl/rip"), "DIR",
                [Flag("--certs"), Env("RIP_TLS_CERTS"), Server("tls.certs")],
                "folder of certificates with their keys, PEM, three levels deep, whatever the files are called; each answers for its names",
                "see [10](#10-tls-and-certificates)";
            DefaultCert: Tls, Host, Unset("the first", "blog.example"), "HOST",
                [Env("RIP_TLS_DEFAULT"), Server("tls.default")],
                "host whose certificate clients get that name none, or one that is not here",
                "see [10](#10-tls-and-certificates)";
            AutoTls: Tls, Switch, Is("false"), "BOOL",
                [Word("--auto-tls", "true"), Env("RIP_TLS_AUTO"), Server("tls.auto")],
                "let mkcert make the certificate, when it is installed; otherwise it is self-signed";
            Hsts(hsts: bool): Tls, Switch, Is("false"), "BOOL",
                [Word("--hsts", "true"), Env("RIP_TLS_HSTS"), Server("tls.hsts")],
                "tell browsers to use HTTPS only (Strict-Transport-Security)";
            HstsMaxAge(hsts_max_age: Duration): Tls, TimeOrZero, Is("365d"), "TIME",
                [Env("RIP_TLS_HSTS_MAX_AGE"), Server("tls.hsts_max_age")],
                "how long browsers remember hsts",
                "its `max-age`";
            HstsSubdomains(hsts_subdomains: bool): Tls, Switch, Is("false"), "BOOL",
                [Env("RIP_TLS_HSTS_SUBDOMAINS"), Server("tls.hsts_subdomains")],
                "whether hsts means sub-domains too",
                "its `includeSubDomains`";
            ClientCa: Tls, Path, Unset("none", "/etc/rip-server/clients.pem"), "PATH",
                [Env("RIP_TLS_CLIENT_CA"), Server("tls.client.ca")],
                "authorities whose client certificates all hosts ask for, PEM",
                "see [10.2](#102-client-certificates)";
            ClientCrl: Tls, Path, Unset("none", "/etc/rip-server/clients-crl.pem"), "PATH",
                [Env("RIP_TLS_CLIENT_CRL"), Server("tls.client.crl")],
                "lists of client certificates that the authorities have revoked, PEM";
            ClientMode: Tls, Choice(ClientCertMode::WORDS), Unset("require where there is a ca", "request"), "require|request|off",
                [Env("RIP_TLS_CLIENT_MODE"), Server("tls.client.mode")],
                "what becomes of clients without a certificate that is believed: refused, served with a word to the worker, or not asked";
            Acme: Tls, Authorities, Is("off"), "off|yes|staging|URL",
                [FlagOr("--acme", "yes"), Env("RIP_TLS_ACME"), Server("tls.acme")],
                "get certificates from an authority by ACME and renew them: Let's Encrypt (yes), its test server (staging), the authority with this directory URL, or the first of several that works",
                "`--acme` alone is `yes`, and takes a value only by `=`; see [10.1](#101-acme)";
            AcmeEmail: Tls, Text, Unset("none", "ops@blog.example"), "ADDRESS",
                [Env("RIP_TLS_ACME_EMAIL"), Server("tls.acme_email")],
                "where the authority may write to";
            AcmeProfile: Tls, Text, Unset("the authority's own", "shortlived"), "NAME",
                [Env("RIP_TLS_ACME_PROFILE"), Server("tls.acme_profile")],
                "which of the authority's profiles certificates are to have";
            AcmeRoot: Tls, Path, Unset("those of the machine", "/etc/ssl/private-ca.pem"), "PATH",
                [Env("RIP_TLS_ACME_ROOT"), Server("tls.acme_root")],
                "roots that the authority's own server may have beside those of the machine, PEM";
            AcmeEab: Tls, Path, Unset("none", "/etc/rip-server/acme-eab"), "PATH",
                [Env("RIP_TLS_ACME_EAB"), Server("tls.acme_eab")],
                "file with two lines for external account binding: the key id, and the HMAC key in base64url";
            AcmeHook: Tls, Path, Unset("none", "/usr/local/bin/dns-record"), "PATH",
                [Env("RIP_TLS_ACME_HOOK"), Server("tls.acme_hook")],
                "program that sets and removes DNS records, called with present or cleanup, the record's name and its value; wildcards need it";
            AcmeChallenge: Tls, Choice(Challenge::WORDS), Is("auto"), "auto|http|tls-alpn|dns",
                [Env("RIP_TLS_ACME_CHALLENGE"), Server("tls.acme_challenge")],
                "how the authority is shown that a name leads here";
            AcmeRenewed: Tls, Path, Unset("none", "/usr/local/bin/after-renewal"), "PATH",
                [Env("RIP_TLS_ACME_RENEWED"), Server("tls.acme_renewed")],
                "program that runs after each new certificate, called with the host and the folder of the pair";
            AcmeOrders: Tls, Count(1, 1000), Is("8"), "N",
                [Env("RIP_TLS_ACME_ORDERS"), Server("tls.acme_orders")],
                "orders under way at the same time";
            AcmePerMinute: Tls, Count(1, 100_000), Is("30"), "N",
                [Env("RIP_TLS_ACME_PER_MINUTE"), Server("tls.acme_per_minute")],
                "orders begun in a minute";
        }

        /// The records that the server writes, and their form.
        LogSettings {
            Json(json: bool): Log, Switch, Is("false"), "BOOL",
                [Word("--json-logging", "true"), Word("--json", "true"), Env("RIP_LOG_JSON"), Server("log.json")],
                "one JSON object per record instead of lines for people; also the output of list and check";
            AccessLog(access: bool): Log, Switch, Is("true"), "BOOL",
                [Word("--no-access-log", "false"), Env("RIP_LOG_ACCESS"), Server("log.access")],
                "record each request";
            Levels(level: String): Log, Levels, Is("info"), "LEVELS", [Env("RIP_LOG"), Server("log.level")],
                "how much of what else happens is recorded",
                "`error`, `warn`, `info`, `debug`, `trace` or `off`, also by module: `info,hyper=debug`";
        }

        /// Names and files, beside folders.
        FileSettings {
            Instance: Files, Instance, Unset("the app's name", "labs-api"), "NAME",
                [Flag("--instance"), Server("instance")],
                "name of this server; without an app, labs-api runs /srv/rip/labs/api, or /srv/rip/labs-api if that is what is there";
            ConfigFile: Files, Path, Unset("/etc/rip-server/INSTANCE.toml if it exists, with --instance or under systemd", "/etc/rip-server/labs-api.toml"), "FILE",
                [Flag("--config"), Env("RIP_CONFIG")],
                "the server's config file",
                "see [3](#3-files-and-folders)";
            RuntimeDir: Files, Path, Unset("/run/rip-server/INSTANCE as root, else below $XDG_RUNTIME_DIR", "/run/rip-server/labs-api"), "DIR",
                [Flag("--runtime-dir"), Env("RIP_RUNTIME_DIR"), Server("runtime_dir")],
                "sockets; the control socket stands beside it as DIR.sock",
                "see [3](#3-files-and-folders)";
            StateDir: Files, Path, Unset("/var/lib/rip-server/INSTANCE as root, else below $XDG_STATE_HOME", "/var/lib/rip-server/labs-api"), "DIR",
                [Flag("--state-dir"), Env("RIP_STATE_DIR"), Server("state_dir")],
                "registry, certificates, spool files",
                "see [3](#3-files-and-folders)";
            SocketPrefix(socket_prefix: Option<String>): Files, Name, Unset("none", "rip_blog"), "NAME",
                [Flag("--socket-prefix"), Env("RIP_SOCKET_PREFIX"), Server("socket_prefix")],
                "what the names of the workers' sockets start with";
        }

        /// Limits that hold before an app is known. Sizes are in bytes.
        #[derive(Copy)]
        Limits {
            Handshake(handshake: Duration): Limits, Time, Is("10s"), "TIME",
                [Env("RIP_LIMITS_HANDSHAKE"), Server("limits.handshake")],
                "time for the TLS handshake";
            Head(head: Duration): Limits, Time, Is("10s"), "TIME", [Env("RIP_LIMITS_HEAD"), Server("limits.head")],
                "time for a request's head once its first byte is there, then 408; and for the first byte of a connection's first request",
                "that time runs from a connection's beginning (over TLS the handshake's end), after which it is closed without a word";
            BodyIdle(body_idle: Duration): Limits, Time, Is("30s"), "TIME",
                [Env("RIP_LIMITS_BODY_IDLE"), Server("limits.body_idle")],
                "longest time between two pieces of a request's body; then 408";
            BodyRate(body_rate: u32): Limits, Count(0, 1_000_000_000), Is("500"), "N",
                [Env("RIP_LIMITS_BODY_RATE"), Server("limits.body_rate")],
                "bytes per second that a request's body must reach on average after 10 s; then 408",
                "0: any; for a streamed body see [7.5](#75-bodies)";
            WriteIdle(write_idle: Duration): Limits, Time, Is("60s"), "TIME",
                [Env("RIP_LIMITS_WRITE_IDLE"), Server("limits.write_idle")],
                "longest time without a byte written to a client that is to read",
                "over HTTP/2 of none of the answers that are there";
            KeepaliveIdle(keepalive: Duration): Limits, Time, Is("75s"), "TIME",
                [Env("RIP_LIMITS_KEEPALIVE"), Server("limits.keepalive")],
                "time for the next request on a kept connection",
                "from the second request on";
            MaxHead(max_head: usize): Limits, Size, Is("32K"), "SIZE",
                [Env("RIP_LIMITS_MAX_HEAD"), Server("limits.max_head")],
                "the largest request head; above it 431";
            MaxFields(max_fields: usize): Limits, Count(1, 10_000), Is("100"), "N",
                [Env("RIP_LIMITS_MAX_FIELDS"), Server("limits.max_fields")],
                "the most header fields of a request; above it 431",
                "of HTTP/1 requests";
            MaxUrl(max_url: usize): Limits, Size, Is("8K"), "SIZE", [Env("RIP_LIMITS_MAX_URL"), Server("limits.max_url")],
                "the longest request target; above it 414";
            MaxConnections(max_connections: usize): Limits, Count(1, 10_000_000), Is("10000"), "N",
                [Env("RIP_LIMITS_MAX_CONNECTIONS"), Server("limits.max_connections")],
                "connections in all; those that rest make room for more; keep it below half of LimitNOFILE=",
                "how they [make room](#16-security). The server raises its soft limit of open files to twice that, 1024 and as many as there may be spool files (8192 at most) more, and warns when the hard one forbids twice that";
            MaxPerAddress(max_connections_per_address: Option<usize>): Limits, Limit(10_000_000), Is("off"), "N",
                [Env("RIP_LIMITS_MAX_CONNECTIONS_PER_ADDRESS"), Server("limits.max_connections_per_address")],
                "connections of one address (IPv6: of a /64) that is no trusted proxy; more are closed",
                "unanswered";
            Rate(rate: Option<Rate>): Limits, Rate, Is("off"), "RATE", [Env("RIP_LIMITS_RATE"), Server("limits.rate")],
                "requests of one address, such as 50/s,100 (per second, at once); above it 429",
                "an IPv6 /64 counts as one address";
            H2Streams(h2_streams: u32): Limits, Count(1, 10_000), Is("100"), "N",
                [Env("RIP_LIMITS_H2_STREAMS"), Server("limits.h2_streams")],
                "concurrent streams of an HTTP/2 connection";
            BodyMemory(body_memory: usize): Limits, Size, Is("64K"), "SIZE",
                [Env("RIP_LIMITS_BODY_MEMORY"), Server("limits.body_memory")],
                "how much of a request's body is kept in memory before the spool file; of all bodies together 1024 times as much",
                "the rest goes into `body_room`, or into a spool file";
            BodyRoom(body_room: usize): Limits, SizeLimit, Is("32M"), "SIZE",
                [Env("RIP_LIMITS_BODY_ROOM"), Server("limits.body_room")],
                "memory that larger bodies share before they need spool files, an eighth of it each at most",
                "what a client may take: [16](#16-security)";
            Spool(spool: Option<u64>): Limits, Size, Unset("4G, or four times the largest max_body", "20G"), "SIZE",
                [Env("RIP_LIMITS_SPOOL"), Server("limits.spool")],
                "how much all spool files together may hold, of bodies and answers, a client at most what it leaves free; never more than half of what is free on their disk at the start",
                "or 64 MiB; what a client may take: [16](#16-security)";
            ReplyMemory(reply_memory: usize): Limits, Size, Is("1M"), "SIZE",
                [Env("RIP_LIMITS_REPLY_MEMORY"), Server("limits.reply_memory")],
                "how much of an answer is kept in memory before the spool file";
            ReplySpool(reply_spool: u64): Limits, Size, Is("64M"), "SIZE",
                [Env("RIP_LIMITS_REPLY_SPOOL"), Server("limits.reply_spool")],
                "how much of an answer is kept in the spool file before the worker has to wait";
            ReplyRoom(reply_room: u64): Limits, SizeLimit, Is("128M"), "SIZE",
                [Env("RIP_LIMITS_REPLY_ROOM"), Server("limits.reply_room")],
                "memory that answers share which wait for their clients; what finds none goes into spool files",
                "what a client may take: [16](#16-security)";
        }

        /// The backend that runs the workers.
        UnitSettings {
            Backend(backend: BackendChoice): Units, Choice(BackendChoice::WORDS), Is("auto"), "auto|child|systemd",
                [Flag("--backend"), Env("RIP_BACKEND"), Server("backend")],
                "what runs the workers: child processes, or a unit of systemd's for each; auto: units where the server is a service",
                "see [17.3](#173-workers-are-units)";
        }

        /// The rights of a worker's transient unit: the admin's word alone. The program that makes the unit reads them
        /// from the server's file.
        #[derive(Serialize)]
        Sandbox {
            SandboxUser(user: Option<String>): Units, User, Unset("a dynamic user for each app", "blog"), "USER",
                [Server("sandbox.user")],
                "the user that workers run as",
                "never root, nor the server's own";
            SandboxRoots(roots: Vec<PathBuf>): Units, Paths, Is("/srv/rip"), "DIRS", [Server("sandbox.roots")],
                "where apps may lie; what else is there is hidden from an app",
                "beside the paths that the file itself names";
            SandboxWritable(writable: Vec<PathBuf>): Units, Paths, Unset("none", "/var/lib/blog"), "DIRS",
                [Server("sandbox.writable")],
                "folders that workers may write to, beside $STATE_DIRECTORY, $CACHE_DIRECTORY and a /tmp of their own",
                "in a home too; `$STATE_DIRECTORY` and `$CACHE_DIRECTORY` last over deploys, `/tmp` and `/dev/shm` are a worker's own";
            SandboxNetwork(network: bool): Units, Switch, Is("true"), "BOOL", [Server("sandbox.network")],
                "whether workers have the network; without, they have only a loopback of their own";
            SandboxIpAllow(#[serde(serialize_with = "as_texts")] ip_allow: Vec<IpNet>): Units, Networks, Unset("none", "10.0.0.0/8"), "CIDRS",
                [Server("sandbox.ip_allow")],
                "addresses that workers may speak with although they are denied";
            SandboxIpDeny(#[serde(serialize_with = "as_texts")] ip_deny: Vec<IpNet>): Units, Networks, Unset("none", "0.0.0.0/0,::/0"), "CIDRS",
                [Server("sandbox.ip_deny")],
                "addresses that workers may not speak with";
            SandboxTasks(tasks_max: u64): Units, Count(1, 1_000_000), Is("512"), "N", [Server("sandbox.tasks_max")],
                "processes and threads of one worker";
            SandboxMemory(memory_max: Option<u64>): Units, SizeLimit, Is("off"), "SIZE", [Server("sandbox.memory_max")],
                "most memory of one worker, whatever its app says",
                "`memory`'s HARD is `MemoryMax=` too; the lower one counts";
            SandboxMemoryHigh(memory_high: Option<u64>): Units, SizeLimit, Is("off"), "SIZE",
                [Server("sandbox.memory_high")],
                "memory above which a worker is slowed and its memory reclaimed, before memory_max ends it",
                "`MemoryHigh=`; `memory`'s SOFT recycles";
            SandboxCpuWeight(cpu_weight: u32): Units, Count(1, 10_000), Is("100"), "N", [Server("sandbox.cpu_weight")],
                "share of the processors beside other units";
            SandboxCpuQuota(cpu_quota: Option<u32>): Units, Limit(1_000_000), Is("off"), "PERCENT",
                [Server("sandbox.cpu_quota")],
                "most time of one worker, in percent of one processor";
            SandboxWriteExecute(write_execute: bool): Units, Switch, Is("true"), "BOOL", [Server("sandbox.write_execute")],
                "whether workers may make written memory executable; Node, Bun and PyPy need it",
                "`false`: `MemoryDenyWriteExecute=`; just-in-time compilers need `true`";
            SandboxEnvFile(env_file: Option<PathBuf>): Units, Path, Unset("/etc/rip-server/INSTANCE.env if it exists", "/etc/rip-server/labs-api.env"), "FILE",
                [Server("sandbox.env_file")],
                "variables for the workers, one NAME=VALUE a line; the place for secrets",
                "for the workers of all apps of the instance: an app with secrets of its own is an instance of its own";
            SandboxCredentials(credentials: Vec<String>): Units, Credentials, Unset("none", "db:/etc/rip-server/db.key"), "ID:PATHS",
                [Server("sandbox.credentials")],
                "secret files for the workers, found as $CREDENTIALS_DIRECTORY/ID",
                "paths are taken literally, whatever characters they have";
        }
    } };
}
pub(crate) use rows_of_server;
