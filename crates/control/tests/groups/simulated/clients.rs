//! What clients do, and what they saw.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use rhumb_check::{History, LockAnswer, LockCall, RegisterAnswer, RegisterCall};
use rhumb_control::Group;
use rhumb_ports::control::{Control, ControlError};
use tokio::time::sleep;

use super::machine::{Answer, Command};

pub const KEYS: u64 = 3;

/// What all clients saw, by key.
#[derive(Debug, Default)]
pub struct Record {
    pub registers: BTreeMap<u64, History<RegisterCall, RegisterAnswer>>,
    pub locks: BTreeMap<u64, History<LockCall, LockAnswer>>,
    pub clients: u64,
    pub values: u64,
    pub answered: u64,
    pub unknown: u64,
    pub refused: u64,
}

pub type Shared = Arc<Mutex<Record>>;

/// A small generator, so that a seed decides everything (xorshift64, Marsaglia 2003).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// One client at one node, until the node ends.
pub struct Client {
    pub id: u64,
    pub group: Group,
    pub record: Shared,
    pub random: Random,
    pub stale_reads: bool,
}

enum Seen {
    Answer(Bytes),
    Nothing,
    Unknown,
}

impl Client {
    pub async fn run(mut self) {
        loop {
            sleep(Duration::from_millis(20 + self.random.below(150))).await;
            match self.random.below(10) {
                0..=3 => self.read().await,
                4..=6 => self.write().await,
                7 => self.swap().await,
                _ => self.lock().await,
            }
        }
    }

    fn see(&self, result: Result<Bytes, ControlError>) -> Seen {
        let mut record = self.record.lock().unwrap();
        match result {
            Ok(answer) => {
                record.answered += 1;
                Seen::Answer(answer)
            }
            Err(ControlError::Unknown) => {
                record.unknown += 1;
                Seen::Unknown
            }
            Err(_) => {
                record.refused += 1;
                Seen::Nothing
            }
        }
    }

    async fn propose(&self, command: &Command) -> Seen {
        let command = postcard::to_stdvec(command).unwrap();
        let result = self.group.propose(command.into()).await;
        self.see(result)
    }

    fn fresh_value(&self) -> u64 {
        let mut record = self.record.lock().unwrap();
        record.values += 1;
        record.values
    }

    pub async fn read(&mut self) {
        let key = self.random.below(KEYS);
        let id = self.start_register(key, RegisterCall::Read);
        let query = postcard::to_stdvec(&key).unwrap();
        let result = if self.stale_reads {
            Ok(self.group.read_local(&query))
        } else {
            self.group.read(query.into()).await
        };
        let seen = self.see(result);
        self.end_register(key, id, seen, |answer| {
            RegisterAnswer::Value(postcard::from_bytes(answer).unwrap())
        });
    }

    async fn write(&mut self) {
        let (key, value) = (self.random.below(KEYS), self.fresh_value());
        let id = self.start_register(key, RegisterCall::Write(Some(value)));
        let seen = self.propose(&Command::Write { key, value }).await;
        self.end_register(key, id, seen, |_| RegisterAnswer::Written);
    }

    /// Swaps what this node believes to be there.
    async fn swap(&mut self) {
        let (key, new) = (self.random.below(KEYS), self.fresh_value());
        let query = postcard::to_stdvec(&key).unwrap();
        let expected = postcard::from_bytes(&self.group.read_local(&query)).unwrap();
        let call = RegisterCall::CompareAndSet { expected, new: Some(new) };
        let id = self.start_register(key, call);
        let seen = self.propose(&Command::CompareAndSet { key, expected, new }).await;
        self.end_register(key, id, seen, |answer| match postcard::from_bytes(answer).unwrap() {
            Answer::Swapped(swapped) => RegisterAnswer::Swapped(swapped),
            other => panic!("{other:?}"),
        });
    }

    /// Takes a lock, and gives it up when it has it or may have it.
    async fn lock(&mut self) {
        let key = self.random.below(KEYS);
        let client = self.id;
        let call = LockCall::Acquire(client);
        let seen = self.lock_step(key, call, &Command::Acquire { key, client }).await;
        if seen == Some(Answer::Token(None)) {
            return;
        }
        sleep(Duration::from_millis(self.random.below(100))).await;
        let call = LockCall::Release(client);
        self.lock_step(key, call, &Command::Release { key, client }).await;
    }

    async fn lock_step(&self, key: u64, call: LockCall, command: &Command) -> Option<Answer> {
        let id = self.record.lock().unwrap().locks.entry(key).or_default().start(call);
        let seen = self.propose(command).await;
        let mut record = self.record.lock().unwrap();
        let history = record.locks.entry(key).or_default();
        match seen {
            Seen::Answer(answer) => {
                let answer: Answer = postcard::from_bytes(&answer).unwrap();
                let seen = match &answer {
                    Answer::Token(Some(token)) => LockAnswer::Token(*token),
                    Answer::Token(None) => LockAnswer::Held,
                    Answer::Released(held) => LockAnswer::Released(*held),
                    other => panic!("{other:?}"),
                };
                history.answer(id, seen);
                Some(answer)
            }
            Seen::Nothing => {
                history.discard(id);
                None
            }
            Seen::Unknown => None,
        }
    }

    fn start_register(&self, key: u64, call: RegisterCall) -> rhumb_check::CallId {
        self.record.lock().unwrap().registers.entry(key).or_default().start(call)
    }

    fn end_register(
        &self,
        key: u64,
        id: rhumb_check::CallId,
        seen: Seen,
        answer: impl Fn(&[u8]) -> RegisterAnswer,
    ) {
        let mut record = self.record.lock().unwrap();
        let history = record.registers.entry(key).or_default();
        match seen {
            Seen::Answer(bytes) => history.answer(id, answer(&bytes)),
            Seen::Nothing => history.discard(id),
            Seen::Unknown => {}
        }
    }
}
