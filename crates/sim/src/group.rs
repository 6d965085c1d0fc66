//! Agreement in a run: one list of commands, in one order, for everybody.
//!
//! Only the list itself is simple here: a command is on it from the moment when its leader has
//! heard of a majority of the nodes that they have it, and everything that is said on the way
//! travels over the simulated links, so it is late, lost or cut off as a real group's is. What is
//! agreed is applied by the shipped administrative machine, on every host by itself. The real
//! group, openraft with our log, has a simulation of its own in `rhumb-control`.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use rhumb_node::oversee::{ProposalError, Token};
use rhumb_regions::AdminMachine;
use rhumb_types::{
    RegionId,
    control::{AdminOutcome, AdminRequest, RegionLease},
};

/// How often a leader tells the others that it leads.
pub const LEAD_EVERY: Duration = Duration::from_millis(100);
/// After so long without a word nobody is held for the leader any more, and a leader without a
/// majority no longer believes in itself.
pub const LEADER_SILENT_MAX: Duration = Duration::from_millis(1_500);
/// The least and the most time that the others take to find another leader.
pub const ELECTION: (Duration, Duration) =
    (Duration::from_millis(300), Duration::from_millis(1_500));
/// Pause before a proposal that reached nobody is sent again.
pub const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Bytes of a block of a disk; what is appended within one needs no new room.
pub const BLOCK_BYTES: u64 = 4_096;
/// Bytes that a record of the log takes beside its command.
pub const RECORD_BYTES: u64 = 64;

/// What the nodes of the group say to each other.
#[derive(Debug)]
pub(crate) enum GroupMessage {
    /// A proposal, on its way to whom its node holds for the leader.
    Forward { token: Token, request: Bytes },
    /// It was not for the leader; nothing was done.
    NotLeading { token: Token },
    /// A leader asks whether it is heard, and says how much is agreed.
    Lead { term: u64, through: u64 },
    /// It is.
    Heard { term: u64 },
    /// A leader has something to agree on.
    Append { term: u64, number: u64 },
    /// It is on a disk.
    Appended { number: u64 },
    /// The answer of the machine.
    Answer { token: Token, answer: Result<AdminOutcome, ProposalError> },
}

/// A command that its leader has, and that is not agreed yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) leader: usize,
    pub(crate) term: u64,
    pub(crate) from: usize,
    pub(crate) incarnation: u64,
    pub(crate) token: Token,
    pub(crate) request: Bytes,
    pub(crate) has: BTreeSet<usize>,
}

/// What is agreed, and who leads.
#[derive(Debug, Default)]
pub struct Group {
    /// What was agreed, with when it was.
    pub(crate) log: VecDeque<(u64, Bytes)>,
    /// How much was agreed before the first of these.
    pub(crate) settled: u64,
    /// The leases as agreed at this instant, whoever has heard of it.
    pub(crate) leases: BTreeMap<RegionId, RegionLease>,
    pub(crate) pending: BTreeMap<u64, Pending>,
    pub(crate) numbers: u64,
    pub(crate) term: u64,
    pub(crate) leader: Option<usize>,
    /// How long nodes wait for their leader before they want another; without it elections are quick, and
    /// followers hear everything at once.
    pub(crate) patience: Option<Patience>,
    /// The election that is under way, if one is.
    pub(crate) election: Option<Election>,
}

/// How long the nodes of a group wait for their leader before they stand for election.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patience {
    /// Of each host: the least and the most since it last heard of the leader.
    pub waits: Vec<(Duration, Duration)>,
    /// How often they look, each at a moment of its own, and how often a leader says that it leads.
    pub tick: Duration,
}

/// An election, whose outcome follows from who waits how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Election {
    /// When it is over, in microseconds of the run.
    pub(crate) at: u64,
    /// Who leads then; anybody who can when nobody is named, or the named one cannot.
    pub(crate) who: Option<usize>,
}

impl Group {
    /// How much is agreed.
    pub(crate) fn through(&self) -> u64 {
        self.settled + self.log.len() as u64
    }

    /// How much was agreed at a time.
    pub(crate) fn through_at(&self, at: u64) -> u64 {
        self.settled + self.log.partition_point(|(agreed, _)| *agreed <= at) as u64
    }

    /// What is agreed at an index; the first has 1.
    pub(crate) fn command(&self, index: u64) -> Option<&Bytes> {
        let place = usize::try_from(index.checked_sub(self.settled + 1)?).ok()?;
        self.log.get(place).map(|(_, command)| command)
    }

    /// Forgets what every host has applied.
    pub(crate) fn settle(&mut self, applied: u64) {
        while self.settled < applied && self.log.pop_front().is_some() {
            self.settled += 1;
        }
    }
}

/// A host's place in the group; it outlives a crash, as the log on the disk does.
#[derive(Debug, Default)]
pub struct Seat {
    /// The shipped machine, with what this host has applied.
    pub machine: AdminMachine,
    /// How much that is.
    pub applied: u64,
    /// The last leader's term that was heard of.
    pub term: u64,
}

/// The last message of a leader to one follower, and its answer; times are microseconds of the run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Round {
    pub(crate) starts: u64,
    pub(crate) ends: u64,
}

/// What a running process knows of the group.
#[derive(Debug, Default)]
pub struct Member {
    /// Who leads, and when it was last heard, in microseconds of the run.
    pub(crate) leader: Option<(usize, u64)>,
    /// On a leader: when each of the others last said that it hears it.
    pub(crate) heard: BTreeMap<usize, u64>,
    /// On a leader whose times are those of a real one: its last round with each of the others.
    pub(crate) rounds: BTreeMap<usize, Round>,
    /// Bytes that still fit into the last block of its log, once the disk is full.
    pub(crate) room: Option<u64>,
    /// Its log could not be written: it votes, leads and hears no more until the next start, but still
    /// asks whom it held for the leader.
    pub(crate) stopped: bool,
    /// Proposals without an answer, and whether they may have reached a leader.
    pub(crate) asked: BTreeMap<Token, Asked>,
}

/// A proposal without an answer.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: Box<AdminRequest>,
    pub(crate) sent: bool,
}
