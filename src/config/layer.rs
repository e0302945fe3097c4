//! Values from one place, and the order in which places are asked. Never here: reading a place.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::error::ConfigError;
use super::value_origin::{Effective, Sourced, ValueOrigin};
use crate::name::PathPrefix;
use crate::spec::settings::sections::Values;
use crate::spec::settings::setting_value::{FromValue, SettingValue};
use crate::spec::settings::table::{DEFAULTS, Id, Setting, TABLE};

/// The values that one place has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Layer {
    values: BTreeMap<Id, Sourced<SettingValue>>,
    /// The values for some paths of an app.
    paths: BTreeMap<PathPrefix, Layer>,
}

impl Layer {
    /// Adds a value. A value with parts is taken apart, so that each part is inherited on its own.
    pub(crate) fn put(&mut self, id: Id, value: SettingValue, origin: ValueOrigin) {
        for (id, value) in Setting::of(id).parts_of(value) {
            self.values.insert(id, Sourced { value, origin: origin.clone() });
        }
    }

    /// Adds a value to a list that is there, else does what [`Layer::put`] does.
    pub(crate) fn append(&mut self, id: Id, value: SettingValue, origin: ValueOrigin) {
        match self.values.get_mut(&id) {
            Some(there) => there.value.append(value),
            None => self.put(id, value, origin),
        }
    }

    /// The value and its place, if this layer has it.
    pub(crate) fn get(&self, id: Id) -> Option<&Sourced<SettingValue>> {
        self.values.get(&id)
    }

    /// Adds the values for some paths of the app.
    pub(crate) fn put_path(&mut self, prefix: PathPrefix, layer: Self) {
        self.paths.insert(prefix, layer);
    }

    /// The values for some paths of the app.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (&PathPrefix, &Self)> {
        self.paths.iter()
    }

    /// The values for one path of the app, as layers in the order in which they are asked: the longest prefix first.
    pub(crate) fn at(&self, path: &PathPrefix) -> impl Iterator<Item = &Self> {
        let mut tables: Vec<_> = self.paths().filter(|(prefix, _)| prefix.covers(path.as_str())).collect();
        tables.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.as_str().len()));
        tables.into_iter().map(|(_, table)| table).chain([self])
    }

    /// The first setting of the layer, in the table's order, that does not pass.
    pub(crate) fn first_not(&self, allowed: impl Fn(Id) -> bool) -> Option<&Sourced<SettingValue>> {
        self.values.iter().find(|(id, _)| !allowed(**id)).map(|(_, there)| there)
    }

    /// The layer with only the settings that pass.
    pub(crate) fn only(&self, kept: impl Fn(&Setting) -> bool) -> Self {
        let kept = self.values.iter().filter(|(id, _)| kept(Setting::of(**id)));
        Self { values: kept.map(|(id, there)| (*id, there.clone())).collect(), paths: self.paths.clone() }
    }
}

/// Layers in the order in which they are asked, the built-in defaults last.
pub(crate) struct Stack<'a>(Vec<&'a Layer>);

impl<'a> Stack<'a> {
    /// A stack that asks the first layer first.
    pub(crate) fn new(layers: impl IntoIterator<Item = &'a Layer>) -> Self {
        Self(layers.into_iter().chain([&*BUILT_IN]).collect())
    }

    /// The first layer's value and its rank, counted from 0.
    pub(crate) fn ranked(&self, id: Id) -> Option<(usize, &'a Sourced<SettingValue>)> {
        self.0.iter().enumerate().find_map(|(rank, layer)| Some((rank, layer.get(id)?)))
    }

    /// The value, and where it came from; `None`: no layer has it and there is no default.
    pub(crate) fn find<T: FromValue>(&self, id: Id) -> Option<Sourced<T>> {
        let (_, there) = self.ranked(id)?;
        Some(Sourced { value: self.typed(id), origin: there.origin.clone() })
    }

    /// The value, if a layer other than the defaults has it.
    pub(crate) fn told<T: FromValue>(&self, id: Id) -> Option<T> {
        self.find(id).filter(|there| there.origin != ValueOrigin::Default).map(|there| there.value)
    }

    /// The tables of all layers as one; for one name the earlier layer wins.
    pub(crate) fn table(&self, id: Id) -> BTreeMap<String, Sourced<String>> {
        let mut all = BTreeMap::new();
        for there in self.0.iter().rev().filter_map(|layer| layer.get(id)) {
            let SettingValue::Variables(pairs) = &there.value else { continue };
            for (name, value) in pairs {
                all.insert(name.clone(), Sourced { value: value.clone(), origin: there.origin.clone() });
            }
        }
        all
    }

    /// The settings in force, for those that pass and are set.
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

impl Values<Id> for Stack<'_> {
    fn value(&self, id: Id) -> Option<&SettingValue> {
        self.ranked(id).map(|(_, there)| &there.value)
    }
}

/// The one that is in force of two settings that exclude each other; an earlier layer beats a later one.
///
/// # Errors
/// [`ConfigError::Conflict`] when one layer has both.
pub(crate) fn either(stack: &Stack<'_>, one: Id, other: Id, why: &str) -> Result<Option<Id>, ConfigError> {
    match (stack.ranked(one), stack.ranked(other)) {
        (Some((rank, there)), Some((other_rank, other_there))) if rank == other_rank => {
            let named =
                |id, there: &Sourced<SettingValue>| super::error::named(Setting::of(id).key(), &there.origin);
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

static BUILT_IN: LazyLock<Layer> = LazyLock::new(|| {
    let sourced = |value: &SettingValue| Sourced { value: value.clone(), origin: ValueOrigin::Default };
    let values = DEFAULTS.iter().map(|(id, value)| (*id, sourced(value))).collect();
    Layer { values, paths: BTreeMap::new() }
});
