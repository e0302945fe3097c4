//! Owns the task that learns from systemd what becomes of the workers' units, over a connection that may break.
//!
//! After each new connection the task reads the state of all units, so that no lost signal matters. Never here: telling
//! systemd to do anything.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio::try_join;
use zbus::fdo::DBusProxy;
use zbus::message::Type;
use zbus::names::BusName;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedVariant};

use super::unit_table::UnitEnd;
use crate::backend::systemd::bus::{SERVICE, SYSTEMD, UNIT, UNITS, connect, object_of};
use crate::backend::systemd::dbus::ManagerProxy;
use crate::backend::systemd::{SystemdInner, unit};
use crate::time::Backoff;

/// Listens until the future is dropped, over a first connection and then over new ones. The connection in use is
/// published in `bus`.
pub(in crate::backend::systemd) async fn listen(
    shared: Arc<SystemdInner>,
    first: Connection,
    bus: watch::Sender<Option<Connection>>,
) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    let mut first = Some(first);
    loop {
        let connected = match first.take() {
            Some(first) => Ok(first),
            None => connect(shared.scope).await,
        };
        let opened = match connected {
            Ok(connection) => UnitSignals::open(connection).await,
            Err(error) => Err(error),
        };
        match opened {
            Ok(mut signals) => {
                backoff.reset();
                bus.send_replace(Some(signals.bus.clone()));
                let why = signals.listen(&shared).await;
                bus.send_replace(None);
                tracing::warn!("the connection to systemd is gone ({why}): looking for it again");
            }
            Err(error) => tracing::warn!(%error, "cannot talk to systemd"),
        }
        sleep(backoff.next_delay()).await;
    }
}

/// A connection over which systemd sends signals about all units.
struct UnitSignals {
    bus: Connection,
    /// systemd's own name on the bus: anybody may send what looks like its signals.
    systemd: String,
    changes: MessageStream,
    removals: MessageStream,
    owners: MessageStream,
}

impl UnitSignals {
    async fn open(bus: Connection) -> zbus::Result<Self> {
        let signals = |interface: &'static str, member: &'static str| {
            MatchRule::builder().msg_type(Type::Signal).interface(interface).member(member)
        };
        let changes = signals("org.freedesktop.DBus.Properties", "PropertiesChanged");
        let changes = changes.sender(SYSTEMD).path_namespace(UNITS).build()?;
        let removals = signals("org.freedesktop.systemd1.Manager", "UnitRemoved").sender(SYSTEMD).build()?;
        let owners = signals("org.freedesktop.DBus", "NameOwnerChanged").sender("org.freedesktop.DBus");
        let owners = owners.add_arg(SYSTEMD).build()?;
        let hear =
            |rule: MatchRule<'static>| MessageStream::for_match_rule(rule, &bus, NonZeroUsize::new(QUEUE));
        let (manager, daemon) = (ManagerProxy::new(&bus).await?, DBusProxy::new(&bus).await?);
        let name = BusName::try_from(SYSTEMD)?;
        let systemd = async { Ok(daemon.get_name_owner(name).await?.to_string()) };
        // The calls may go in any order: all units are looked at when every signal is subscribed.
        let (changes, removals, owners, (), systemd) =
            try_join!(hear(changes), hear(removals), hear(owners), manager.subscribe(), systemd)?;
        Ok(Self { bus, systemd, changes, removals, owners })
    }

    /// Listens; returns why no more signals can come.
    async fn listen(&mut self, shared: &Arc<SystemdInner>) -> String {
        if let Err(error) = self.look_at_all(shared).await {
            return error.to_string();
        }
        loop {
            let heard = tokio::select! {
                message = next(&mut self.changes) => message.map(|message| self.changed(shared, &message)),
                message = next(&mut self.removals) => message.map(|message| self.removed(shared, &message)),
                message = next(&mut self.owners) => {
                    // A systemd that has executed itself anew does not know its listeners any more.
                    return if message.is_some() { "it has a new one".into() } else { "it was closed".into() };
                }
            };
            if heard.is_none() {
                return "it was closed".into();
            }
        }
    }

    /// Reads the state of all units, for what happened while nobody listened.
    async fn look_at_all(&self, shared: &Arc<SystemdInner>) -> zbus::Result<()> {
        let known = shared.units.objects();
        if known.is_empty() {
            return Ok(());
        }
        let pattern = unit::pattern(&shared.instance);
        let units = ManagerProxy::new(&self.bus).await?.list_units_by_patterns(&[], &[&pattern]).await?;
        let there: Vec<String> = units.iter().map(|row| object_of(&row.0)).collect();
        for object in known {
            let ended = if there.contains(&object) {
                shared.units.note(&object, &all_properties(&self.bus, &object).await?)
            } else {
                shared.units.gone(&object)
            };
            tell(shared, &self.bus, ended);
        }
        Ok(())
    }

    fn changed(&self, shared: &Arc<SystemdInner>, message: &Message) {
        let header = message.header();
        let Some(path) = header.path().filter(|_| self.is_of_systemd(message)) else { return };
        let Ok((_, changed, _)) =
            message.body().deserialize::<(String, HashMap<String, OwnedVariant>, Vec<String>)>()
        else {
            return;
        };
        tell(shared, &self.bus, shared.units.note(path.as_str(), &changed));
    }

    fn removed(&self, shared: &Arc<SystemdInner>, message: &Message) {
        if !self.is_of_systemd(message) {
            return;
        }
        let Ok((unit, object)) = message.body().deserialize::<(String, zbus::OwnedObjectPath)>() else {
            return;
        };
        if shared.units.has(&unit) {
            let (shared, bus) = (Arc::clone(shared), self.bus.clone());
            let looking = look_again(Arc::clone(&shared), bus, unit, object.to_string());
            shared.stop.spawn("unit", looking);
        }
    }

    fn is_of_systemd(&self, message: &Message) -> bool {
        message.header().sender().is_some_and(|sender| sender.as_str() == self.systemd)
    }
}

/// Looks whether a removed unit is still there: a systemd that reloads forgets all units and reads them anew, and
/// reports that as if they had gone.
async fn look_again(shared: Arc<SystemdInner>, bus: Connection, unit: String, object: String) {
    let look = async {
        let units = ManagerProxy::new(&bus).await?.list_units_by_patterns(&[], &[&unit]).await?;
        if units.is_empty() {
            return Ok(shared.units.gone(&object));
        }
        let changed = all_properties(&bus, &object).await?;
        Ok::<_, zbus::Error>(shared.units.note(&object, &changed))
    };
    match look.await {
        Ok(ended) => tell(&shared, &bus, ended),
        // The next connection looks at all units.
        Err(error) => tracing::debug!(unit, %error, "cannot look at a unit"),
    }
}

async fn all_properties(bus: &Connection, object: &str) -> zbus::Result<HashMap<String, OwnedVariant>> {
    let mut all = properties(bus, object, SERVICE).await?;
    all.extend(properties(bus, object, UNIT).await?);
    Ok(all)
}

/// Reports an end in a task of its own, because reading the last lines takes a moment, and other workers' ends must not
/// wait for that.
fn tell(shared: &Arc<SystemdInner>, bus: &Connection, ended: Option<UnitEnd>) {
    if let Some(ended) = ended {
        let (owner, bus) = (Arc::clone(shared), bus.clone());
        shared.stop.spawn("worker end", async move { owner.tell_end(&bus, ended).await });
    }
}

/// Reads all properties of an object's interface.
pub(in crate::backend::systemd) async fn properties(
    bus: &Connection,
    object: &str,
    interface: &str,
) -> zbus::Result<HashMap<String, OwnedVariant>> {
    let reply =
        bus.call_method(Some(SYSTEMD), object, Some("org.freedesktop.DBus.Properties"), "GetAll", &interface);
    reply.await?.body().deserialize()
}

async fn next(stream: &mut MessageStream) -> Option<Message> {
    std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await?.ok()
}

/// The signals that may wait: a machine with many units sends many at once.
const QUEUE: usize = 4096;
