//! The server's own settings, put together from every place that speaks of them. Never here: apps (`app`).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, named};
use super::folders::Folders;
use super::layer::{Stack, either};
use super::machine::Machine;
use super::origin::{Effective, Origin};
use super::settings::table::Id;
use super::settings::table::Setting;
use super::settings::units::{narrow, non_zero};
use crate::name::InstanceName;
use crate::spec::{AccessLog, CertSource, Hsts, Limits, PortChoice, Sandbox, Scheme, ServerSpec};

/// Puts the server's settings together. `largest_body`: what an app takes at most, in bytes.
///
/// # Errors
/// What excludes each other or is not complete.
pub(crate) fn spec(
    machine: &Machine,
    stack: &Stack<'_>,
    instance: InstanceName,
    folders: &Folders,
    largest_body: u64,
) -> Result<ServerSpec, ConfigError> {
    Ok(ServerSpec {
        instance,
        scheme: scheme(stack)?,
        bind: stack.get(Id::Bind).unwrap_or_default(),
        certs: cert_source(machine, stack)?,
        hsts: stack.want::<bool>(Id::Hsts).then(|| Hsts {
            max_age: stack.want(Id::HstsMaxAge),
            subdomains: stack.want(Id::HstsSubdomains),
        }),
        trusted_proxies: stack.get(Id::TrustedProxies).unwrap_or_default(),
        status_for_all: stack.want(Id::StatusForAll),
        metrics: stack.get(Id::Metrics),
        limits: limits(stack, largest_body),
        access_log: access_log(stack),
        threads: stack.get::<u64>(Id::Threads).map(non_zero),
        runtime_dir: folders.runtime.value.clone(),
        state_dir: folders.state.value.clone(),
        control_socket: folders.control.clone(),
        socket_prefix: stack.get(Id::SocketPrefix),
        backend: stack.want(Id::Backend),
        sandbox: sandbox(stack),
    })
}

/// What units may do.
pub(crate) fn sandbox(stack: &Stack<'_>) -> Sandbox {
    let paths =
        |id| stack.get::<Vec<String>>(id).unwrap_or_default().into_iter().map(PathBuf::from).collect();
    Sandbox {
        user: stack.get(Id::SandboxUser),
        roots: paths(Id::SandboxRoots),
        writable: paths(Id::SandboxWritable),
        network: stack.want(Id::SandboxNetwork),
        ip_allow: stack.get(Id::SandboxIpAllow).unwrap_or_default(),
        ip_deny: stack.get(Id::SandboxIpDeny).unwrap_or_default(),
        tasks_max: stack.want(Id::SandboxTasks),
        memory_max: stack.want(Id::SandboxMemory),
        memory_high: stack.want(Id::SandboxMemoryHigh),
        cpu_weight: narrow(stack.want(Id::SandboxCpuWeight)),
        cpu_quota: stack.want::<Option<u64>>(Id::SandboxCpuQuota).map(narrow),
        write_execute: stack.want(Id::SandboxWriteExecute),
        env_file: stack.get(Id::SandboxEnvFile),
        credentials: stack.get(Id::SandboxCredentials).unwrap_or_default(),
    }
}

/// What is in force, with names and folders as they were worked out.
pub(crate) fn report(stack: &Stack<'_>, spec: &ServerSpec, folders: &Folders) -> Vec<Effective> {
    let unused = match spec.scheme {
        Scheme::Http { .. } => Id::Https,
        Scheme::Https { .. } => Id::Http,
    };
    let worked_out = [Id::Instance, Id::RuntimeDir, Id::StateDir, Id::ConfigFile, unused];
    let row = |key: &str, value: String, origin: &Origin| Effective {
        key: key.into(),
        value,
        origin: origin.clone(),
    };
    let instance = stack.ranked(Id::Instance).map_or(&Origin::Default, |(_, there)| &there.origin);
    let mut report = vec![
        row("instance", spec.instance.to_string(), instance),
        row("runtime_dir", spec.runtime_dir.display().to_string(), &folders.runtime.origin),
        row("state_dir", spec.state_dir.display().to_string(), &folders.state.origin),
        row("control socket", spec.control_socket.display().to_string(), &folders.runtime.origin),
    ];
    report.extend(stack.effective(|row| !row.is_of_apps() && !worked_out.contains(&row.id)));
    report
}

/// What is said and has no effect.
pub(crate) fn warnings(stack: &Stack<'_>, spec: &ServerSpec) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut idle = |ids: &[Id], why: &str| {
        for id in ids {
            if let Some((_, there)) = stack.ranked(*id).filter(|(_, there)| there.origin != Origin::Default) {
                warnings
                    .push(format!("{} has no effect: {why}", named(Setting::of(*id).key(), &there.origin)));
            }
        }
    };
    if matches!(spec.scheme, Scheme::Http { .. }) {
        idle(&[Id::Cert, Id::Key, Id::AutoTls, Id::Hsts, Id::RedirectHttp], "plain HTTP is served");
    } else if spec.hsts.is_none() {
        idle(&[Id::HstsMaxAge, Id::HstsSubdomains], "hsts is off");
    }
    warnings
}

/// Opens the files that the server will need, so that a wrong path is found now.
///
/// # Errors
/// [`ConfigError::Unreadable`].
pub(crate) fn check_files(spec: &ServerSpec) -> Result<(), ConfigError> {
    let (Scheme::Https { .. }, CertSource::Files { cert, key }) = (spec.scheme, &spec.certs) else {
        return Ok(());
    };
    for (what, path) in [("the certificate", cert), ("the certificate's key", key)] {
        open(path).map_err(|source| ConfigError::Unreadable {
            what: what.into(),
            path: path.clone(),
            source,
        })?;
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<()> {
    if File::open(path)?.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(())
}

fn scheme(stack: &Stack<'_>) -> Result<Scheme, ConfigError> {
    let why = "the main listener speaks HTTPS (and redirects from port 80) or plain HTTP";
    let port = |id| stack.get(id).unwrap_or(PortChoice::Probe);
    Ok(match either(stack, Id::Http, Id::Https, why)? {
        Some(Id::Http) => Scheme::Http { port: port(Id::Http) },
        _ => Scheme::Https { port: port(Id::Https), redirect: redirect(stack) },
    })
}

fn redirect(stack: &Stack<'_>) -> Option<u16> {
    let port = || u16::try_from(stack.want::<u64>(Id::RedirectPort)).ok();
    stack.want::<bool>(Id::RedirectHttp).then(port).flatten()
}

fn cert_source(machine: &Machine, stack: &Stack<'_>) -> Result<CertSource, ConfigError> {
    let path = |id| stack.find::<PathBuf>(id);
    let wanted = stack.find::<bool>(Id::AutoTls).filter(|auto| auto.value);
    let incomplete = |first: &Origin, id: Id, other: &str| {
        Err(ConfigError::Incomplete {
            first: named(Setting::of(id).key(), first),
            second: format!("`{other}=PATH`"),
        })
    };
    let (cert, key) = match (path(Id::Cert), path(Id::Key)) {
        (Some(cert), Some(key)) => (cert, key),
        (Some(cert), None) => return incomplete(&cert.origin, Id::Cert, "--key"),
        (None, Some(key)) => return incomplete(&key.origin, Id::Key, "--cert"),
        (None, None) if wanted.is_some() => return Ok(CertSource::Mkcert),
        (None, None) => return Ok(CertSource::SelfSigned),
    };
    let why = "the certificate is given or made by mkcert";
    if wanted.is_some() && either(stack, Id::Cert, Id::AutoTls, why)? == Some(Id::AutoTls) {
        return Ok(CertSource::Mkcert);
    }
    Ok(CertSource::Files { cert: machine.absolute(&cert.value), key: machine.absolute(&key.value) })
}

fn access_log(stack: &Stack<'_>) -> AccessLog {
    match (stack.want(Id::AccessLog), stack.want(Id::Json)) {
        (false, _) => AccessLog::Off,
        (true, true) => AccessLog::Json,
        (true, false) => AccessLog::Human,
    }
}

/// Bytes of spool files in all, unless bodies may be so large that this is too little.
const LEAST_SPOOL: u64 = 4 << 30;

fn limits(stack: &Stack<'_>, largest_body: u64) -> Limits {
    let count = |id| stack.want::<u64>(id);
    let bytes = |id| usize::try_from(count(id)).unwrap_or(usize::MAX);
    Limits {
        handshake: stack.want(Id::Handshake),
        head: stack.want(Id::Head),
        body_idle: stack.want(Id::BodyIdle),
        body_rate: narrow(count(Id::BodyRate)),
        write_idle: stack.want(Id::WriteIdle),
        keepalive: stack.want(Id::KeepaliveIdle),
        max_head: bytes(Id::MaxHead),
        max_fields: bytes(Id::MaxFields),
        max_url: bytes(Id::MaxUrl),
        max_connections: bytes(Id::MaxConnections),
        max_connections_per_address: stack
            .want::<Option<u64>>(Id::MaxPerAddress)
            .map(|most| narrow(most) as usize),
        rate: stack.want(Id::Rate),
        h2_streams: narrow(count(Id::H2Streams)),
        body_memory: bytes(Id::BodyMemory),
        body_room: stack
            .want::<Option<u64>>(Id::BodyRoom)
            .map_or(0, |room| usize::try_from(room).unwrap_or(usize::MAX)),
        // Who is alone gets half, in which two such bodies find a place.
        spool: stack.get(Id::Spool).unwrap_or_else(|| largest_body.saturating_mul(4).max(LEAST_SPOOL)),
        reply_memory: bytes(Id::ReplyMemory),
        reply_spool: count(Id::ReplySpool),
        reply_room: stack.want::<Option<u64>>(Id::ReplyRoom).unwrap_or(0),
    }
}
