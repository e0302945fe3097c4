//! Values from one place, and the order in which places are asked. Never here: reading a place.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::error::ConfigError;
use super::origin::{Effective, Origin, Sourced};
use super::settings::form::Preset;
use super::settings::table::Setting;
use super::settings::table::{Id, TABLE};
use super::settings::value::{Held, Value};

/// The values that one place gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Layer(BTreeMap<Id, Sourced<Value>>);

impl Layer {
    /// Takes a value in; one with parts is taken apart, so that each part is inherited on its own.
    pub(crate) fn put(&mut self, id: Id, value: Value, origin: Origin) {
        match value {
            Value::Recycle(words) => {
                self.put_part(Id::RecycleRequests, words.requests.map(Value::Limit), &origin);
                self.put_part(Id::RecycleAge, words.age.map(Value::Age), &origin);
                self.put_part(Id::RecycleReloads, words.reloads.map(Value::Limit), &origin);
            }
            Value::Memory(words) => {
                self.put_part(Id::MemorySoft, words.soft.map(Value::SizeLimit), &origin);
                self.put_part(Id::MemoryHard, words.hard.map(Value::SizeLimit), &origin);
            }
            value => self.put_part(id, Some(value), &origin),
        }
    }

    /// Adds to a list that is there, else as [`Layer::put`].
    pub(crate) fn append(&mut self, id: Id, value: Value, origin: Origin) {
        match self.0.get_mut(&id) {
            Some(there) => {
                there.value.append(value);
            }
            None => self.put(id, value, origin),
        }
    }

    /// The value and its place, if this layer has it.
    pub(crate) fn get(&self, id: Id) -> Option<&Sourced<Value>> {
        self.0.get(&id)
    }

    /// The first setting that is there, in the table's order, and does not pass.
    pub(crate) fn first_not(&self, allowed: impl Fn(Id) -> bool) -> Option<&Sourced<Value>> {
        self.0.iter().find(|(id, _)| !allowed(**id)).map(|(_, there)| there)
    }

    /// Only the settings that pass.
    pub(crate) fn only(&self, kept: impl Fn(&Setting) -> bool) -> Self {
        let kept = self.0.iter().filter(|(id, _)| kept(Setting::of(**id)));
        Self(kept.map(|(id, there)| (*id, there.clone())).collect())
    }

    fn put_part(&mut self, id: Id, value: Option<Value>, origin: &Origin) {
        if let Some(value) = value {
            self.0.insert(id, Sourced { value, origin: origin.clone() });
        }
    }
}

/// Layers in the order they are asked, the built-in defaults last.
pub(crate) struct Stack<'a>(Vec<&'a Layer>);

impl<'a> Stack<'a> {
    /// Asks the first layer first.
    pub(crate) fn new(layers: impl IntoIterator<Item = &'a Layer>) -> Self {
        Self(layers.into_iter().chain([&*DEFAULTS]).collect())
    }

    /// The first layer's value and its rank, counted from 0.
    pub(crate) fn ranked(&self, id: Id) -> Option<(usize, &'a Sourced<Value>)> {
        self.0.iter().enumerate().find_map(|(rank, layer)| Some((rank, layer.get(id)?)))
    }

    /// The value, and where it came from; `None`: nobody says and there is no default.
    pub(crate) fn find<T: Held>(&self, id: Id) -> Option<Sourced<T>> {
        let (_, there) = self.ranked(id)?;
        let value = T::held(&there.value).expect("a setting's kind decides what its value holds");
        Some(Sourced { value, origin: there.origin.clone() })
    }

    /// The value of a setting that may be unset.
    pub(crate) fn get<T: Held>(&self, id: Id) -> Option<T> {
        self.find(id).map(|there| there.value)
    }

    /// The value of a setting that has a default.
    pub(crate) fn want<T: Held>(&self, id: Id) -> T {
        self.get(id).expect("the table gives this setting a default")
    }

    /// The value of a setting that has a default, if somebody says it.
    pub(crate) fn told<T: Held>(&self, id: Id) -> Option<T> {
        self.find(id).filter(|there| there.origin != Origin::Default).map(|there| there.value)
    }

    /// The maps of all layers as one; the same name in an earlier layer wins.
    pub(crate) fn variables(&self) -> BTreeMap<String, Sourced<String>> {
        let mut all = BTreeMap::new();
        for there in self.0.iter().rev().filter_map(|layer| layer.get(Id::Variables)) {
            let Value::Variables(pairs) = &there.value else { continue };
            for (name, value) in pairs {
                all.insert(name.clone(), Sourced { value: value.clone(), origin: there.origin.clone() });
            }
        }
        all
    }

    /// What is in force, for the settings that pass and are set.
    pub(crate) fn effective(&self, shown: impl Fn(&Setting) -> bool) -> Vec<Effective> {
        let rows = TABLE.iter().filter(|row| shown(row));
        rows.filter_map(|row| {
            let (_, there) = self.ranked(row.id)?;
            Some(Effective {
                key: row.key().into(),
                value: there.value.to_string(),
                origin: there.origin.clone(),
            })
        })
        .collect()
    }
}

/// Two settings of one layer that exclude each other; an earlier layer beats a later one.
///
/// # Errors
/// [`ConfigError::Conflict`] when one layer says both.
pub(crate) fn either(stack: &Stack<'_>, one: Id, other: Id, why: &str) -> Result<Option<Id>, ConfigError> {
    match (stack.ranked(one), stack.ranked(other)) {
        (Some((rank, there)), Some((other_rank, other_there))) if rank == other_rank => {
            let named =
                |id, there: &Sourced<Value>| super::error::named(Setting::of(id).key(), &there.origin);
            Err(ConfigError::Conflict {
                first: named(one, there),
                second: named(other, other_there),
                why: why.into(),
            })
        }
        (Some((rank, _)), Some((other_rank, _))) => Ok(Some(if rank < other_rank { one } else { other })),
        (Some(_), None) => Ok(Some(one)),
        (None, Some(_)) => Ok(Some(other)),
        (None, None) => Ok(None),
    }
}

static DEFAULTS: LazyLock<Layer> = LazyLock::new(|| {
    let mut layer = Layer::default();
    for row in TABLE {
        if let Preset::Is(text) = row.preset {
            let value = row.kind.parse(text).expect("the table's defaults are right values");
            layer.put(row.id, value, Origin::Default);
        }
    }
    layer
});
