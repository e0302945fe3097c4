//! Owns putting together the changes of header fields that several places set.
//!
//! Never here: making the changes.

use super::layer::Layer;
use crate::spec::settings::table::Id;

/// All changes of header fields that the layers set, the first layer first: a layer's changes of a field replace those
/// of later layers of the same field.
pub(crate) fn field_sums<'a>(layers: impl Iterator<Item = &'a Layer> + Clone) -> Layer {
    let mut sums = Layer::default();
    for head in HEADS {
        let mut known = Vec::new();
        for layer in layers.clone() {
            let said: Vec<_> = head.iter().filter_map(|id| Some((*id, layer.get(*id)?))).collect();
            for (id, there) in &said {
                sums.append(*id, there.value.clone().without(&known), there.origin.clone());
            }
            known.extend(said.iter().flat_map(|(_, there)| there.value.field_names()));
        }
    }
    sums
}

/// The settings for the fields of each kind of head.
const HEADS: [[Id; 3]; 2] = [
    [Id::SetFields, Id::AddFields, Id::RemoveFields],
    [Id::SetRequestFields, Id::AddRequestFields, Id::RemoveRequestFields],
];
