//! Registers, locks in the shipped machine of strong namespaces, and a record of what was applied at each index.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use rhumb_ports::control::Replicated;
use rhumb_state::{
    Op, Reply, StrongMachine,
    op::{Presence, SetExpiry},
    strong::{RequestId, StrongAnswer, StrongCommand, StrongOutcome, StrongStep},
};
use rhumb_types::{UnixMillis, record::Record};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    Write { key: u64, value: u64 },
    CompareAndSet { key: u64, expected: Option<u64>, new: u64 },
    Acquire { key: u64, client: u64 },
    Release { key: u64, client: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Written,
    Swapped(bool),
    Token(Option<u64>),
    Released(bool),
}

/// What any node applied at each index; a second command at an index is a divergence.
#[derive(Debug, Default)]
pub struct Agreed {
    pub commands: BTreeMap<u64, Bytes>,
    pub diverged: Vec<u64>,
    pub restored: u64,
}

#[derive(Debug, Default)]
pub struct State {
    pub registers: BTreeMap<u64, u64>,
    pub locks: StrongMachine,
}

pub struct Machine {
    pub state: State,
    pub agreed: Arc<Mutex<Agreed>>,
}

impl Machine {
    fn change(&mut self, index: u64, command: &Command) -> Answer {
        let State { registers, locks } = &mut self.state;
        match *command {
            Command::Write { key, value } => {
                registers.insert(key, value);
                Answer::Written
            }
            Command::CompareAndSet { key, expected, new } => {
                let swaps = registers.get(&key).copied() == expected;
                if swaps {
                    registers.insert(key, new);
                }
                Answer::Swapped(swaps)
            }
            Command::Acquire { key, client } => {
                let take = Op::Set {
                    key: name(key),
                    value: name(client),
                    when: Presence::Absent,
                    get: false,
                    expiry: SetExpiry::Clear,
                };
                let answer = strong(locks, index, take);
                Answer::Token(answer.fence.filter(|_| answer.replies == [Reply::Ok]))
            }
            Command::Release { key, client } => {
                let give = Op::CompareAndDelete { key: name(key), expected: name(client) };
                Answer::Released(strong(locks, index, give).replies == [Reply::Int(1)])
            }
        }
    }
}

fn name(number: u64) -> Bytes {
    number.to_string().into()
}

/// One write to the strong namespaces, as any node would propose it.
fn strong(machine: &mut StrongMachine, index: u64, op: Op) -> StrongAnswer {
    let command = StrongCommand {
        request: RequestId(index.into()),
        now: UnixMillis(index),
        if_unchanged: Vec::new(),
        steps: vec![StrongStep::Write(op)],
    };
    match StrongOutcome::decode(&machine.apply(index, &command.encode())).unwrap() {
        StrongOutcome::Answered(answer) => answer,
        other => panic!("{other:?}"),
    }
}

impl Replicated for Machine {
    fn apply(&mut self, index: u64, command: &[u8]) -> Bytes {
        {
            let mut agreed = self.agreed.lock().unwrap();
            let first = agreed.commands.entry(index).or_insert_with(|| command.to_vec().into());
            if first != command {
                agreed.diverged.push(index);
            }
        }
        let command: Command = postcard::from_bytes(command).unwrap();
        postcard::to_stdvec(&self.change(index, &command)).unwrap().into()
    }

    /// The query is a register's key; the answer is its value.
    fn read(&self, query: &[u8]) -> Bytes {
        if query.is_empty() {
            return self.snapshot();
        }
        let key: u64 = postcard::from_bytes(query).unwrap();
        postcard::to_stdvec(&self.state.registers.get(&key)).unwrap().into()
    }

    fn snapshot(&self) -> Bytes {
        let State { registers, locks } = &self.state;
        postcard::to_stdvec(&(registers, locks.snapshot())).unwrap().into()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let (registers, locks): (_, Bytes) =
            postcard::from_bytes(snapshot).map_err(|fault| fault.to_string())?;
        self.state.registers = registers;
        self.state.locks.restore(&locks)?;
        self.agreed.lock().unwrap().restored += 1;
        Ok(())
    }
}
