//! Owns a command that an admin runs as the workers of an app run: a unit that is made as theirs are, with the admin's own
//! terminal or streams.
//!
//! Never here: the right to make one, which is that of whoever runs this program; the terminal (`ctl`).

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use zbus::{Connection, Variant};

use super::service::SETTINGS;
use super::{admin, check};
use crate::backend::systemd::bus::{self, SERVICE, UNIT, object_of};
use crate::backend::systemd::dbus::StartRequest;
use crate::backend::systemd::properties::{Scope, UnitStreams, WorkerUnit};
use crate::backend::systemd::start::start;
use crate::backend::systemd::systemd_calls::SystemdCalls;
use crate::config::sandbox;
use crate::name::{AppName, InstanceName};

/// The command that is to be run.
pub(crate) struct AdminCommand<'a> {
    pub(crate) instance: &'a InstanceName,
    pub(crate) app: &'a AppName,
    pub(crate) generation: u64,
    /// The folder of the generation.
    pub(crate) directory: &'a Path,
    pub(crate) command: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// The program that has `worker-exec`.
    pub(crate) program: &'a Path,
    pub(crate) scope: Scope,
}

/// A command that runs as a unit.
pub(crate) struct RunningCommand {
    bus: Connection,
    unit: String,
}

impl AdminCommand<'_> {
    /// Starts the unit; returns when systemd has taken the job.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub(crate) async fn start(self, streams: UnitStreams<'_>) -> Result<RunningCommand, String> {
        let settings = Path::new(SETTINGS);
        let admin = match self.scope {
            Scope::System => admin::read(settings, self.instance).map_err(|error| error.to_string())?,
            // A user's own units have no other settings than the defaults.
            Scope::User => sandbox::read(Path::new("/nonexistent")).map_err(|error| error.to_string())?,
        };
        let directory = self.directory.to_str().ok_or("the directory's path is not UTF-8")?.to_owned();
        let request = StartRequest {
            app: self.app.to_string(),
            worker: std::process::id().into(),
            generation: self.generation,
            directory: directory.clone(),
            command: self.command,
            environment: self.environment.into_iter().collect(),
            notifies: false,
            binds: false,
            fingerprint: String::new(),
            memory_max: 0,
            kill_after: u64::try_from(KILL_AFTER.as_micros()).unwrap_or(u64::MAX),
        };
        let visible = match self.scope {
            Scope::System => {
                let allowed = check::request(&request, self.instance, &admin, Path::new("/etc/passwd"));
                allowed.map_err(|refusal| refusal.to_string())?.visible
            }
            Scope::User => self.directory.to_owned(),
        };
        let worker = WorkerUnit {
            request: &request,
            instance: self.instance,
            app: self.app,
            sandbox: &admin.sandbox,
            scope: self.scope,
            hidden: &[],
            scripts: None,
            visible: &visible,
            program: self.program,
            streams,
        };
        let bus = bus::connect(self.scope)
            .await
            .map_err(|error| format!("systemd cannot be talked to: {error}"))?;
        let systemd = SystemdCalls::new(&bus).await.map_err(|error| format!("systemd: {error}"))?;
        let apps = if self.scope == Scope::System { admin::all_apps(settings) } else { Vec::new() };
        let unit = start(&systemd, worker, &apps).await.map_err(|error| error.to_string())?;
        Ok(RunningCommand { bus, unit })
    }
}

impl RunningCommand {
    /// Waits for the end; returns the exit code, of a command that was killed 128 and the signal.
    ///
    /// # Errors
    /// When systemd cannot be asked. Cancel-safe.
    pub(crate) async fn ended(&self) -> Result<u8, String> {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let begun = Instant::now();
        let (code, status) = loop {
            looks.tick().await;
            let state = self.text(UNIT, "ActiveState").await?;
            let code = self.number("ExecMainCode").await?;
            match (state.as_str(), code) {
                // The unit's start is yet to come.
                ("inactive", 0) if begun.elapsed() < START_LIMIT => {}
                ("inactive" | "failed", _) => break (code, self.number("ExecMainStatus").await?),
                _ => {}
            }
        };
        Ok(match (code, status) {
            (EXITED, status) => u8::try_from(status).unwrap_or(1),
            (0, _) => {
                return Err(format!("{} could not be set up: `journalctl -u {0}` says more", self.unit));
            }
            (_, signal) => u8::try_from(128 + signal).unwrap_or(1),
        })
    }

    /// Tells the command to end.
    pub(crate) async fn stop(&self) {
        if let Ok(systemd) = SystemdCalls::new(&self.bus).await {
            // A unit that is gone needs no stop.
            systemd.stop(&self.unit).await.ok();
        }
    }

    async fn property(&self, interface: &str, name: &str) -> Result<zbus::OwnedVariant, String> {
        let asked = bus::property(&self.bus, &object_of(&self.unit), interface, name).await;
        asked.map_err(|error| format!("systemd does not say how {} goes on: {error}", self.unit))
    }

    async fn text(&self, interface: &str, name: &str) -> Result<String, String> {
        let value = self.property(interface, name).await?;
        Ok(if let Variant::Str(text) = &*value { text.to_string() } else { String::new() })
    }

    async fn number(&self, name: &str) -> Result<i32, String> {
        let value = self.property(SERVICE, name).await?;
        Ok(if let Variant::I32(number) = &*value { *number } else { 0 })
    }
}

const START_LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const KILL_AFTER: Duration = Duration::from_secs(5);
/// CLD_EXITED of sigaction(2).
const EXITED: i32 = 1;
