//! The file as values that know their places.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Location, Spanned};

use crate::{
    fault::Place,
    path::{Path, Step},
};

/// A value and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// What YAML can say.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// A whole number above `i64::MAX`.
    Large(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// An item that was refused and taken out of its list.
    Hole,
}

/// A key, where it stands, and its value.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) node: Node,
}

impl Node {
    /// A text from somewhere else than the file.
    pub(crate) const fn text(place: Place, text: String) -> Self {
        Self { place, value: Value::Text(text) }
    }

    /// An empty file.
    pub(crate) const fn empty() -> Self {
        Self { place: Place::File { line: 1, column: 1 }, value: Value::Null }
    }

    /// Where the value of a path stands; the nearest value above it when it is not there. A map or
    /// list stands where its key does.
    pub(crate) fn place_of(&self, path: &Path) -> Place {
        let mut place = self.place;
        let mut node = self;
        for step in path.steps() {
            let Some((key_place, next)) = node.child(step) else { break };
            place = match next.value {
                Value::Map(_) | Value::List(_) | Value::Null => key_place.unwrap_or(next.place),
                _ => next.place,
            };
            node = next;
        }
        place
    }

    /// Where the key of a path stands.
    pub(crate) fn place_of_key(&self, path: &Path) -> Place {
        let Some((last, above)) = path.steps().split_last() else { return self.place };
        let parent = above.iter().try_fold(self, |node, step| node.child(step).map(|(_, n)| n));
        let found = parent.and_then(|node| node.child(last));
        found.map_or_else(|| self.place_of(path), |(key, node)| key.unwrap_or(node.place))
    }

    /// The value of a path.
    pub(crate) fn find(&self, path: &Path) -> Option<&Self> {
        path.steps().iter().try_fold(self, |node, step| node.child(step).map(|(_, next)| next))
    }

    /// Takes a value out; whether it was there.
    pub(crate) fn remove(&mut self, path: &Path) -> bool {
        let Some((last, above)) = path.steps().split_last() else { return false };
        let Some(parent) = above.iter().try_fold(self, |node, step| node.child_mut(step)) else {
            return false;
        };
        match (&mut parent.value, last) {
            (Value::Map(entries), Step::Key(key)) => {
                let before = entries.len();
                entries.retain(|entry| entry.key != *key);
                entries.len() < before
            }
            // Positions of later items must stay true, so an item leaves a hole that is skipped.
            (Value::List(items), Step::Index(index)) => match items.get_mut(*index) {
                Some(item) if item.value != Value::Hole => {
                    item.value = Value::Hole;
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Puts a value at a path of keys, making the maps above it.
    pub(crate) fn put(&mut self, path: &[&str], node: Self) {
        let Some((first, rest)) = path.split_first() else {
            *self = node;
            return;
        };
        if !matches!(self.value, Value::Map(_)) {
            self.value = Value::Map(Vec::new());
        }
        let Value::Map(entries) = &mut self.value else { return };
        if let Some(entry) = entries.iter_mut().find(|entry| entry.key == *first) {
            entry.node.put(rest, node);
            return;
        }
        let place = node.place;
        let mut below = Self { place, value: Value::Null };
        below.put(rest, node);
        entries.push(Entry { key: (*first).to_owned(), place, node: below });
    }

    fn child(&self, step: &Step) -> Option<(Option<Place>, &Self)> {
        match (&self.value, step) {
            (Value::Map(entries), Step::Key(key)) => {
                let entry = entries.iter().find(|entry| entry.key == *key)?;
                Some((Some(entry.place), &entry.node))
            }
            (Value::List(items), Step::Index(index)) => Some((None, items.get(*index)?)),
            _ => None,
        }
    }

    fn child_mut(&mut self, step: &Step) -> Option<&mut Self> {
        match (&mut self.value, step) {
            (Value::Map(entries), Step::Key(key)) => {
                entries.iter_mut().find(|entry| entry.key == *key).map(|entry| &mut entry.node)
            }
            (Value::List(items), Step::Index(index)) => items.get_mut(*index),
            _ => None,
        }
    }
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        Self::File { line: location.line().max(1), column: location.column().max(1) }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { place: spanned.referenced.into(), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Large(value), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some((key, node)) = entries.next_entry::<Spanned<String>, Node>()? {
            map.push(Entry { key: key.value, place: key.referenced.into(), node });
        }
        Ok(Value::Map(map))
    }
}
