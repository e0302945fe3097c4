//! Owns what each verb asks of the server and what it shows for the answer.
//!
//! Never here: answers that come line by line (`streams`), waiting for the end (`stop`).

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::CommandFactory;
use clap_complete::Shell;
use serde::Serialize;

use crate::api::{self, Changed, Health, Intent, Registry, Status, Workers};
use crate::config::generated_docs::completions;
use crate::config::machine::absolute_here;
use crate::name::HostName;

use super::args::{Verb, Words};
use super::client::{Call, Client, encoded, understood};
use super::find::{self, Found, Places};
use super::screen::Screen;
use super::session::Session;
use super::trouble::{Exit, Trouble};
use super::{check, manual, render, stop, streams};

/// Does a verb; those that need no server look for none.
pub(super) fn act(words: Words, places: &Places, screen: &mut Screen) -> Result<Exit, Trouble> {
    let Words { common, verb } = words;
    match verb {
        Verb::Check { args } => return check::check(&args, common.instance.as_ref(), common.json),
        Verb::Completions { shell } => return Ok(completions(shell, screen, common.json)),
        Verb::Man => {
            screen.data(manual::text(&Words::command()).as_bytes());
            return Ok(Exit::Ok);
        }
        _ => {}
    }
    let found = match &common.socket {
        Some(path) => Ok(find::behind(path)),
        None => places.find(common.instance.as_ref()),
    };
    let limit = common.timeout();
    let socket = match (found, &verb) {
        (Ok(Found::Running(socket)), _) => socket,
        (Ok(Found::Asleep(server)), Verb::Stop { no_wait }) => {
            return stop::close(&server, *no_wait, screen, common.json);
        }
        (Err(_) | Ok(Found::Asleep(_)), Verb::Version) => return Ok(versions(None, screen, common.json)),
        (Ok(Found::Asleep(server)), _) => return Err(server.trouble()),
        (Err(trouble), _) => return Err(trouble),
    };
    let client = Client::new(socket, limit.unwrap_or(PATIENCE));
    let session = Session { client, screen, json: common.json, limit };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Trouble::new(Exit::Failed, "internal", format!("cannot start: {error}")))?;
    runtime.block_on(session.act(verb))
}

impl Session<'_> {
    async fn act(mut self, verb: Verb) -> Result<Exit, Trouble> {
        match verb {
            Verb::List => self.list().await,
            Verb::Add { host, app } => self.add(host, app).await,
            Verb::Remove { host } => self.remove(&host).await,
            Verb::Pause { host } => self.intend(&host, Intent::Hold, None).await,
            Verb::Resume { host } => self.intend(&host, Intent::Run, None).await,
            Verb::Maintenance { host, page } => {
                let page = page.as_deref().map(page_text).transpose()?;
                self.intend(&host, Intent::Stop, page).await
            }
            Verb::Status => self.status().await,
            Verb::Workers => self.workers().await,
            Verb::Scale { app, count } => self.scale(api::Scale { app, workers: count }).await,
            Verb::Metrics => self.metrics().await,
            Verb::Version => self.version().await,
            Verb::Deploy { app } => streams::deploy(&mut self, app).await,
            Verb::Logs { app, lines, follow } => streams::logs(&mut self, app, lines, follow).await,
            Verb::Stop { no_wait } => stop::stop(&mut self, no_wait).await,
            Verb::Check { .. } | Verb::Completions { .. } | Verb::Man => Ok(Exit::Ok),
        }
    }

    async fn list(&mut self) -> Result<Exit, Trouble> {
        let answer = self.client.call(Call::get("/registry")).await?;
        if self.json {
            self.screen.answer(&answer);
        } else {
            let registry: Registry = understood(&answer)?;
            self.screen.data(render::hosts(&registry.entries).as_bytes());
        }
        Ok(Exit::Ok)
    }

    async fn add(&mut self, host: HostName, app: Option<PathBuf>) -> Result<Exit, Trouble> {
        let path = app.as_deref().map(existing).transpose()?;
        let call = Call::post("/registry", &api::AddHost { host: host.clone(), path })?;
        self.change(call, &host, "added").await
    }

    async fn remove(&mut self, host: &HostName) -> Result<Exit, Trouble> {
        let call = Call::delete(format!("/registry/{}", encoded(host.as_str())));
        self.change(call, host, "removed").await
    }

    async fn intend(
        &mut self,
        host: &HostName,
        intent: Intent,
        page: Option<String>,
    ) -> Result<Exit, Trouble> {
        let path = format!("/registry/{}/intent", encoded(host.as_str()));
        let done = match intent {
            Intent::Run => "serving",
            Intent::Hold => "paused: its requests wait",
            Intent::Stop => "in maintenance: its requests are answered with 503",
        };
        self.change(Call::post(path, &api::SetIntent { intent, page })?, host, done).await
    }

    async fn change(&mut self, call: Call, host: &HostName, done: &str) -> Result<Exit, Trouble> {
        let answer = self.client.call(call).await?;
        if self.json {
            self.screen.answer(&answer);
            return Ok(Exit::Ok);
        }
        let Changed { changed, entry, .. } = understood(&answer)?;
        let app = entry.map(|entry| format!(" (app {})", entry.app)).unwrap_or_default();
        let before = if changed { "" } else { ", as before" };
        self.screen.say(format_args!("{host}: {done}{before}{app}"));
        Ok(Exit::Ok)
    }

    async fn status(&mut self) -> Result<Exit, Trouble> {
        let answer = self.client.call(Call::get("/status")).await?;
        let status: Status = understood(&answer)?;
        if self.json {
            self.screen.answer(&answer);
        } else {
            self.screen.data(render::status(&status).as_bytes());
        }
        Ok(match status.status {
            Health::Healthy => Exit::Ok,
            Health::Degraded => Exit::Degraded,
        })
    }

    async fn workers(&mut self) -> Result<Exit, Trouble> {
        let answer = self.client.call(Call::get("/workers")).await?;
        if self.json {
            self.screen.answer(&answer);
        } else {
            let Workers { workers } = understood(&answer)?;
            self.screen.data(render::workers(&workers).as_bytes());
        }
        Ok(Exit::Ok)
    }

    async fn scale(&mut self, scale: api::Scale) -> Result<Exit, Trouble> {
        let answer = self.client.call(Call::post("/workers/scale", &scale)?).await?;
        if self.json {
            self.screen.answer(&answer);
        } else {
            self.screen.say(render::scaled(&understood(&answer)?));
        }
        Ok(Exit::Ok)
    }

    async fn metrics(&mut self) -> Result<Exit, Trouble> {
        let answer = self.client.call(Call::get("/metrics")).await?;
        if self.json {
            let metrics = String::from_utf8_lossy(&answer);
            self.screen.json(&Metrics { ok: true, metrics: &metrics });
        } else {
            self.screen.data(&answer);
        }
        Ok(Exit::Ok)
    }

    /// A server that does not answer has no version: that is no failure of this verb.
    async fn version(&mut self) -> Result<Exit, Trouble> {
        let answer = self.client.call(Call::get("/status")).await;
        let status = answer.and_then(|answer| understood::<Status>(&answer)).ok();
        Ok(versions(status, self.screen, self.json))
    }
}

fn versions(server: Option<Status>, screen: &mut Screen, json: bool) -> Exit {
    let client = env!("CARGO_PKG_VERSION");
    if json {
        screen.json(&Versions { ok: true, client, server: server.map(|status| status.version) });
        return Exit::Ok;
    }
    let server = match server {
        Some(status) => format!("rip-server {} ({})", status.version, status.instance),
        None => "rip-server: none answers".into(),
    };
    screen.data(format!("rip-serverctl {client}\n{}\n", render::plain(&server)).as_bytes());
    Exit::Ok
}

fn completions(shell: Shell, screen: &mut Screen, json: bool) -> Exit {
    let script = completions::script(shell, &mut Words::command());
    if json {
        screen.json(&Completions { ok: true, shell: shell.to_string(), script: &script });
    } else {
        screen.data(script.as_bytes());
    }
    Exit::Ok
}

/// The server runs elsewhere: it needs the whole path, and would tell late that nothing is there. A link such as
/// `current` stays in it, since later deploys are to follow it.
fn existing(app: &Path) -> Result<PathBuf, Trouble> {
    fs::metadata(app).and_then(|_| absolute_here(app)).map_err(|error| {
        let message = format!("--app {}: {error}", app.display());
        Trouble::new(Exit::Usage, "usage", message).hint("give the directory or the entry file of an app")
    })
}

fn page_text(path: &Path) -> Result<String, Trouble> {
    let file = File::open(path).map_err(|error| Trouble::file(path, &error))?;
    let mut text = String::new();
    file.take(MAX_PAGE + 1).read_to_string(&mut text).map_err(|error| Trouble::file(path, &error))?;
    if text.len() as u64 > MAX_PAGE {
        let long = io::Error::other("longer than 512 KiB");
        return Err(Trouble::file(path, &long));
    }
    Ok(text)
}

#[derive(Serialize)]
struct Metrics<'a> {
    ok: bool,
    metrics: &'a str,
}

#[derive(Serialize)]
struct Versions<'a> {
    ok: bool,
    client: &'a str,
    server: Option<String>,
}

#[derive(Serialize)]
struct Completions<'a> {
    ok: bool,
    shell: String,
    script: &'a str,
}

const PATIENCE: Duration = Duration::from_secs(10);
/// So that it fits into a request, whatever has to be escaped in it.
const MAX_PAGE: u64 = 512 << 10;
