//! The rows of the table that speak of apps.
//!
//! Never here: those of the server (`rows_of_server`), or what becomes of a row (`sections`).

macro_rules! rows_of_apps {
    // A section: its struct. A row: Id(field: type): group, what it takes, default, how help calls its value,
    //     [forms],
    //     "meaning", "more of it for the manual and SPEC.md";
    ($next:ident $($then:ident)*; $($before:tt)*) => { $next! { $($then)*; $($before)*
        /// The kind of an app: a program, or a folder of files.
        ProgramSettings {
            AppPath: App, Path, Unset("the command line's, else /srv/rip/INSTANCE", "/srv/rip/blog"), "PATH",
                [Admin("path")],
                "the app's directory or entry file",
                "short: `app = \"/srv/rip/blog\"` at the top";
            AppName: App, Name, Unset("its directory's name", "blog"), "NAME", [Admin("name")],
                "the app's name in logs, metrics and commands",
                "1 to 64 of `a-z A-Z 0-9 . _ -`";
            Hosts: App, Hosts, Unset("NAME.local", "blog.example,*.blog.example"), "HOSTS", [App("hosts")],
                "host names that lead to the app, or some of their paths, such as example.com/blog",
                "`@HOSTS` of the command line comes first; see [11](#11-hosts)";
            Command(command: Option<Vec<String>>): App, Command, Unset("found by looking at the directory", "gunicorn,app:app"), "LIST",
                [App("command")],
                "program and arguments of a worker",
                "a program without `/` is looked up in `PATH`, one with `/` from the app's directory";
            Listen(listen: Option<Listen>): App, Choice(Listen::WORDS), Unset("by what the app is", "fd"), "fd|path|port",
                [App("listen")],
                "how a worker gets at its socket: descriptor 3 with LISTEN_FDS=1, the path in $RIP_SOCKET, the port in $PORT",
                "see [6.1](#61-how-a-worker-listens)";
            ReadyBy(ready_by: Option<ReadyBy>): App, Choice(ReadyBy::WORDS), Unset("by what the app is", "notify"), "answer|notify",
                [App("ready_by")],
                "what shows that a worker is ready: an answer to the request for ready_path, or READY=1 alone, and nothing is asked",
                "see [6.2](#62-ready)";
            Variables: App, Variables, Unset("none", "{ LANG = \"C.UTF-8\" }"), "TABLE", [App("env")],
                "variables of the workers' environment",
                "all files' tables together, the server's file first; not `RIP_*`, `LISTEN_*`, `NOTIFY_SOCKET`";
        }

        /// Files that are served without a program.
        StaticSettings {
            StaticRoot(root: Option<PathBuf>): App, Path, Unset("by what the app is", "public"), "DIR",
                [App("static.root")],
                "serve the files of this folder of the app, without a program of its own",
                "excludes `command`";
            StaticIndex(index: String): App, Text, Is("index.html"), "FILE", [App("static.index")],
                "the file that stands for its folder";
            StaticSpa(spa: bool): App, Switch, Is("false"), "BOOL", [App("static.spa")],
                "whether unknown paths get the root's index instead of 404";
        }

        /// PHP apps: what of them requests reach.
        PhpSettings {
            PhpRoot(root: Option<PathBuf>): App, Path, Unset("public where it has an index.php, else the app's folder", "web"), "DIR",
                [App("php.root")],
                "the folder of the app that requests reach, with its index.php",
                "makes a PHP app of the folder whatever else is in it, but not beside `command` or `static.root`";
            PhpIni: App, Ini, Unset("none", "{ upload_max_filesize = \"64M\" }"), "TABLE", [App("php.ini")],
                "values for PHP beside those of its own php.ini, which they beat",
                "all files' tables together, the server's file first";
            Follow(follow: Vec<PathBuf>): App, Paths, Unset("none", "/usr/share/wordpress"), "LIST", [Admin("follow")],
                "folders outside the app that links in it may lead to",
                "of PHP apps, `static` and `accel`; links within the folder of a PHP app are always followed";
        }

        /// How the workers of an app are kept.
        Upkeep {
            Workers(workers: WorkerRange): Workers, Workers, Is("half"), "COUNT",
                [Token("w:"), Env("RIP_WORKERS"), App("workers")],
                "worker processes: half of the cores, auto (all), 2x, 3x, a number, or as many as the load asks for between two of them, such as 2..8",
                "`half` is at least 1, a number at most 4096; by load: [6.6](#66-how-many-workers)";
            WorkersQuiet(workers_quiet: Duration): Workers, Time, Is("1min"), "TIME",
                [Env("RIP_WORKERS_QUIET"), App("workers_quiet")],
                "with workers = 2..8: how long one worker less has to have been enough before one goes",
                "see [6.6](#66-how-many-workers)";
            Idle(idle: Option<Duration>): Workers, Age, Is("off"), "TIME", [Env("RIP_IDLE"), App("idle")],
                "end all workers of an app that nobody has asked anything for so long; the next request starts one and waits",
                "see [6.6](#66-how-many-workers)";
            MemoryTotal(memory_total: Option<u64>): Workers, SizeLimit, Is("off"), "SIZE",
                [Env("RIP_MEMORY_TOTAL"), App("memory_total")],
                "with workers = 2..8: memory of all workers together, above which no more are started",
                "see [6.6](#66-how-many-workers)";
            Reload(reload: Reload): Workers, Choice(Reload::WORDS), Is("process"), "none|process|module",
                [Flag("--reload"), Env("RIP_RELOAD"), App("reload")],
                "when the app's entry file, its rip.toml, what watch names, or where its path leads changes: do nothing, replace the workers one by one, or let each load the app anew",
                "see [9.4](#94-changed-files)";
            Watch: Workers, Patterns, Unset("none", "**/*.py,templates"), "PATTERNS",
                [Env("RIP_WATCH"), App("watch")],
                "files of the app whose change counts for reload like its entry's, such as **/*.py or a folder; never in node_modules, venv, __pycache__ or hidden folders",
                "see [9.4](#94-changed-files)";
            ReloadSignal(reload_signal: Option<ReloadSignal>): Workers, Choice(ReloadSignal::WORDS), Unset("none: the worker looks itself", "HUP"), "HUP|USR1|USR2",
                [Env("RIP_RELOAD_SIGNAL"), App("reload_signal")],
                "with reload = module: the signal that makes a worker load the app anew",
                "only the Node and Bun worker looks itself";
            ReadyPath(ready_path: String): App, UrlPath, Is("/"), "PATH", [App("ready_path")],
                "asked for by GET until the first answer below 500",
                "see [6.2](#62-ready)";
        }

        /// The jobs that an app runs beside its web workers.
        JobSettings {
            Release(release: Vec<String>): App, JobCommand, Unset("none", "rake db:migrate"), "COMMAND",
                [App("release")],
                "command that runs once for each deploy before any worker of the new version starts; when it fails, the version before goes on",
                "a line for `sh`, or a list of program and arguments; see [6.7](#67-jobs)";
            ReleaseTimeout(release_timeout: Duration): Times, Time, Is("10min"), "TIME",
                [Env("RIP_RELEASE_TIMEOUT"), App("release_timeout")],
                "how long the command of release may take; then it is ended, and the deploy is rejected";
            SideProcesses(side_processes: SideProcesses): App, Processes, Unset("none", "{ mailer = { command = \"rake jobs:work\", count = 2 } }"), "TABLES",
                [App("process")],
                "[process.NAME] with command, and count for more than one: processes that run beside the web workers, and are started again when they end",
                "see [6.7](#67-jobs)";
            Processes(processes: bool): App, Switch, Is("false"), "BOOL",
                [Word("--processes", "true"), Env("RIP_PROCESSES"), App("processes")],
                "whether the lines of a Procfile beside `web:` run, too: `release:` as release, each other as a process",
                "see [6.7](#67-jobs)";
            Timers(timers: TimedCommands): App, Timers, Unset("none", "{ clean = { command = \"rake tmp:clear\", every = \"6h\" } }"), "TABLES",
                [App("timer")],
                "[timer.NAME] with command, and every or at: commands that run at times",
                "`every` is a time, `at` is as systemd.time(7) has it; see [6.7](#67-jobs)";
        }

        /// When a worker has served long enough and is replaced; each limit gets ±10 % jitter per worker. `None`:
        /// never.
        #[derive(Copy)]
        Recycle {
            Recycle: Workers, Recycle, Is("10000,3600s,10r"), "REQS,SECSs,RELOADSr",
                [Token("r:"), Env("RIP_RECYCLE"), App("recycle")],
                "replace a worker after so many requests, seconds or in-process reloads, whichever comes first (each ±10 %); what is left out keeps its default, 0 means never; the default is off for an app that is a command, a Procfile, a package.json script, an executable or a server of its own",
                "`off`: none of them; the age may have any unit. The default holds for apps that are stateless by nature: handlers, gunicorn, uvicorn and puma as the server starts them, static sites. Of every other kind (`command`, `Procfile`, `package.json`, executables, scripts that listen themselves) what lives in their processes, such as sessions, kernels and flows, is ended only when somebody says so";
            RecycleRequests(requests: Option<u64>): Workers, Limit(1_000_000_000_000), Unset("see recycle", "10000"), "N",
                [Env("RIP_MAX_REQUESTS"), Part("recycle.requests")],
                "the requests of recycle alone",
                "beats `RIP_RECYCLE`";
            RecycleAge(age: Option<Duration>): Workers, Age, Unset("see recycle", "3600"), "SECONDS",
                [Env("RIP_MAX_SECONDS"), Part("recycle.age")],
                "the seconds of recycle alone",
                "beats `RIP_RECYCLE`";
            RecycleReloads(reloads: Option<u64>): Workers, Limit(1_000_000_000_000), Unset("see recycle", "10"), "N",
                [Env("RIP_MAX_RELOADS"), Part("recycle.reloads")],
                "the reloads of recycle alone",
                "beats `RIP_RECYCLE`";
        }

        /// Memory limits of one worker, in bytes. `None`: no limit.
        #[derive(Copy, Serialize)]
        Memory {
            Memory: Workers, Memory, Unset("no limit", "200M,300M"), "SOFT,HARD", [Env("RIP_MEMORY"), App("memory")],
                "memory of one worker: above SOFT it is replaced after its answer, above HARD it is killed",
                "either may be left out";
            MemorySoft(soft: Option<u64>): Workers, SizeLimit, Unset("see memory", "200M"), "SIZE", [Part("memory.soft")],
                "the first part of memory";
            MemoryHard(hard: Option<u64>): Workers, SizeLimit, Unset("see memory", "300M"), "SIZE", [Part("memory.hard")],
                "the second part of memory";
        }

        /// The settings of an app for the data path. Sizes are in bytes.
        Rules with timeouts: Timeouts, client: ClientCerts, answer_fields: AnswerFields, request_fields: RequestFields, scripts: Scripts, pages: OwnPages, canary: AppCanary {
            Concurrency(concurrency: Option<NonZeroU32>): Workers, Count(1, 10_000), Unset("1, or 64 for what is concurrent by nature", "8"), "N",
                [Token("c:"), Env("RIP_CONCURRENCY"), App("concurrency")],
                "requests that a worker takes at the same time",
                "what is concurrent by nature: [5](#5-apps)";
            Tunnels(tunnels: u32): Workers, Count(0, 1_000_000), Is("100"), "N", [Env("RIP_TUNNELS"), App("tunnels")],
                "upgraded connections and event streams that a worker may hold beside its requests, one client half of them",
                "what a client may take: [16](#16-security)";
            Sticky(sticky: Sticky): Workers, Choice(Sticky::WORDS), Is("off"), "off|cookie|address",
                [Env("RIP_STICKY"), App("sticky")],
                "whether a client's requests go to the worker that has answered it before: off, by a cookie, or by the client's address",
                "for apps that keep state in a process, beside `concurrency` above 1; see [7.12](#712-sticky-clients)";
            MaxQueue(max_queue: usize): Times, Count(0, 1_000_000), Is("1024"), "N",
                [Flag("--max-queue"), Env("RIP_MAX_QUEUE"), Admin("max_queue")],
                "requests that may wait for a worker of an app; one more is answered 503",
                "how clients share the places: [7.1](#71-the-way-of-a-request)";
            MaxBody(max_body: u64): Times, Size, Is("100M"), "SIZE",
                [Flag("--max-request-body"), Env("RIP_MAX_REQUEST_BODY"), Admin("max_body"), AdminRoute("max_body")],
                "the largest request body; above it 413";
            AppAcme(acme: bool): App, Switch, Is("true"), "BOOL", [Admin("acme")],
                "whether certificates are got of an authority for the app's hosts where tls.acme says so",
                "a single host: `rip-serverctl add HOST --no-acme`";
            Keepalive(keepalive: bool): App, Switch, Is("true"), "BOOL", [App("keepalive")],
                "whether connections to workers are used again";
            Protocol(protocol: Protocol): App, Choice(Protocol::WORDS), Is("http1"), "http1|h2c|fastcgi", [App("protocol")],
                "what workers speak: HTTP/1.1, HTTP/2 without TLS (gRPC), or FastCGI";
            Strip(strip: bool): App, Switch, Is("false"), "BOOL", [App("strip")],
                "whether workers see paths without the prefix of the route, as /x for example.com/blog/x",
                "`X-Forwarded-Prefix` says what was taken away; see [11](#11-hosts)";
            Stream(stream: Vec<String>): App, UrlPaths, Unset("none", "/upload,/rpc"), "PATHS", [App("stream"), Route("stream")],
                "paths whose request bodies are passed on as they arrive, each with everything below it",
                "`true`: all";
            Allow(allow: Vec<IpNet>): App, Networks, Unset("everyone", "10.0.0.0/8,192.0.2.7"), "NETWORKS",
                [App("allow"), Route("allow")],
                "networks whose clients alone may ask; others are answered 403",
                "an empty list: everyone; see [7.7](#77-who-may-ask)";
            Deny(deny: Vec<IpNet>): App, NetworksOrAll, Unset("nobody", "192.0.2.0/24"), "NETWORKS",
                [App("deny"), Route("deny")],
                "networks whose clients may not ask, though allow names them; they are answered 403",
                "`true`: nobody may; see [7.7](#77-who-may-ask)";
            Files(files: Mounts): App, Mounts(OF_STATIC), Unset("none", "[{ path = \"/assets\", root = \"public/assets\" }]"), "LIST",
                [App("static")],
                "folders whose files the server sends itself, each at a path of the app, before a worker is asked",
                "a list, in place of the table `[static]`; see [7.8](#78-files-that-the-server-sends)";
            Compress(compress: Compress): App, Choice(Compress::WORDS), Is("off"), "off|safe|all",
                [App("compress"), Route("compress")],
                "which answers are compressed for clients that take them so: none, those without a secret in them, or all",
                "zstd, br or gzip; see [7.9](#79-compression)";
            Accel(accel: Mounts): App, Mounts(OF_ACCEL), Unset("none", "[{ path = \"/protected\", root = \"files\" }]"), "LIST",
                [App("accel")],
                "folders of which the server sends the files that workers name in X-Accel-Redirect or X-Sendfile",
                "see [7.8](#78-files-that-the-server-sends)";
            Auth(auth: Auth): App, Auth, Unset("off", "{ users = \"/etc/rip-server/staff.htpasswd\", realm = \"Staff\" }"), "TABLE",
                [App("auth"), Route("auth")],
                "who is let in: users with passwords, by a file that `rip-serverctl passwd` writes, or whom a program lets in that is asked, at a url or another app; off",
                "see [7.10](#710-passwords) and [7.11](#711-another-program-is-asked)";
            Errors(errors: Option<PathBuf>): App, Path, Unset("the server's own", "errors"), "DIR",
                [App("errors")],
                "a folder of the app with pages for what the server answers in the app's place: 503.html, 5xx.html, 404.html, 4xx.html",
                "see [8.3](#83-own-pages)";
            Redirect(redirects: Redirects): App, Redirects, Unset("none", "{ \"www.example.com\" = \"https://example.com\", \"/old\" = \"/new\" }"), "TABLE",
                [App("redirect")],
                "hosts, and paths of the app, whose requests are led elsewhere, with what follows of their paths and with their queries",
                "such a host needs no place in `hosts`; see [8.1](#81-redirects)";
            Tables(tables: ByPath<Rules>): App, Tables, Unset("none", "{ \"/admin\" = { deny = true } }"), "TABLES",
                [App("route")],
                "settings of the app for some of its paths, such as [route.\"/admin\"] with deny = true",
                "which ones, and what holds where: [4.8](#48-settings-for-some-paths)";
        }

        /// The client certificates that hosts ask for; `None`: as the server says for all hosts.
        #[derive(Hash)]
        ClientCerts {
            AppClientCa(ca: Option<PathBuf>): App, Path, Unset("that of tls.client", "/etc/rip-server/blog-clients.pem"), "PATH",
                [Admin("client.ca")],
                "authorities whose client certificates the app's hosts ask for, PEM",
                "see [10.2](#102-client-certificates)";
            AppClientCrl(crl: Option<PathBuf>): App, Path, Unset("that of tls.client", "/etc/rip-server/blog-clients-crl.pem"), "PATH",
                [Admin("client.crl")],
                "lists of client certificates that the authorities have revoked, PEM",
                "beside `client.ca` of the same table";
            AppClientMode(mode: Option<ClientCertMode>): App, Choice(ClientCertMode::WORDS), Unset("that of tls.client", "request"), "require|request|off",
                [Admin("client.mode")],
                "what becomes of clients without a certificate that is believed: refused, served with a word to the worker, or not asked";
        }

        /// The changes of header fields of answers.
        AnswerFields {
            SetFields(set: Vec<(HeaderName, HeaderValue)>): App, Fields(Head::Answer), Unset("none", "{ X-Frame-Options = \"DENY\" }"), "TABLE",
                [App("headers.set"), Route("headers.set")],
                "header fields of the app's answers, in place of those of that name which it sends",
                "see [7.3](#73-fields-to-the-client)";
            AddFields(add: Vec<(HeaderName, HeaderValue)>): App, Fields(Head::Answer), Unset("none", "{ Link = \"</style.css>; rel=preload\" }"), "TABLE",
                [App("headers.add"), Route("headers.add")],
                "header fields that the app's answers get beside those of that name which it sends";
            RemoveFields(remove: Vec<HeaderName>): App, FieldNames(Head::Answer), Unset("none", "Server,X-Powered-By"), "NAMES",
                [App("headers.remove"), Route("headers.remove")],
                "header fields that are taken out of the app's answers";
        }

        /// The changes of header fields that workers see.
        RequestFields {
            SetRequestFields(set: Vec<(HeaderName, HeaderValue)>): App, Fields(Head::Request), Unset("none", "{ X-Site = \"main\" }"), "TABLE",
                [App("headers.request.set"), Route("headers.request.set")],
                "header fields of requests as workers see them, in place of those of that name which clients send",
                "see [7.2](#72-fields-to-the-worker)";
            AddRequestFields(add: Vec<(HeaderName, HeaderValue)>): App, Fields(Head::Request), Unset("none", "{ Via = \"1.1 edge\" }"), "TABLE",
                [App("headers.request.add"), Route("headers.request.add")],
                "header fields that requests get beside those of that name which clients send";
            RemoveRequestFields(remove: Vec<HeaderName>): App, FieldNames(Head::Request), Unset("none", "X-Debug"), "NAMES",
                [App("headers.request.remove"), Route("headers.request.remove")],
                "header fields of clients that workers do not see";
        }

        /// The time limits of one app.
        #[derive(Copy)]
        Timeouts {
            QueueTimeout(queue: Duration): Times, Time, Is("10s"), "N",
                [Flag("--queue-timeout-ms"), Env("RIP_QUEUE_TIMEOUT_MS"), App("timeouts.queue"), Route("timeouts.queue")],
                "how long a request may wait for a worker before it is answered 503";
            ConnectTimeout(connect: Duration): Times, Time, Is("1s"), "N",
                [Flag("--connect-timeout-ms"), Env("RIP_CONNECT_TIMEOUT_MS"), App("timeouts.connect"), Route("timeouts.connect")],
                "how long connecting to a worker may take before another is tried";
            RequestTimeout(request: Duration): Times, Time, Is("30s"), "N",
                [Flag("--read-timeout-ms"), Env("RIP_READ_TIMEOUT_MS"), App("timeouts.request"), Route("timeouts.request")],
                "how long a worker may take until the head of its answer; then 504, and the worker is killed",
                "counted from its claim, whether it takes the request or not; for a streamed body from the last piece that the worker took, and not while more is waited for from the client";
            BodyIdleTimeout(body_idle: Duration): Times, Time, Is("60s"), "TIME",
                [Env("RIP_TIMEOUTS_BODY_IDLE"), App("timeouts.body_idle"), Route("timeouts.body_idle")],
                "how long a worker may pause within its answer before the answer is cut",
                "not counted while it waits for more of a streamed request";
            StartTimeout(start: Duration): Times, Time, Is("60s"), "TIME",
                [Env("RIP_TIMEOUTS_START"), App("timeouts.start")],
                "how long a worker may take from its start until it is ready";
            DrainTimeout(drain: Duration): Times, TimeOrZero, Is("30s"), "TIME",
                [Env("RIP_TIMEOUTS_DRAIN"), App("timeouts.drain")],
                "how long a worker that is to go may finish what it has in hand",
                "then SIGTERM, although it has requests in hand";
            KillTimeout(kill: Duration): Times, TimeOrZero, Is("5s"), "TIME",
                [Env("RIP_TIMEOUTS_KILL"), App("timeouts.kill")],
                "how long a worker has between SIGTERM and SIGKILL";
            ProbationTimeout(probation: Duration): Times, TimeOrZero, Is("5s"), "TIME",
                [Env("RIP_TIMEOUTS_PROBATION"), App("timeouts.probation")],
                "how long the workers of the version before are kept after a deploy: when the new version's crash in this time, it is taken back",
                "0: at once; see [9.1](#91-deploys)";
        }
    } };
}
pub(crate) use rows_of_apps;
