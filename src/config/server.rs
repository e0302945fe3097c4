//! The server's own settings, put together from every place that speaks of them. Never here: apps (`app`).

use std::fs::File;
use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

use super::error::{ConfigError, named};
use super::folders::Folders;
use super::layer::{Stack, either};
use super::machine::ProcessContext;
use super::value_origin::{Effective, ValueOrigin};
use crate::name::{HostName, InstanceName};
use crate::spec::acme::{self, Acme};
use crate::spec::settings::sections::Values;
use crate::spec::settings::table::{Id, Setting};
use crate::spec::{
    CertFiles, CertSources, ClientCerts, FileSettings, Limits, ListenSettings, LogSettings, PortChoice,
    ProxiedListener, Sandbox, Scheme, ServerSpec, TlsSettings, UnitSettings,
};
use crate::system::user;

/// Puts the server's settings together. `largest_body`: what an app takes at most, in bytes.
///
/// # Errors
/// When settings exclude each other or are not complete.
pub(crate) fn spec(
    machine: &ProcessContext,
    stack: &Stack<'_>,
    instance: InstanceName,
    folders: &Folders,
    largest_body: u64,
) -> Result<ServerSpec, ConfigError> {
    let mut limits = Limits::read(stack);
    limits.spool_for(largest_body);
    Ok(ServerSpec {
        instance,
        scheme: scheme(stack)?,
        certs: cert_sources(machine, stack, folders)?,
        client: client_certs(machine, stack)?,
        acme: acme(machine, stack),
        runtime_dir: folders.runtime.value.clone(),
        state_dir: folders.state.value.clone(),
        control_socket: folders.control.clone(),
        listening: listening(stack)?,
        tls: TlsSettings::read(stack),
        log: LogSettings::read(stack),
        files: FileSettings::read(stack),
        units: UnitSettings::read(stack),
        limits,
        sandbox: Sandbox::read(stack),
    })
}

/// The settings in force, with names and folders as they were worked out.
pub(crate) fn report(stack: &Stack<'_>, spec: &ServerSpec, folders: &Folders) -> Vec<Effective> {
    let unused = match spec.scheme {
        Scheme::Http { .. } => Id::Https,
        Scheme::Https { .. } => Id::Http,
    };
    let worked_out = [Id::Instance, Id::RuntimeDir, Id::StateDir, Id::ConfigFile, unused];
    let row = |key: &str, value: String, origin: &ValueOrigin| Effective {
        key: key.into(),
        value,
        origin: origin.clone(),
    };
    let instance = stack.ranked(Id::Instance).map_or(&ValueOrigin::Default, |(_, there)| &there.origin);
    let mut report = vec![
        row("instance", spec.instance.to_string(), instance),
        row("runtime_dir", spec.runtime_dir.display().to_string(), &folders.runtime.origin),
        row("state_dir", spec.state_dir.display().to_string(), &folders.state.origin),
        row("control socket", spec.control_socket.display().to_string(), &folders.runtime.origin),
    ];
    report.extend(stack.effective(|row| !row.is_of_apps() && !worked_out.contains(&row.id)));
    report
}

/// The settings without effect, a sentence each.
pub(crate) fn warnings(stack: &Stack<'_>, spec: &ServerSpec) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut idle = |ids: &[Id], why: &str| {
        for id in ids {
            if let Some((_, there)) =
                stack.ranked(*id).filter(|(_, there)| there.origin != ValueOrigin::Default)
            {
                warnings
                    .push(format!("{} has no effect: {why}", named(Setting::of(*id).key(), &there.origin)));
            }
        }
    };
    let proxied = |listener| spec.listening.proxy.contains(&listener);
    match spec.scheme {
        Scheme::Http { .. } if !proxied(ProxiedListener::Http) => idle(&[Id::Proxy], "plain HTTP is served"),
        Scheme::Https { redirect: None, .. } if !proxied(ProxiedListener::Https) => {
            idle(&[Id::Proxy], "HTTPS is served and plain HTTP is not redirected");
        }
        _ => {}
    }
    if matches!(spec.scheme, Scheme::Http { .. }) {
        idle(
            &[
                Id::Cert,
                Id::Key,
                Id::Certs,
                Id::DefaultCert,
                Id::AutoTls,
                Id::ClientCa,
                Id::ClientCrl,
                Id::ClientMode,
                Id::Acme,
                Id::Hsts,
                Id::RedirectHttp,
            ],
            "plain HTTP is served",
        );
        return warnings;
    }
    if spec.acme.is_none() {
        idle(&ACME, "tls.acme is off");
    }
    if !spec.tls.hsts {
        idle(&[Id::HstsMaxAge, Id::HstsSubdomains], "hsts is off");
    }
    warnings
}

/// Opens the files that the server will need, so that a wrong path is found now.
///
/// # Errors
/// [`ConfigError::Unreadable`].
pub(crate) fn check_files(spec: &ServerSpec) -> Result<(), ConfigError> {
    if !matches!(spec.scheme, Scheme::Https { .. }) {
        return Ok(());
    }
    let unreadable = |what: &str, path: &Path, source: io::Error| ConfigError::Unreadable {
        what: what.into(),
        path: path.into(),
        source,
    };
    if let Some(files) = &spec.certs.files {
        for (what, path) in [("the certificate", &files.cert), ("the certificate's key", &files.key)] {
            open(path).map_err(|source| match source.kind() {
                io::ErrorKind::PermissionDenied => ConfigError::Forbidden {
                    what: what.into(),
                    path: path.clone(),
                    user: user::of_this_process(),
                    instance: spec.instance.clone(),
                    files: Box::new(files.clone()),
                },
                _ => unreadable(what, path, source),
            })?;
        }
    }
    let client =
        [("the file of tls.client.ca", &spec.client.ca), ("the file of tls.client.crl", &spec.client.crl)];
    for (what, path) in client.into_iter().filter_map(|(what, path)| Some((what, path.as_ref()?))) {
        open(path).map_err(|source| unreadable(what, path, source))?;
    }
    if let Some(acme) = &spec.acme {
        let files = [
            ("the file of tls.acme_root", &acme.root),
            ("the file of tls.acme_eab", &acme.eab),
            ("the program of tls.acme_hook", &acme.hook),
            ("the program of tls.acme_renewed", &acme.renewed),
        ];
        for (what, path) in files.into_iter().filter_map(|(what, path)| Some((what, path.as_ref()?))) {
            open(path).map_err(|source| unreadable(what, path, source))?;
        }
    }
    if let Some(folder) = &spec.certs.folder {
        folder.read_dir().map_err(|source| unreadable("the folder of certificates", folder, source))?;
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
    let port = |id| stack.typed::<Option<_>>(id).unwrap_or(PortChoice::Probe);
    Ok(match either(stack, Id::Http, Id::Https, why)? {
        Some(Id::Http) => Scheme::Http { port: port(Id::Http) },
        _ => Scheme::Https { port: port(Id::Https), redirect: redirect(stack) },
    })
}

/// The settings of listeners. A listener that takes PROXY headers needs trusted proxies to take them from.
fn listening(stack: &Stack<'_>) -> Result<ListenSettings, ConfigError> {
    let listening = ListenSettings::read(stack);
    match stack.ranked(Id::Proxy) {
        Some((_, there)) if !listening.proxy.is_empty() && listening.trusted_proxies.is_empty() => {
            Err(ConfigError::Incomplete {
                first: named(Setting::of(Id::Proxy).key(), &there.origin),
                second: "`trusted_proxies = [\"CIDR\"]`".into(),
            })
        }
        _ => Ok(listening),
    }
}

fn redirect(stack: &Stack<'_>) -> Option<u16> {
    stack.typed::<bool>(Id::RedirectHttp).then(|| stack.typed(Id::RedirectPort))
}

fn cert_sources(
    machine: &ProcessContext,
    stack: &Stack<'_>,
    folders: &Folders,
) -> Result<CertSources, ConfigError> {
    let path = |id| stack.find::<PathBuf>(id);
    let mkcert = stack.find::<bool>(Id::AutoTls).is_some_and(|auto| auto.value);
    let incomplete = |first: &ValueOrigin, id: Id, other: &str| {
        Err(ConfigError::Incomplete {
            first: named(Setting::of(id).key(), first),
            second: format!("`{other}=PATH`"),
        })
    };
    let files = match (path(Id::Cert), path(Id::Key)) {
        (Some(cert), Some(key)) => {
            Some(CertFiles { cert: machine.absolute(&cert.value), key: machine.absolute(&key.value) })
        }
        (Some(cert), None) => return incomplete(&cert.origin, Id::Cert, "--key"),
        (None, Some(key)) => return incomplete(&key.origin, Id::Key, "--cert"),
        (None, None) => None,
    };
    let why = "the certificate is given or made by mkcert";
    let by_mkcert =
        mkcert && (files.is_none() || either(stack, Id::Cert, Id::AutoTls, why)? == Some(Id::AutoTls));
    let default = stack.find::<String>(Id::DefaultCert).and_then(|host| HostName::parse(&host.value).ok());
    Ok(CertSources {
        files: files.filter(|_| !by_mkcert),
        folder: path(Id::Certs).map(|folder| machine.absolute(&folder.value)),
        acme_store: Some(folders.state.value.join("certs/acme")),
        mkcert: by_mkcert,
        default,
    })
}

fn client_certs(machine: &ProcessContext, stack: &Stack<'_>) -> Result<ClientCerts, ConfigError> {
    let path = |id| stack.told::<PathBuf>(id).map(|path| machine.absolute(&path));
    let said =
        ClientCerts { ca: path(Id::ClientCa), crl: path(Id::ClientCrl), mode: stack.told(Id::ClientMode) };
    said.or(&ClientCerts::default()).ok_or_else(|| {
        let there = [Id::ClientCrl, Id::ClientMode].into_iter().find_map(|id| {
            let (_, there) = stack.ranked(id)?;
            Some(named(Setting::of(id).key(), &there.origin))
        });
        ConfigError::Incomplete {
            first: there.unwrap_or_default(),
            second: "`tls.client.ca = \"PATH\"`".into(),
        }
    })
}

/// The settings of ACME; `None` where no authority is named.
fn acme(machine: &ProcessContext, stack: &Stack<'_>) -> Option<Acme> {
    let authorities = stack.told::<Vec<String>>(Id::Acme).filter(|named| !named.is_empty())?;
    let path = |id| stack.told::<PathBuf>(id).map(|path| machine.absolute(&path));
    Some(Acme {
        email: stack.told(Id::AcmeEmail),
        profile: stack.told(Id::AcmeProfile),
        root: path(Id::AcmeRoot),
        eab: path(Id::AcmeEab),
        hook: path(Id::AcmeHook),
        challenge: stack.typed(Id::AcmeChallenge),
        renewed: path(Id::AcmeRenewed),
        orders: NonZeroUsize::new(stack.typed(Id::AcmeOrders)).unwrap_or(acme::ORDERS),
        orders_per_minute: NonZeroU32::new(stack.typed(Id::AcmePerMinute)).unwrap_or(acme::ORDERS_PER_MINUTE),
        ..Acme::with(authorities)
    })
}

/// The settings that say how `tls.acme` works.
const ACME: [Id; 9] = [
    Id::AcmeEmail,
    Id::AcmeProfile,
    Id::AcmeRoot,
    Id::AcmeEab,
    Id::AcmeHook,
    Id::AcmeChallenge,
    Id::AcmeRenewed,
    Id::AcmeOrders,
    Id::AcmePerMinute,
];
