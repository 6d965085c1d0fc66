//! `WATCH`: which connections watch which keys, and whose keys have changed in this region.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::{event::ConnectionId, limits::WATCHED_KEYS_MAX};

/// Watched keys of every connection. Local to the region (rule 13).
#[derive(Debug, Default)]
pub(crate) struct Watches {
    watchers: BTreeMap<Bytes, BTreeSet<ConnectionId>>,
    connections: BTreeMap<ConnectionId, Watched>,
    count: usize,
}

#[derive(Debug, Default)]
struct Watched {
    keys: Vec<Bytes>,
    changed: bool,
}

impl Watches {
    /// Past the bound the connection counts as changed, so that its EXEC fails safely.
    pub(crate) fn watch(&mut self, connection: ConnectionId, keys: Vec<Bytes>) {
        let watched = self.connections.entry(connection).or_default();
        for key in keys {
            if self.count >= WATCHED_KEYS_MAX {
                watched.changed = true;
                return;
            }
            if self.watchers.entry(key.clone()).or_default().insert(connection) {
                self.count += 1;
                watched.keys.push(key);
            }
        }
    }

    pub(crate) fn unwatch(&mut self, connection: ConnectionId) {
        let Some(watched) = self.connections.remove(&connection) else { return };
        for key in watched.keys {
            let Some(watchers) = self.watchers.get_mut(&key) else { continue };
            if watchers.remove(&connection) {
                self.count -= 1;
            }
            if watchers.is_empty() {
                self.watchers.remove(&key);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    pub(crate) fn changed(&mut self, key: &Bytes) {
        let Some(watchers) = self.watchers.get(key) else { return };
        for connection in watchers {
            if let Some(watched) = self.connections.get_mut(connection) {
                watched.changed = true;
            }
        }
    }

    pub(crate) fn changed_prefix(&mut self, prefix: &[u8]) {
        for watched in self.connections.values_mut() {
            watched.changed |= watched.keys.iter().any(|key| key.starts_with(prefix));
        }
    }

    pub(crate) fn has_changed(&self, connection: ConnectionId) -> bool {
        self.connections.get(&connection).is_some_and(|watched| watched.changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_only_the_watchers_of_a_changed_key() {
        let mut watches = Watches::default();
        let (a, b) = (ConnectionId(1), ConnectionId(2));
        watches.watch(a, vec![Bytes::from_static(b"k"), Bytes::from_static(b"k")]);
        watches.watch(b, vec![Bytes::from_static(b"other")]);
        watches.changed(&Bytes::from_static(b"k"));
        assert!(watches.has_changed(a));
        assert!(!watches.has_changed(b));
        watches.changed_prefix(b"oth");
        assert!(watches.has_changed(b));
        watches.unwatch(a);
        watches.unwatch(b);
        assert!(!watches.has_changed(a));
        assert!(watches.is_empty());
        assert_eq!(watches.count, 0);
    }
}
