//! A bounded memory: what was put in last is kept.

use std::collections::BTreeMap;

/// Values by key, at most so many; the oldest goes first.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    values: BTreeMap<K, (u64, V)>,
    ages: BTreeMap<u64, K>,
    next: u64,
    most: usize,
}

impl<K: Ord + Clone, V> Recent<K, V> {
    pub(crate) const fn new(most: usize) -> Self {
        Self { values: BTreeMap::new(), ages: BTreeMap::new(), next: 0, most }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key).map(|(_, value)| value)
    }

    /// Puts a value in, in place of an older one of the same key.
    pub(crate) fn put(&mut self, key: K, value: V) {
        self.remove(&key);
        if self.values.len() >= self.most
            && let Some((_, oldest)) = self.ages.pop_first()
        {
            self.values.remove(&oldest);
        }
        self.ages.insert(self.next, key.clone());
        self.values.insert(key, (self.next, value));
        self.next += 1;
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (age, value) = self.values.remove(key)?;
        self.ages.remove(&age);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let mut recent = Recent::new(2);
        recent.put("a", 1);
        recent.put("b", 2);
        recent.put("a", 3);
        recent.put("c", 4);
        assert_eq!(
            (recent.get(&"a"), recent.get(&"b"), recent.get(&"c")),
            (Some(&3), None, Some(&4))
        );
        assert_eq!(recent.remove(&"a"), Some(3));
        assert_eq!(recent.remove(&"a"), None);
        recent.put("d", 5);
        assert!(recent.get(&"c").is_some());
        assert_eq!(recent.values.len(), recent.ages.len());
    }
}
