//! Owns a request's wait for a route that is paused.
//!
//! Never here: the wait for a worker.

use tokio::time::Instant;

use crate::api::HostState;
use crate::directory::Route;
use crate::name::ClientNet;
use crate::pool::HeldPlace;
use crate::time::timer;

use crate::acceptor::error::ServeError;

/// Waits until the route runs; fails at once while it is stopped.
pub(super) async fn wait_while_paused(
    route: &Route,
    client: Option<ClientNet>,
    until: Instant,
) -> Result<(), ServeError> {
    let mut availability = route.availability.clone();
    let mut place: Option<HeldPlace> = None;
    loop {
        let now = availability.borrow_and_update().clone();
        match now.state {
            HostState::Running => return Ok(()),
            HostState::Stopped => return Err(ServeError::Stopped { page: now.page }),
            HostState::Paused => {}
        }
        let place = match &mut place {
            Some(place) => place,
            none => none.insert(route.app.pool.hold(client).map_err(|_| ServeError::QueueFull)?),
        };
        let change = async {
            tokio::select! {
                changed = availability.changed() => changed.map_err(|_| ServeError::UnknownHost),
                () = place.pushed_out() => Err(ServeError::QueueFull),
            }
        };
        timer::timeout_at(until, change).await.unwrap_or(Err(ServeError::QueueTimeout))?;
    }
}
