//! What a verb works with: the server's answers, the screen, and what the person said of both.
//!
//! Never here: any verb.

use std::time::Duration;

use super::client::Client;
use super::screen::Screen;

/// What a verb works with.
pub(super) struct Session<'a> {
    pub(super) client: Client,
    pub(super) screen: &'a mut Screen,
    pub(super) json: bool,
    /// How long the person wants to wait, if they said so.
    pub(super) limit: Option<Duration>,
}
