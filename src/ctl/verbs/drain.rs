//! Owns `drain` and `undrain`: whether balancers are told to send requests elsewhere.
//!
//! Never here: how balancers ask.

use std::num::NonZeroU32;

use clap::Args;

use crate::api::{DrainAnswer, EndDrain, StartDrain, endpoints};
use crate::ctl::error::{CtlError, Exit};
use crate::ctl::session::Caller;
use crate::spec::settings::units;

/// Have balancers send requests elsewhere: /ready says no, and all that come are served
#[derive(Debug, Args)]
pub(in crate::ctl) struct DrainVerb {
    /// Go back by itself after this time, such as 30s or 5min [default: until undrain]
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    lasts: Option<NonZeroU32>,
}

/// Have balancers send requests here again
#[derive(Debug, Args)]
pub(in crate::ctl) struct UndrainVerb {}

impl DrainVerb {
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        caller.ask(async |session| {
            let wanted = StartDrain { seconds: self.lasts };
            let answer = session.client.call(&endpoints::DRAIN, &wanted).await?;
            session.tell(&answer, |answer| {
                said("drained: balancers are told to send requests elsewhere", answer)
            })
        })
    }
}

impl UndrainVerb {
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        caller.ask(async |session| {
            let answer = session.client.call(&endpoints::UNDRAIN, &EndDrain {}).await?;
            session
                .tell(&answer, |answer| said("drained no longer: balancers may send requests here", answer))
        })
    }
}

fn said(what: &str, DrainAnswer { changed, asked_by_balancers, .. }: &DrainAnswer) -> String {
    let before = if *changed { "" } else { ", as before" };
    let unasked = if *asked_by_balancers {
        ""
    } else {
        "\nno balancer can ask: the server has neither listen.health nor listen.agent"
    };
    format!("{what}{before}{unasked}")
}

fn seconds(text: &str) -> Result<NonZeroU32, String> {
    let whole = units::duration(text).filter(|time| time.subsec_nanos() == 0);
    let seconds = whole.and_then(|time| u32::try_from(time.as_secs()).ok()).and_then(NonZeroU32::new);
    seconds.ok_or_else(|| "expected a time of whole seconds, such as 30s, 5min or 1h".to_owned())
}
