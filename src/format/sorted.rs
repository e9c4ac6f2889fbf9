//! A map as a sorted list.

use alloc::vec::Vec;
use core::borrow::Borrow;

/// A map as a sorted list, for few keys or keys that come in order. Its code is a tenth of a `BTreeMap`'s, which counts in
/// the C library and in the module for WebAssembly. To add a key that belongs before `n` others moves these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortedMap<K, V>(Vec<(K, V)>);

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    /// The position of a key, or where it belongs.
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        // Keys that come in order are found without a search.
        if self.0.last().is_none_or(|last| last.0.borrow() < key) {
            return Err(self.0.len());
        }
        self.0.binary_search_by(|entry| entry.0.borrow().cmp(key))
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.find(key).ok().map(|at| &self.0[at].1)
    }

    /// Adds a key, unless it is there. Returns true if it was not.
    pub fn insert(&mut self, key: K, value: V) -> bool {
        match self.find(&key) {
            Ok(_) => false,
            Err(at) => {
                self.0.insert(at, (key, value));
                true
            }
        }
    }

    /// The value of a key, which is added if it is not there.
    pub fn get_or_insert(&mut self, key: K, value: V) -> &mut V {
        let at = match self.find(&key) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (key, value));
                at
            }
        };
        &mut self.0[at].1
    }

    /// The keys with their values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The keys from this one on, with their values, in order.
    pub fn iter_from<'a>(&'a self, first: &K) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, K, V> {
        let (Ok(at) | Err(at)) = self.find(first);
        self.0[at..].iter().map(|(key, value)| (key, value))
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|entry| &entry.1)
    }

    /// The entries, in order, whose values may be changed.
    pub(crate) fn entries_mut(&mut self) -> &mut [(K, V)] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_a_tree_is(keys in prop::collection::vec(0..20_u8, 0..40), wanted in 0..20_u8) {
            let (mut map, mut tree) = (SortedMap::default(), BTreeMap::new());
            for (at, key) in keys.into_iter().enumerate() {
                if at % 2 == 0 {
                    prop_assert_eq!(map.insert(key, at), !tree.contains_key(&key));
                    tree.entry(key).or_insert(at);
                } else {
                    *map.get_or_insert(key, at) += 1;
                    *tree.entry(key).or_insert(at) += 1;
                }
            }
            prop_assert_eq!(map.get(&wanted), tree.get(&wanted));
            prop_assert!(map.iter().eq(tree.iter()) && map.values().eq(tree.values()));
            prop_assert!(map.iter_from(&wanted).eq(tree.range(wanted..)));
        }
    }
}
