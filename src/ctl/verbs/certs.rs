//! Owns `certs` and its verbs: showing the certificates of hosts, renewing one, planning an order, taking one in.
//!
//! Never here: getting a certificate, or how one looks (`render`).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::api::{ImportCert, RenewCert, RenewEvent, endpoints};
use crate::ctl::client::AnswerLines;
use crate::ctl::error::{CtlError, Exit};
use crate::ctl::render;
use crate::ctl::session::{Caller, Session};
use crate::name::HostName;

/// Show the hosts' certificates, get new ones, and take others in
#[derive(Debug, Args)]
pub(in crate::ctl) struct CertsVerb {
    #[command(subcommand)]
    verb: CertVerb,
}

#[derive(Debug, Subcommand)]
enum CertVerb {
    /// Show each host's certificate: source, issuer, age, end, and when it is renewed or why not
    List,
    /// Show everything about a host's certificate
    Show {
        /// The host name
        host: HostName,
    },
    /// Order a new certificate now, and wait until it is in use; exits 0 only then
    ///
    /// The order passes over the pause after a failure, and replaces an imported certificate, too. When it fails,
    /// nothing changes
    Renew {
        /// The host name
        host: HostName,
        /// Also while the authority wants to be left alone, or too many orders were begun
        #[arg(long)]
        force: bool,
    },
    /// Check an order for a host without ordering. Exits 1 when the order would fail
    ///
    /// The checks look at where the name leads, at what answers there on port 80, at CAA records and limits, and say
    /// what they do not look at
    Plan {
        /// The host name
        host: HostName,
    },
    /// Take a certificate in for a host, and wait until it is in use
    ///
    /// The certificate is kept, and not renewed, until `certs renew HOST` gets another in its place or the host is
    /// removed. The files are read with the caller's rights
    Import {
        /// The host name
        host: HostName,
        /// The chain, PEM, the host's own certificate first
        #[arg(long, value_name = "FILE")]
        cert: PathBuf,
        /// The private key, PEM
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

impl CertsVerb {
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        match self.verb {
            CertVerb::List => caller.ask(async |session| {
                let answer = session.client.call(&endpoints::LIST_CERTS, &()).await?;
                session.show(&answer, |list| render::certificates(&list.certificates))
            }),
            CertVerb::Show { host } => caller.ask(async |session| {
                let answer = session.client.call(&endpoints::SHOW_CERT, &host).await?;
                session.show(&answer, render::certificate)
            }),
            CertVerb::Renew { host, force } => caller.ask(async |session| {
                let mut events =
                    session.client.stream(&endpoints::RENEW_CERT, &(host, RenewCert { force })).await?;
                let limit = session.limit;
                CtlError::unless_within(limit, "the renewal", progress(session, &mut events))
                    .await
                    .map_err(|error| if error.exit == Exit::TimedOut { error.hint(GOES_ON) } else { error })
            }),
            CertVerb::Plan { host } => caller.ask(async |session| {
                let answer = session.client.call(&endpoints::PLAN_CERT, &host).await?;
                let ready = answer.read()?.ready;
                session.show(&answer, render::plan)?;
                Ok(if ready { Exit::Ok } else { Exit::Failed })
            }),
            CertVerb::Import { host, cert, key } => {
                let pair = ImportCert { cert: pem(&cert, "--cert")?, key: pem(&key, "--key")? };
                caller.ask(async |session| {
                    let answer = session.client.call(&endpoints::IMPORT_CERT, &(host, pair)).await?;
                    session.tell(&answer, render::certificate)
                })
            }
        }
    }
}

/// Writes each event as it comes.
async fn progress(session: &mut Session<'_>, events: &mut AnswerLines<RenewEvent>) -> Result<Exit, CtlError> {
    let mut exit = None;
    while let Some(line) = events.next().await? {
        let event = line.read()?;
        if session.json {
            session.screen.answer(line.bytes());
        } else {
            session.screen.say(render::renewal(&event));
        }
        exit = match event {
            RenewEvent::Renewed { .. } => Some(Exit::Ok),
            RenewEvent::Failed { .. } => Some(Exit::Failed),
            RenewEvent::Ordering { .. } | RenewEvent::Issued { .. } => None,
        };
    }
    exit.ok_or_else(|| {
        let message = "the server ended the report before the renewal was decided";
        CtlError::new(Exit::Failed, "undecided", message).hint("`rip-serverctl certs list` tells more")
    })
}

fn pem(path: &Path, flag: &str) -> Result<String, CtlError> {
    let wrong = |why: String| {
        let message = format!("{flag} {}: {why}", path.display());
        CtlError::new(Exit::Usage, "usage", message).hint("give a file of PEM text")
    };
    let mut text = String::new();
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
    match text.len() as u64 > LONGEST {
        true => Err(wrong(format!("it is longer than {} KiB", LONGEST >> 10))),
        false => Ok(text),
    }
}

const GOES_ON: &str = "it goes on in the server: `rip-serverctl certs list` tells how it ends";
/// The largest file, in bytes: both files have to go into one call.
const LONGEST: u64 = 256 << 10;
