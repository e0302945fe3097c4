//! Owns putting together what several places say of header fields.
//!
//! Never here: making the changes.

use super::layer::Layer;
use crate::spec::settings::table::Id;

/// All changes of header fields that the layers say, the first layer first: what one says of a field stands in place of
/// whatever the later ones say of it.
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

/// The settings that speak of the fields of one head.
const HEADS: [[Id; 3]; 2] = [
    [Id::SetFields, Id::AddFields, Id::RemoveFields],
    [Id::SetRequestFields, Id::AddRequestFields, Id::RemoveRequestFields],
];
