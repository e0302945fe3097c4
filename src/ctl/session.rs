//! Owns what a verb works with: the way to the server, its answers, the screen, and the flags about them.
//!
//! Never here: any verb.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::client::{Answered, ControlClient};
use super::common_args::CommonArgs;
use super::error::{CtlError, Exit};
use super::find::{self, FoundServer, SocketPlaces};
use super::screen::Screen;

/// The caller of a verb: the flags that every verb takes, and where the result goes.
pub(super) struct Caller<'a> {
    /// Every verb and flag, for pages about them.
    pub(super) program: clap::Command,
    pub(super) common: &'a CommonArgs,
    pub(super) places: &'a SocketPlaces,
    pub(super) screen: &'a mut Screen,
}

impl Caller<'_> {
    /// Finds the server that is meant; starts none.
    ///
    /// # Errors
    /// As [`SocketPlaces::find`].
    pub(super) fn find(&self) -> Result<FoundServer, CtlError> {
        match &self.common.socket {
            Some(path) => Ok(find::behind(path)),
            None => self.places.find(self.common.instance.as_ref()),
        }
    }

    /// Does `work` with the server that is meant.
    ///
    /// # Errors
    /// When no such server runs, and those of `work`.
    pub(super) fn ask(
        self,
        work: impl AsyncFnOnce(&mut Session<'_>) -> Result<Exit, CtlError>,
    ) -> Result<Exit, CtlError> {
        match self.find()? {
            FoundServer::Running(socket) => self.ask_at(socket, work),
            FoundServer::Stopped(server) => Err(server.error()),
        }
    }

    /// Does `work` with the server behind a socket.
    ///
    /// # Errors
    /// Those of `work`.
    pub(super) fn ask_at(
        self,
        socket: PathBuf,
        work: impl AsyncFnOnce(&mut Session<'_>) -> Result<Exit, CtlError>,
    ) -> Result<Exit, CtlError> {
        let limit = self.common.timeout();
        let client = ControlClient::new(socket, limit.unwrap_or(ANSWER_TIMEOUT));
        let mut session = Session { client, screen: self.screen, json: self.common.json, limit };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| CtlError::new(Exit::Failed, "internal", format!("cannot start: {error}")))?;
        runtime.block_on(work(&mut session))
    }
}

/// A verb's conversation with one server.
pub(super) struct Session<'a> {
    pub(super) client: ControlClient,
    pub(super) screen: &'a mut Screen,
    pub(super) json: bool,
    /// How long the person wants to wait, if a flag says so.
    pub(super) limit: Option<Duration>,
}

impl Session<'_> {
    /// Writes an answer as data; with `--json` unchanged.
    ///
    /// # Errors
    /// When the answer cannot be understood.
    pub(super) fn show<T: DeserializeOwned>(
        &mut self,
        answer: &Answered<T>,
        text: impl FnOnce(&T) -> String,
    ) -> Result<Exit, CtlError> {
        self.answer(answer, |screen, value| {
            screen.data(text(value).as_bytes());
        })
    }

    /// Writes a message about what was done; with `--json` the answer is data.
    ///
    /// # Errors
    /// When the answer cannot be understood.
    pub(super) fn tell<T: DeserializeOwned>(
        &mut self,
        answer: &Answered<T>,
        text: impl FnOnce(&T) -> String,
    ) -> Result<Exit, CtlError> {
        self.answer(answer, |screen, value| screen.say(text(value)))
    }

    fn answer<T: DeserializeOwned>(
        &mut self,
        answer: &Answered<T>,
        write: impl FnOnce(&mut Screen, &T),
    ) -> Result<Exit, CtlError> {
        if self.json {
            self.screen.answer(answer.bytes());
        } else {
            write(self.screen, &answer.read()?);
        }
        Ok(Exit::Ok)
    }
}

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
