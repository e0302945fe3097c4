//! Owns values for some paths of an app, in place of the value for all paths.
//!
//! Never here: what the values are.

use std::sync::Arc;

use crate::name::{AmbiguousPath, PathPrefix, RequestPath};

/// A `T` for each of some path prefixes; the longest prefix that fits counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ByPath<T>(Arc<[(PathPrefix, Arc<T>)]>);

impl<T> ByPath<T> {
    /// The values for these prefixes, each of which is there once.
    pub(crate) fn new(mut each: Vec<(PathPrefix, Arc<T>)>) -> Self {
        each.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.as_str().len()));
        Self(each.into())
    }

    /// The same prefixes with other values.
    pub(crate) fn map(&self, each: impl Fn(T) -> T) -> Self
    where
        T: Clone,
    {
        let mapped = |(prefix, held): &(PathPrefix, Arc<T>)| (prefix.clone(), Arc::new(each(T::clone(held))));
        Self(self.0.iter().map(mapped).collect())
    }

    /// The values, in no order that matters.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Arc<T>> {
        self.0.iter().map(|(_, held)| held)
    }

    /// The value for a path as it was sent; `None`: the path has no value of its own.
    ///
    /// # Errors
    /// When programs read the path differently, or when it depends on whether upper and lower case differ to the app.
    pub(crate) fn at(&self, path: &str) -> Result<Option<&Arc<T>>, AmbiguousPath> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let path = RequestPath::read(path)?;
        let mut found = None;
        for (prefix, held) in self.0.iter() {
            if path.is_below_in_any_case(prefix)? && found.is_none() {
                found = Some(held);
            }
        }
        Ok(found)
    }
}

impl<T> Default for ByPath<T> {
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_holds_and_another_case_is_refused() {
        let each =
            ["/a", "/a/b/c", "/a/b"].map(|prefix| (PathPrefix::parse(prefix).unwrap(), Arc::new(prefix)));
        let by_path = ByPath::new(each.into());
        for (path, held) in [
            ("/", Some(None)),
            ("/a", Some(Some("/a"))),
            ("/ab", Some(None)),
            ("/a/b", Some(Some("/a/b"))),
            ("/%61/b/c/d", Some(Some("/a/b/c"))),
            ("/A", None),
            ("/a/B", None),
            ("/a/b/C/x", None),
            ("/%41/x", None),
            ("/AB", Some(None)),
            ("/a/x/B", Some(Some("/a"))),
            ("//a", None),
            ("/x/../a", None),
        ] {
            assert_eq!(by_path.at(path).ok().map(|held| held.map(|held| **held)), held, "{path}");
        }
        assert_eq!(ByPath::<u8>::default().at("//x/../y"), Ok(None), "nothing depends on it");
    }
}
