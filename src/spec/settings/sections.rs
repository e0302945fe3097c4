//! How rows of the table become typed structs, one for each section: its fields, its defaults, and reading every value
//! by its row.
//!
//! Never here: the rows (`table`).

use super::setting_value::{FromValue, SettingValue};

/// A source of the values of settings.
pub(crate) trait Values<K> {
    /// The value in force; `None`: no layer has one, and there is no default.
    fn value(&self, key: K) -> Option<&SettingValue>;

    /// The value in force, as the type of its field.
    fn typed<T: FromValue>(&self, key: K) -> T {
        T::from_value(self.value(key))
            .expect("what a row takes and its default make a value of its field's type")
    }
}

/// Makes the sections, each a struct with a field for every row that has one. `with`: sections that are fields of
/// another. The value of a row without a field is read by the code that works something out of it.
macro_rules! settings {
    (; $(
        $(#[$attr:meta])*
        $section:ident $(with $($part:ident: $part_type:ident),+)? {
            $($id:ident $(($(#[$field_attr:meta])* $field:ident: $type:ty))?:
                $group:ident, $kind:ident $(($($bound:expr),*))?, $preset:expr, $metavar:literal, [$($form:expr),*],
                $help:literal $(, $more:literal)?;)*
        }
    )*) => {
        /// A setting.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Id { $($($id,)*)* }

        /// Every setting, in the order of [`Id`].
        pub(crate) static TABLE: &[Setting] = &[$($(Setting {
            id: Id::$id,
            group: SettingGroup::$group,
            kind: SettingKind::$kind $(($($bound),*))?,
            preset: $preset,
            metavar: $metavar,
            forms: { const FORMS: &[Form] = &[$($form),*]; FORMS },
            help: $help,
            more: concat!($($more)?),
        },)*)*];

        $(
            $(#[$attr])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            #[allow(unreachable_pub, reason = "the tests of backends see one of them, `Memory`")]
            pub struct $section {
                $($(
                    #[doc = concat!("The keys of [`", stringify!($part_type), "`].")]
                    pub(crate) $part: $part_type,
                )+)?
                $($(
                    #[doc = concat!("How help puts it: ", $help, ".")]
                    $(#[$field_attr])*
                    pub(crate) $field: $type,
                )?)*
            }

            impl $section {
                /// Reads each value by its row.
                pub(crate) fn read(values: &impl Values<Id>) -> Self {
                    Self {
                        $($($part: $part_type::read(values),)+)?
                        $($($field: values.typed(Id::$id),)?)*
                    }
                }
            }

            impl Default for $section {
                fn default() -> Self {
                    Self::read(&*DEFAULTS)
                }
            }
        )*

        /// Reads all sections, so that a row is found whose values do not fit its field.
        #[cfg(test)]
        fn read_all(values: &impl Values<Id>) {
            $($section::read(values);)*
        }
    };
}
pub(crate) use settings;
