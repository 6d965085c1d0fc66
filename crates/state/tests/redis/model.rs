//! What Redis does, in plain maps.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rhumb_state::{
    KeyType, Op, OpError, Query, Reply,
    number::{parse_float, parse_int},
    op::{Deadline, ExpireWhen, GetExpiry, Presence, Prolong, ScoreWhen, SetExpiry, ZAddWhen},
    query::{Cursor, TtlForm, ZBounds, ZRange},
};
use rhumb_types::record::Kind;

use super::harness::{Outcome, bytes};

/// What a key holds.
#[derive(Clone, PartialEq, Debug)]
enum Held {
    Text(Bytes),
    Hash(BTreeMap<Bytes, Bytes>),
    Set(BTreeSet<Bytes>),
    Scored(BTreeMap<Bytes, f64>),
}

/// Redis, as its documentation has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    now: u64,
    keys: BTreeMap<Bytes, (Held, Option<u64>)>,
}

impl Model {
    pub(crate) fn at(now: u64) -> Self {
        Self { now, ..Self::default() }
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, ms: u64) {
        self.now += ms;
        self.tidy();
    }

    fn tidy(&mut self) {
        let now = self.now;
        self.keys.retain(|_, (held, until)| {
            until.is_none_or(|until| until > now)
                && match held {
                    Held::Text(_) => true,
                    Held::Hash(fields) => !fields.is_empty(),
                    Held::Set(members) => !members.is_empty(),
                    Held::Scored(members) => !members.is_empty(),
                }
        });
    }

    fn until(&self, deadline: Deadline) -> u64 {
        match deadline {
            Deadline::At(at) => at.0,
            Deadline::In(ms) => self.now + ms,
        }
    }

    fn text(&self, key: &Bytes) -> Result<Option<Bytes>, OpError> {
        match self.keys.get(key) {
            None => Ok(None),
            Some((Held::Text(text), _)) => Ok(Some(text.clone())),
            Some(_) => Err(OpError::WrongType),
        }
    }

    fn expiry(&self, key: &Bytes) -> Option<u64> {
        self.keys.get(key).and_then(|(_, until)| *until)
    }

    fn hash(&mut self, key: &Bytes) -> Result<&mut BTreeMap<Bytes, Bytes>, OpError> {
        let empty = || (Held::Hash(BTreeMap::new()), None);
        match &mut self.keys.entry(key.clone()).or_insert_with(empty).0 {
            Held::Hash(fields) => Ok(fields),
            _ => Err(OpError::WrongType),
        }
    }

    fn set(&mut self, key: &Bytes) -> Result<&mut BTreeSet<Bytes>, OpError> {
        let empty = || (Held::Set(BTreeSet::new()), None);
        match &mut self.keys.entry(key.clone()).or_insert_with(empty).0 {
            Held::Set(members) => Ok(members),
            _ => Err(OpError::WrongType),
        }
    }

    fn scored(&mut self, key: &Bytes) -> Result<&mut BTreeMap<Bytes, f64>, OpError> {
        let empty = || (Held::Scored(BTreeMap::new()), None);
        match &mut self.keys.entry(key.clone()).or_insert_with(empty).0 {
            Held::Scored(members) => Ok(members),
            _ => Err(OpError::WrongType),
        }
    }

    pub(crate) fn run(&mut self, op: &Op) -> Outcome {
        self.tidy();
        let outcome = match op {
            Op::Set { .. }
            | Op::MSet { .. }
            | Op::MSetNx { .. }
            | Op::GetDel { .. }
            | Op::GetEx { .. }
            | Op::Append { .. }
            | Op::SetRange { .. }
            | Op::IncrBy { .. }
            | Op::IncrByFloat { .. } => self.of_text(op),
            Op::Del { .. }
            | Op::Expire { .. }
            | Op::Persist { .. }
            | Op::FlushDb
            | Op::CompareAndDelete { .. }
            | Op::CompareAndExpire { .. } => self.of_key(op),
            Op::HSet { .. }
            | Op::HSetNx { .. }
            | Op::HDel { .. }
            | Op::HIncrBy { .. }
            | Op::HIncrByFloat { .. } => self.of_hash(op),
            Op::SAdd { .. } | Op::SRem { .. } | Op::SMove { .. } | Op::SPop { .. } => {
                self.of_set(op)
            }
            Op::ZAdd { .. }
            | Op::ZIncrBy { .. }
            | Op::ZRem { .. }
            | Op::ZRemScored { .. }
            | Op::ZPop { .. } => self.of_scored(op),
            Op::Look { .. } | Op::CompareSet { .. } | Op::Decide { .. } | Op::Forget { .. } => {
                panic!("the model is asked by its own checks")
            }
        };
        self.tidy();
        outcome
    }

    fn of_text(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Set { key, value, when, get, expiry } => {
                let old = if *get { self.text(key)? } else { None };
                let allowed = when.allows(self.keys.contains_key(key));
                let until = match expiry {
                    SetExpiry::Clear => None,
                    SetExpiry::Keep => self.expiry(key),
                    SetExpiry::Until(deadline) => Some(self.until(*deadline)),
                };
                if allowed {
                    self.keys.insert(key.clone(), (Held::Text(value.clone()), until));
                }
                Ok(match (get, allowed) {
                    (true, _) => old.map_or(Reply::Nil, Reply::Bytes),
                    (false, true) => Reply::Ok,
                    (false, false) => Reply::Nil,
                })
            }
            Op::MSet { pairs } => {
                for (key, value) in pairs {
                    self.keys.insert(key.clone(), (Held::Text(value.clone()), None));
                }
                Ok(Reply::Ok)
            }
            Op::MSetNx { pairs } => {
                if pairs.iter().any(|(key, _)| self.keys.contains_key(key)) {
                    return Ok(Reply::Int(0));
                }
                for (key, value) in pairs {
                    self.keys.insert(key.clone(), (Held::Text(value.clone()), None));
                }
                Ok(Reply::Int(1))
            }
            _ => self.of_old_text(op),
        }
    }

    fn of_old_text(&mut self, op: &Op) -> Outcome {
        match op {
            Op::GetDel { key } => {
                let old = self.text(key)?;
                self.keys.remove(key);
                Ok(old.map_or(Reply::Nil, Reply::Bytes))
            }
            Op::GetEx { key, expiry } => {
                let Some(old) = self.text(key)? else { return Ok(Reply::Nil) };
                let until = match expiry {
                    GetExpiry::Persist => None,
                    GetExpiry::Until(deadline) => Some(self.until(*deadline)),
                };
                self.keys.insert(key.clone(), (Held::Text(old.clone()), until));
                Ok(Reply::Bytes(old))
            }
            Op::Append { key, value } => {
                let mut text = self.text(key)?.unwrap_or_default().to_vec();
                text.extend_from_slice(value);
                self.put_text(key, text)
            }
            Op::SetRange { key, offset, value } => {
                let mut text = self.text(key)?.unwrap_or_default().to_vec();
                if value.is_empty() {
                    return Ok(Reply::Int(text.len() as i64));
                }
                let start = usize::try_from(*offset).unwrap();
                text.resize(text.len().max(start + value.len()), 0);
                text[start..start + value.len()].copy_from_slice(value);
                self.put_text(key, text)
            }
            Op::IncrBy { key, by } => {
                let old = self.text(key)?.unwrap_or_else(|| bytes("0"));
                let old = parse_int(&old).ok_or(OpError::NotAnInteger)?;
                let new = old.checked_add(*by).ok_or(OpError::Overflow)?;
                self.put_text(key, new.to_string().into_bytes())?;
                Ok(Reply::Int(new))
            }
            Op::IncrByFloat { key, by } => {
                let old = self.text(key)?.unwrap_or_else(|| bytes("0"));
                let new = parse_float(&old).ok_or(OpError::NotAFloat)? + by;
                self.put_text(key, new.to_string().into_bytes())?;
                Ok(Reply::Bytes(bytes(&new.to_string())))
            }
            _ => unreachable!(),
        }
    }

    fn put_text(&mut self, key: &Bytes, text: Vec<u8>) -> Outcome {
        let (len, until) = (text.len(), self.expiry(key));
        self.keys.insert(key.clone(), (Held::Text(text.into()), until));
        Ok(Reply::Int(len as i64))
    }

    fn of_key(&mut self, op: &Op) -> Outcome {
        let flag = |yes| Ok(Reply::Int(i64::from(yes)));
        match op {
            Op::Del { keys } => {
                let gone = keys.iter().filter(|key| self.keys.remove(*key).is_some()).count();
                Ok(Reply::Int(gone as i64))
            }
            Op::Expire { key, deadline, when } => {
                let at = self.until(*deadline);
                let Some((_, until)) = self.keys.get_mut(key) else { return flag(false) };
                // Endless is longer than any time.
                let (old, new) = (until.unwrap_or(u64::MAX), at);
                let allowed = match when {
                    ExpireWhen::Always => true,
                    ExpireWhen::Persistent => until.is_none(),
                    ExpireWhen::Volatile => until.is_some(),
                    ExpireWhen::Longer => new > old,
                    ExpireWhen::Shorter => new < old,
                    ExpireWhen::VolatileShorter => until.is_some() && new < old,
                };
                if allowed {
                    *until = Some(at);
                }
                flag(allowed)
            }
            Op::Persist { key } => {
                flag(self.keys.get_mut(key).is_some_and(|(_, until)| until.take().is_some()))
            }
            Op::FlushDb => {
                self.keys.clear();
                Ok(Reply::Ok)
            }
            Op::CompareAndDelete { key, expected } => {
                let held = self.text(key)?.as_ref() == Some(expected);
                if held {
                    self.keys.remove(key);
                }
                flag(held)
            }
            Op::CompareAndExpire { key, expected, ttl } => {
                if self.text(key)?.as_ref() != Some(expected) {
                    return flag(false);
                }
                let now = self.now;
                let Some((_, until)) = self.keys.get_mut(key) else { return flag(false) };
                *until = match (ttl, *until) {
                    (Prolong::VolatileTo(_) | Prolong::VolatileBy(_), None) => return flag(false),
                    (Prolong::To(ms) | Prolong::VolatileTo(ms), _) => Some(now + ms),
                    (Prolong::VolatileBy(ms), Some(at)) => Some(at + ms),
                };
                flag(true)
            }
            _ => unreachable!(),
        }
    }

    fn of_hash(&mut self, op: &Op) -> Outcome {
        match op {
            Op::HSet { key, pairs } => {
                let fields = self.hash(key)?;
                let new =
                    pairs.iter().filter(|(f, v)| fields.insert(f.clone(), v.clone()).is_none());
                Ok(Reply::Int(new.count() as i64))
            }
            Op::HSetNx { key, field, value } => {
                let fields = self.hash(key)?;
                if fields.contains_key(field) {
                    return Ok(Reply::Int(0));
                }
                fields.insert(field.clone(), value.clone());
                Ok(Reply::Int(1))
            }
            Op::HDel { key, fields: gone } => {
                let fields = self.hash(key)?;
                let gone = gone.iter().filter(|field| fields.remove(*field).is_some()).count();
                Ok(Reply::Int(gone as i64))
            }
            Op::HIncrBy { key, field, by } => {
                let fields = self.hash(key)?;
                let old = fields.get(field).cloned().unwrap_or_else(|| bytes("0"));
                let old = parse_int(&old).ok_or(OpError::HashNotAnInteger)?;
                let new = old.checked_add(*by).ok_or(OpError::Overflow)?;
                fields.insert(field.clone(), bytes(&new.to_string()));
                Ok(Reply::Int(new))
            }
            Op::HIncrByFloat { key, field, by } => {
                let fields = self.hash(key)?;
                let old = fields.get(field).cloned().unwrap_or_else(|| bytes("0"));
                let new = parse_float(&old).ok_or(OpError::HashNotAFloat)? + by;
                fields.insert(field.clone(), bytes(&new.to_string()));
                Ok(Reply::Bytes(bytes(&new.to_string())))
            }
            _ => unreachable!(),
        }
    }

    fn of_set(&mut self, op: &Op) -> Outcome {
        match op {
            Op::SAdd { key, members } => {
                let set = self.set(key)?;
                let new = members.iter().filter(|member| set.insert((*member).clone())).count();
                Ok(Reply::Int(new as i64))
            }
            Op::SRem { key, members } => {
                let set = self.set(key)?;
                let gone = members.iter().filter(|member| set.remove(*member)).count();
                Ok(Reply::Int(gone as i64))
            }
            Op::SMove { source, destination, member } => {
                if !self.keys.contains_key(source) {
                    return Ok(Reply::Int(0));
                }
                self.set(source)?;
                self.set(destination)?;
                if !self.set(source)?.remove(member) {
                    return Ok(Reply::Int(0));
                }
                self.set(destination)?.insert(member.clone());
                Ok(Reply::Int(1))
            }
            Op::SPop { key, candidates, count } => {
                let set = self.set(key)?;
                let there: Vec<_> = candidates.iter().filter(|c| set.contains(*c)).collect();
                let chosen: Vec<Bytes> = there.into_iter().take(*count).cloned().collect();
                if chosen.len() < *count && chosen.len() < set.len() {
                    return Err(OpError::Stale);
                }
                chosen.iter().for_each(|member| {
                    set.remove(member);
                });
                Ok(Reply::Set(chosen))
            }
            _ => unreachable!(),
        }
    }

    fn of_scored(&mut self, op: &Op) -> Outcome {
        match op {
            Op::ZAdd { key, pairs, when, changed } => {
                let members = self.scored(key)?;
                let (mut new, mut moved) = (0, 0);
                for (member, score) in pairs {
                    let old = members.get(member).copied();
                    if !allows(*when, old, *score) {
                        continue;
                    }
                    members.insert(member.clone(), *score);
                    new += i64::from(old.is_none());
                    moved += i64::from(old.is_some_and(|old| old != *score));
                }
                Ok(Reply::Int(if *changed { new + moved } else { new }))
            }
            Op::ZIncrBy { key, member, by, when } => {
                let members = self.scored(key)?;
                let old = members.get(member).copied();
                let new = old.unwrap_or(0.0) + by;
                if !allows(*when, old, new) {
                    return Ok(Reply::Nil);
                }
                members.insert(member.clone(), new);
                Ok(Reply::Float(new))
            }
            Op::ZRem { key, members: gone } => {
                let members = self.scored(key)?;
                let gone = gone.iter().filter(|member| members.remove(*member).is_some()).count();
                Ok(Reply::Int(gone as i64))
            }
            Op::ZRemScored { key, members: gone } => {
                let members = self.scored(key)?;
                let unmoved = |(m, score): &&(Bytes, f64)| members.get(m) == Some(score);
                let gone: Vec<_> = gone.iter().filter(unmoved).cloned().collect();
                gone.iter().for_each(|(member, _)| {
                    members.remove(member);
                });
                Ok(Reply::Int(gone.len() as i64))
            }
            Op::ZPop { key, candidates, count } => {
                let members = self.scored(key)?;
                let unmoved = |(m, score): &&(Bytes, f64)| members.get(m) == Some(score);
                let chosen: Vec<_> =
                    candidates.iter().filter(unmoved).take(*count).cloned().collect();
                if chosen.len() < *count && chosen.len() < members.len() {
                    return Err(OpError::Stale);
                }
                chosen.iter().for_each(|(member, _)| {
                    members.remove(member);
                });
                let pairs = chosen.into_iter().map(|(member, score)| (member, Reply::Float(score)));
                Ok(Reply::Pairs(pairs.collect()))
            }
            _ => unreachable!(),
        }
    }
}

fn allows(when: ZAddWhen, old: Option<f64>, new: f64) -> bool {
    match old {
        None => when.presence != Presence::Present,
        Some(old) => {
            when.presence != Presence::Absent
                && match when.score {
                    ScoreWhen::Any => true,
                    ScoreWhen::Greater => new > old,
                    ScoreWhen::Less => new < old,
                }
        }
    }
}

fn check_key(model: &Model, key: &Bytes, ask: &impl Fn(Query) -> Reply) {
    let held = model.keys.get(key);
    let kind = held.map(|(held, _)| match held {
        Held::Text(_) => KeyType::String,
        Held::Hash(_) => KeyType::Collection(Kind::Hash),
        Held::Set(_) => KeyType::Collection(Kind::Set),
        Held::Scored(_) => KeyType::Collection(Kind::SortedSet),
    });
    assert_eq!(ask(Query::Type { key: key.clone() }), Reply::Type(kind));
    let until = held.map_or(-2, |(_, until)| until.map_or(-1, |until| until as i64));
    let form = TtlForm::UnixMillis;
    assert_eq!(ask(Query::Ttl { key: key.clone(), form }), Reply::Int(until));
    let key = key.clone();
    match held.map(|(held, _)| held) {
        None => {}
        Some(Held::Text(text)) => assert_eq!(ask(Query::Get { key }), Reply::Bytes(text.clone())),
        Some(Held::Hash(fields)) => {
            let pairs = fields.clone().into_iter().collect();
            assert_eq!(ask(Query::HGetAll { key: key.clone() }), Reply::Map(pairs));
            assert_eq!(ask(Query::HLen { key }), Reply::Int(fields.len() as i64));
        }
        Some(Held::Set(members)) => {
            let all = members.iter().cloned().collect();
            assert_eq!(ask(Query::SMembers { key: key.clone() }), Reply::Set(all));
            assert_eq!(ask(Query::SCard { key }), Reply::Int(members.len() as i64));
        }
        Some(Held::Scored(members)) => {
            let mut rows: Vec<_> = members.iter().map(|(m, score)| (*score, m.clone())).collect();
            rows.sort_by(|a, b| a.partial_cmp(b).unwrap());
            let pairs = rows.into_iter().map(|(score, m)| (m, Reply::Float(score))).collect();
            let bounds = ZBounds::Index { start: 0, stop: -1 };
            let range = ZRange { bounds, reverse: false, limit: None };
            let query = Query::ZRange { key: key.clone(), range, scores: true };
            assert_eq!(ask(query), Reply::Pairs(pairs));
            assert_eq!(ask(Query::ZCard { key }), Reply::Int(members.len() as i64));
        }
    }
}

/// Compares everything that can be read.
pub(crate) fn check(model: &Model, ask: &impl Fn(Query) -> Reply) {
    for n in 0..4 {
        check_key(model, &bytes(&format!("k{n}")), ask);
    }
    assert_eq!(ask(Query::DbSize), Reply::Int(model.keys.len() as i64));
    let cursor = Cursor { after: None, pattern: None, count: 100 };
    let Reply::Page(page) = ask(Query::Scan { cursor, kind: None }) else {
        panic!("a scan answers a page");
    };
    assert_eq!(page.items, model.keys.keys().cloned().collect::<Vec<_>>());
}
