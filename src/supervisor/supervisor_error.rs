//! Owns why the supervisor did not do what it was asked: a word for programs, a sentence and a hint for people.
//!
//! Never here: failures of workers, which are facts and not answers.

use std::error::Error;
use std::path::PathBuf;

use crate::name::{AppName, GenerationId, RouteName, WorkerId};
use crate::registry::RegistryError;

/// Why an app's directory and settings do not make an app.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct ResolveError {
    text: String,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ResolveError {
    /// `text` is one sentence for people, which is understood without the source.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), source: None }
    }

    /// The same error with its source, for logs.
    pub(crate) fn because(text: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { text: text.into(), source: Some(source.into()) }
    }
}

/// Why the supervisor did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SupervisorError {
    /// The host is not registered.
    #[error("there is no host `{0}`")]
    NoSuchHost(RouteName),
    /// No app has that name.
    #[error("there is no app `{0}`")]
    NoSuchApp(AppName),
    /// No app was named, and there is none.
    #[error("there is no app")]
    NoApp,
    /// No app was named, and there are several.
    #[error("there are several apps: {}", names(.0))]
    WhichApp(Vec<AppName>),
    /// The host is another app's.
    #[error("the host `{host}` belongs to the app `{app}`")]
    HostTaken {
        host: RouteName,
        /// The app that the host leads to.
        app: AppName,
    },
    /// The host comes from a config.
    #[error("the host `{host}` comes with the settings of the app `{app}`")]
    HostOfConfig {
        host: RouteName,
        /// The app that the host leads to.
        app: AppName,
    },
    /// Two directories would be apps of one name.
    #[error("{} would be a second app `{app}`: the first is {}", new.display(), known.display())]
    NameTaken {
        app: AppName,
        /// The directory of the app that has the name.
        known: PathBuf,
        /// The directory of the other app.
        new: PathBuf,
    },
    /// The app is ending.
    #[error("the app `{0}` is being stopped")]
    Leaving(AppName),
    /// No generation of the app serves.
    #[error("no generation of `{0}` serves")]
    NotServing(AppName),
    /// The app has no such timer.
    #[error("`{app}` has no timer `{timer}`{}", others(.known))]
    NoTimer { app: AppName, timer: String, known: Vec<String> },
    /// The command of the timer runs.
    #[error("timer.{timer} of `{app}` runs already, as worker {worker}")]
    TimerRuns { app: AppName, timer: String, worker: WorkerId },
    /// There is no generation to go back to.
    #[error("no generation of `{app}` is known that served before generation {serving}")]
    NoEarlier { app: AppName, serving: GenerationId },
    /// No generation is held.
    #[error("no generation of `{app}` is held for a share of the clients: all get generation {serving}")]
    NoCanary { app: AppName, serving: GenerationId },
    /// The share is none.
    #[error(
        "a deploy to a share of the clients takes one of `canary`, 1 to 99 of a hundred, and `first`, at least 1 worker"
    )]
    BadShare,
    /// The path does not start at the root.
    #[error("the path `{}` is not absolute", .0.display())]
    RelativePath(PathBuf),
    /// The text is not a number of workers.
    #[error("`{read}` is not a number of workers")]
    BadCount { read: String, right: String },
    /// The directory is no app that can run.
    #[error("{error}")]
    Rejected { path: PathBuf, error: ResolveError },
    /// The server is ending.
    #[error("the server is stopping")]
    Stopping,
    /// The registry could not be written.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl SupervisorError {
    /// A stable word for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NoSuchHost(_) => "no-such-host",
            Self::NoSuchApp(_) | Self::NoApp => "no-such-app",
            Self::NoTimer { .. } => "no-such-timer",
            Self::HostTaken { .. }
            | Self::HostOfConfig { .. }
            | Self::NameTaken { .. }
            | Self::NotServing(_)
            | Self::TimerRuns { .. }
            | Self::NoEarlier { .. }
            | Self::NoCanary { .. }
            | Self::Leaving(_) => "conflict",
            Self::WhichApp(_) | Self::BadShare | Self::RelativePath(_) | Self::BadCount { .. } => {
                "bad-request"
            }
            Self::Rejected { .. } => "rejected",
            Self::Stopping => "stopping",
            Self::Registry(_) => "internal",
        }
    }

    /// A hint at what would be right, where there is one.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoSuchHost(_) => "`rip-serverctl list` shows the hosts".into(),
            Self::NoSuchApp(_) => "`rip-serverctl status` shows the apps".into(),
            Self::NoApp => "name an app's directory".into(),
            Self::WhichApp(_) => "name one of them".into(),
            Self::HostTaken { host, .. } => format!("remove it first: `rip-serverctl remove {host}`"),
            Self::HostOfConfig { .. } => "take it out of the app's `hosts`, or stop it".into(),
            Self::NameTaken { .. } => {
                "give one of them another `name`, beside its `path` in a table [[apps]] of the server's file"
                    .into()
            }
            Self::Leaving(_) => "try again when its workers are gone".into(),
            Self::NotServing(_) => "`rip-serverctl status` tells why".into(),
            Self::NoTimer { .. } => "timers are tables [timer.NAME] of the app's settings".into(),
            Self::TimerRuns { .. } => "a timer's command never runs twice at a time: try again when it is over".into(),
            Self::NoEarlier { .. } => {
                "only those that have served since the server's start are known: bring the files back, or lead the app's \
                 path to those of before, and deploy"
                    .into()
            }
            Self::NoCanary { .. } => "`rip-serverctl deploy --canary 10%` holds one".into(),
            Self::BadShare => "`rip-serverctl deploy blog --canary 10%`, or `--first 1`".into(),
            Self::RelativePath(_) => "give the whole path, from `/` on".into(),
            Self::BadCount { right, .. } => format!("expected {right}"),
            Self::Rejected { path, .. } => format!("look at it with `rip-server check {}`", path.display()),
            Self::Stopping | Self::Registry(_) => return None,
        };
        Some(hint)
    }
}

/// The end of a sentence about a timer that is not there.
fn others(known: &[String]) -> String {
    if known.is_empty() { ", and no other".into() } else { format!("; there is {}", known.join(", ")) }
}

fn names(apps: &[AppName]) -> String {
    apps.iter().map(AppName::as_str).collect::<Vec<_>>().join(", ")
}
