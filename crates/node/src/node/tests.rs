//! Whole nodes, event by event: what seeds of the simulator once found.

use bytes::Bytes;
use rhumb_ports::{
    peer::{Heartbeat, HeartbeatReply, Hello, PROTOCOL_VERSION, PeerMessage},
    store::{Batch, Recovered, StoreError},
};
use rhumb_state::{Op, ReadSet, RowId};
use rhumb_types::{AckLevel, UnixMillis, record::Space};

use super::*;
use crate::{
    NodeStatus, RequestId, Rows, Submit, SubmitError,
    trials::{at, config, region},
};

/// The random part of the origins that the node wrote before this start.
const OLD: u64 = 5 << 16;
/// That of those which it mints.
const NEW: u64 = 77 << 16;
/// Versions of its own log on its disk.
const KEPT: u64 = 7;

fn origin(incarnation: u64) -> OriginId {
    OriginId::new(incarnation, DomainId::EVERYWHERE)
}

fn vector(incarnation: u64, version: u64) -> VersionVector {
    [(origin(incarnation), version)].into_iter().collect()
}

fn broken_disk() -> StoreError {
    StoreError::Disk { path: "data".to_owned(), reason: "no".to_owned() }
}

/// A node of `us` with peers in `eu` and `ap`, that was there before: its peers must confirm its log.
struct Rig {
    node: Node,
    out: Effects,
    now: u64,
    commits: u64,
    in_flight: Option<(u64, Batch)>,
}

impl Rig {
    fn new() -> Self {
        let config = config(&["us", "eu", "ap"]);
        let identity = Identity {
            cluster: config.cluster,
            node: config.node,
            region: region("us"),
            incarnation: OLD,
            minted: Hlc::from_millis(UnixMillis(900_000)),
        };
        let recovered = Recovered { applied: vector(OLD, KEPT), ..Recovered::default() };
        let boot = Boot {
            identity: Some(identity),
            recovered,
            entropy: NEW,
            commit: 9,
            ..Boot::default()
        };
        let node = Node::new(config, boot, at(0));
        Self { node, out: Effects::new(), now: 0, commits: 9, in_flight: None }
    }

    /// A node whose log both peers have confirmed.
    fn running() -> Self {
        let mut rig = Self::new();
        for peer in ["eu", "ap"] {
            rig.link(peer);
            rig.hello(peer, vector(OLD, KEPT));
        }
        assert_eq!(rig.status().phase, Phase::Running);
        rig
    }

    /// What the node wants done, apart from commits, which wait for [`Rig::commit`].
    fn event(&mut self, event: Event) -> Vec<Effect> {
        let mut wanted = Vec::new();
        self.node.on_event(at(self.now), event, &mut self.out);
        while let Some(effect) = self.out.pop() {
            match effect {
                Effect::Commit { batch, writes, .. } => self.in_flight = Some((batch, writes)),
                effect => wanted.push(effect),
            }
        }
        wanted
    }

    fn tick_at(&mut self, micros: u64) -> Vec<Effect> {
        self.now = micros;
        self.event(Event::Tick)
    }

    fn link(&mut self, peer: &str) -> Vec<Effect> {
        self.event(Event::PeerUp { region: region(peer) })
    }

    fn said(&mut self, peer: &str, message: PeerMessage) -> Vec<Effect> {
        self.event(Event::Peer { from: region(peer), message })
    }

    fn hello(&mut self, peer: &str, durable: VersionVector) -> Vec<Effect> {
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            cluster: ClusterId(1),
            node: NodeId(2),
            region: region(peer),
            witness: false,
            durable,
            received: VersionVector::new(),
            origins: Vec::new(),
            wall: at(self.now).wall,
            namespaces: 0,
        };
        self.said(peer, PeerMessage::Hello(hello))
    }

    /// The commit under way ends well.
    fn commit(&mut self) -> (Vec<Write>, Vec<Effect>) {
        let (batch, writes) = self.in_flight.take().unwrap();
        self.commits += 1;
        let wanted = self.event(Event::Committed { batch, result: Ok(self.commits) });
        (writes.writes, wanted)
    }

    /// Writes, with the rows of the ops as nobody has written them; they lie in a commit under way.
    fn write(&mut self, ops: Vec<Op>) -> Vec<Effect> {
        let mut reads = ReadSet { commit: self.commits, ..ReadSet::default() };
        for op in &ops {
            op.rows(&mut |row| match RowId::from(row) {
                RowId::Head(space, key) => reads.heads.push((space, key, None)),
                RowId::Member(space, key, member) => {
                    reads.members.push((space, key, member, None));
                }
                RowId::Owned(id) => reads.owned.push((id, None)),
            });
        }
        let submit = Submit {
            request: RequestId(1),
            ops,
            ack: AckLevel::Local,
            deadline: MonoTime(90_000_000),
            reads,
            atomic: false,
            guard: None,
        };
        let mut wanted = self.event(Event::Submit(submit));
        wanted.extend(self.event(Event::Flush));
        wanted
    }

    fn status(&self) -> NodeStatus {
        self.node.status(at(self.now))
    }
}

fn add(key: &'static str) -> Op {
    Op::IncrBy { key: Bytes::from_static(key.as_bytes()), by: 1 }
}

/// To whom a hello is said that names an origin.
fn told_of(wanted: &[Effect], of: OriginId) -> Vec<&str> {
    let told = wanted.iter().filter_map(|effect| match effect {
        Effect::Send { to, message: PeerMessage::Hello(hello) } => {
            hello.origins.iter().any(|info| info.origin == of).then_some(to.as_str())
        }
        _ => None,
    });
    told.collect()
}

/// From whom a snapshot is pulled.
fn pulled_from(wanted: &[Effect]) -> Vec<&str> {
    let pulls = wanted.iter().filter_map(|effect| match effect {
        Effect::Send { to, message: PeerMessage::SnapshotPull { .. } } => Some(to.as_str()),
        _ => None,
    });
    pulls.collect()
}

fn trimmed() -> PeerMessage {
    PeerMessage::Trimmed { origin: origin(3 << 16), first: 40 }
}

#[test]
fn an_origin_that_is_minted_while_links_stand_is_told_to_every_linked_peer() {
    let mut rig = Rig::new();
    for peer in ["eu", "ap"] {
        let first = rig.link(peer);
        assert_eq!(told_of(&first, origin(OLD)), [peer]);
        assert!(told_of(&first, origin(NEW)).is_empty());
    }
    // The hello of `ap` is still on its way, and it has had ours.
    let wanted = rig.hello("eu", vector(OLD, KEPT + 1));
    assert_eq!(rig.status().origin, origin(NEW), "eu holds more of the log than the disk does");
    assert_eq!(told_of(&wanted, origin(NEW)), ["ap", "eu"]);
    // Late as it is, it changes nothing.
    assert!(told_of(&rig.hello("ap", vector(OLD, KEPT)), origin(NEW)).is_empty());
}

#[test]
fn an_origin_that_one_peer_tells_of_is_told_to_the_others() {
    let mut rig = Rig::new();
    rig.link("eu");
    rig.link("ap");
    let minted = Hlc::from_millis(UnixMillis(950_000));
    let theirs = OriginInfo { origin: origin(9 << 16), region: region("ap"), minted };
    let mut hello = match &rig.link("eu")[0] {
        Effect::Send { message: PeerMessage::Hello(hello), .. } => hello.clone(),
        other => panic!("{other:?}"),
    };
    hello.region = region("eu");
    hello.origins.push(theirs);
    let wanted = rig.said("eu", PeerMessage::Hello(hello.clone()));
    assert_eq!(told_of(&wanted, origin(9 << 16)), ["ap", "eu"]);
    let again = rig.said("eu", PeerMessage::Hello(hello));
    assert!(told_of(&again, origin(9 << 16)).is_empty(), "what is known is not told again");
}

#[test]
fn answers_to_heartbeats_count_on_ways_that_are_longer_than_the_interval() {
    const WAY: u64 = 350_000;
    const AHEAD: u64 = 600_000;
    let mut rig = Rig::running();
    let mut under_way: Vec<(u64, RegionId, u64)> = Vec::new();
    for nth in 1..=20 {
        let now = nth * 50_000;
        rig.now = now;
        let (arrived, later) = under_way.into_iter().partition(|(due, ..)| *due <= now);
        under_way = later;
        let arrived: Vec<(u64, RegionId, u64)> = arrived;
        for (_, peer, sequence) in arrived {
            // Both say that it is ten minutes earlier.
            let wall = UnixMillis(at(now - WAY / 2).wall.0 - AHEAD);
            let reply = HeartbeatReply { sequence, wall };
            rig.said(peer.as_str(), PeerMessage::HeartbeatReply(reply));
        }
        let sent = rig.tick_at(now).into_iter().filter_map(|effect| match effect {
            Effect::Send { to, message: PeerMessage::Heartbeat(Heartbeat { sequence, .. }) } => {
                Some((now + WAY, to, sequence))
            }
            _ => None,
        });
        under_way.extend(sent);
    }
    assert!(under_way.len() >= 6, "three to each are on their way: {under_way:?}");
    let status = rig.status();
    assert!(status.peers.iter().all(|peer| peer.round_trip_micros == Some(WAY)), "{status:?}");
    assert!(!status.clock_ok, "{status:?}");
    let refused = rig.write(vec![add("n")]);
    assert!(
        matches!(&refused[0], Effect::Reply { result: Err(SubmitError::Unavailable(_)), .. }),
        "{refused:?}"
    );
}

#[test]
fn the_lag_of_a_new_origin_is_not_measured_against_the_old_ones_versions() {
    let mut rig = Rig::new();
    rig.link("eu");
    rig.link("ap");
    // A commit during the proof marks when the old log was known to be durable.
    rig.event(Event::Remember { name: MetaName::Snapshot, value: Bytes::from_static(b"x") });
    rig.event(Event::Flush);
    rig.commit();
    assert!(rig.tick_at(300_000).iter().any(|effect| matches!(effect, Effect::Sync)));
    rig.event(Event::Synced { result: Ok(()) });
    rig.hello("eu", vector(OLD, KEPT + 1));
    assert_eq!(rig.status().origin, origin(NEW));
    rig.write(vec![add("n")]);
    rig.now = 400_000;
    rig.commit();
    let behind = |rig: &Rig| -> Vec<u64> {
        rig.status().peers.iter().map(|peer| peer.behind_millis).collect()
    };
    rig.now = 5_000_000;
    assert_eq!(behind(&rig), [4_600, 4_600], "since the new log's first version");
    for peer in ["eu", "ap"] {
        let durable = rig.node.durable.clone();
        rig.said(peer, PeerMessage::Ack { durable });
    }
    assert_eq!(behind(&rig), [0, 0], "they have all of it");
}

#[test]
fn a_disk_that_fails_before_a_snapshot_is_loaded_ends_the_loading() {
    let mut rig = Rig::running();
    rig.write(vec![add("n")]);
    let (batch, _) = rig.in_flight.take().unwrap();
    assert!(pulled_from(&rig.said("eu", trimmed())).is_empty(), "it waits for the commit");
    assert_eq!(rig.status().phase, Phase::Loading);
    rig.event(Event::Committed { batch, result: Err(broken_disk()) });
    assert_eq!(rig.status().phase, Phase::Failed);
    assert!(!rig.status().bootstrapping);
    for micros in [200_000, 400_000] {
        assert!(pulled_from(&rig.tick_at(micros)).is_empty());
    }
    rig.event(Event::PeerDown { region: region("eu") });
    assert_eq!(rig.status().phase, Phase::Failed, "a source that is gone does not mend the disk");
    let refused = rig.write(vec![add("n")]);
    assert!(matches!(&refused[0], Effect::Reply { result: Err(_), .. }), "{refused:?}");
    assert!(rig.in_flight.is_none());
}

#[test]
fn a_snapshot_waits_for_the_commit_of_what_a_sweep_changed() {
    let mut rig = Rig::running();
    let (key, field) = (Bytes::from_static(b"h"), Bytes::from_static(b"f"));
    let pairs = vec![(field.clone(), Bytes::from_static(b"v"))];
    rig.write(vec![Op::HSet { key: key.clone(), pairs }]);
    let (writes, _) = rig.commit();
    let cell = writes.into_iter().find_map(|write| match write {
        Write::Member { cell, .. } => cell,
        _ => None,
    });
    // The removal leaves the field's row to the sweep.
    rig.write(vec![Op::Del { keys: vec![key.clone()] }]);
    rig.commit();
    rig.tick_at(200_000);
    let due = vec![(UnixMillis(0), Space::USER, key.clone())];
    let fetch = rig.event(Event::DueRead { due: Ok(due) });
    let Some(Effect::Fetch { ticket, .. }) = fetch.first() else { panic!("{fetch:?}") };
    let reads = ReadSet { commit: rig.commits, ..ReadSet::default() };
    let read = rig.event(Event::Fetched { ticket: *ticket, reads: Ok(reads) });
    assert!(matches!(read.first(), Some(Effect::ReadMembers { .. })), "{read:?}");
    let rows = Rows { rows: vec![(field, cell.unwrap())], last: true, commit: rig.commits };
    rig.event(Event::MembersRead { space: Space::USER, key, rows: Ok(rows) });
    assert!(!rig.node.is_settled(), "the row is changed, and no commit has taken it");

    assert!(pulled_from(&rig.said("eu", trimmed())).is_empty());
    assert!(pulled_from(&rig.tick_at(300_000)).is_empty());
    rig.event(Event::Flush);
    let (writes, wanted) = rig.commit();
    let gone = |write: &Write| matches!(write, Write::Member { cell: None, .. });
    assert!(writes.iter().any(gone), "{writes:?}");
    assert_eq!(pulled_from(&wanted), ["eu"]);
}
