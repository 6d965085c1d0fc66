//! The group at work: proposals, leaders, and what is agreed reaching every host.

use std::{collections::BTreeSet, time::Duration};

use rhumb_node::oversee::{OverseerEvent, ProposalError, Token};
use rhumb_types::{
    NodeId,
    control::{AdminAnswer, AdminCommand, AdminOutcome, limits::VOTERS_MAX},
    record::Record,
};

use super::{What, World, machines::SYNC_MICROS, micros, steady};
use crate::{
    branch::Branch,
    check::Check,
    fault::{self, CUT_OFF, STRANDED_CUT},
    group::{
        BLOCK_BYTES, ELECTION, Election, GroupMessage, LEAD_EVERY, LEADER_SILENT_MAX, Member,
        Patience, Pending, RECORD_BYTES, RETRY_AFTER, Round,
    },
    host::Host,
    network::Packet,
};

/// Something that the group does after a while.
#[derive(Debug)]
pub(crate) enum Deed {
    /// A proposal is sent, or sent again.
    Ask(Token),
    /// A proposal has waited for its answer long enough.
    GiveUp(Token),
    /// A leader says that it leads.
    Lead { term: u64 },
    /// A follower hears what it had to wait for.
    Say { to: usize, message: GroupMessage },
    /// What a leader wants agreed is on the disk.
    Appended { to: usize, number: u64 },
}

impl World {
    /// The hosts that vote: the first so many, as the file of a real cluster says.
    fn voters(&self) -> usize {
        self.hosts.len().min(VOTERS_MAX)
    }

    fn majority(&self) -> usize {
        self.voters() / 2 + 1
    }

    fn member(&mut self, host: usize) -> Option<&mut Member> {
        self.process(host).map(|process| &mut process.member)
    }

    /// The host that leads the group, if any does.
    #[must_use]
    pub const fn leader(&self) -> Option<usize> {
        self.group.leader
    }

    /// Whom a host holds for the leader.
    pub(super) fn leader_of(&self, host: usize) -> Option<usize> {
        let member = &self.hosts.get(host)?.process.as_ref()?.member;
        let (leader, heard) = member.leader?;
        let recent = |at: u64| self.now - at <= micros(LEADER_SILENT_MAX);
        let believes = if leader == host {
            let heard = member.heard.range(..self.voters()).filter(|(_, at)| recent(**at));
            heard.count() + 1 >= self.majority()
        } else {
            recent(heard)
        };
        believes.then_some(leader)
    }

    /// The leader as an overseer is told of it.
    pub(super) fn leading_node(&self, host: usize) -> Option<NodeId> {
        let leader = self.hosts.get(self.leader_of(host)?)?;
        Some(leader.config.node)
    }

    pub(super) fn propose(
        &mut self,
        host: usize,
        token: Token,
        asked: crate::group::Asked,
        wait: Duration,
    ) {
        if let Some(member) = self.member(host) {
            member.asked.insert(token, asked);
        }
        self.plan(1, host, What::Group(Deed::Ask(token)));
        self.plan(micros(wait), host, What::Group(Deed::GiveUp(token)));
    }

    pub(super) fn do_deed(&mut self, host: usize, deed: Deed) {
        match deed {
            Deed::Ask(token) => self.ask(host, token),
            Deed::GiveUp(token) => {
                let asked = self.member(host).and_then(|member| member.asked.get(&token));
                let Some(asked) = asked else { return };
                let error = if asked.sent {
                    ProposalError::Unknown
                } else {
                    ProposalError::NotAgreed("no leader in reach".to_owned())
                };
                self.answered(host, token, Err(error));
            }
            Deed::Lead { term } => self.lead(host, term),
            Deed::Say { to, message } => self.tell(host, to, message),
            Deed::Appended { to, number } => {
                self.tell(host, to, GroupMessage::Appended { number });
            }
        }
    }

    fn ask(&mut self, host: usize, token: Token) {
        let leader = self.leader_of(host);
        let reachable = leader.filter(|to| *to == host || self.network.link(host, *to).up);
        let Some(asked) = self.member(host).and_then(|member| member.asked.get_mut(&token)) else {
            return;
        };
        let Some(leader) = reachable else {
            return self.plan(micros(RETRY_AFTER), host, What::Group(Deed::Ask(token)));
        };
        asked.sent = true;
        let renews = matches!(asked.request.command, AdminCommand::RenewLease { .. });
        let request = asked.request.encode();
        self.tell(host, leader, GroupMessage::Forward { token, request });
        let freeze = renews && leader != host;
        let machine = self.hosts.get_mut(host).filter(|_| freeze);
        if let Some(lasting) = machine.and_then(|machine| machine.freeze_asking.take()) {
            fault::pause(self, host, lasting);
            self.wake(STRANDED_CUT, CUT_OFF + host as u64);
        }
    }

    /// Sends to a host; what is for this one arrives at once.
    fn tell(&mut self, from: usize, to: usize, message: GroupMessage) {
        if from == to {
            self.group_message(to, from, message);
        } else if self.network.link(from, to).up {
            self.transmit(from, to, Packet::Group(message));
        }
    }

    fn tell_others(&mut self, from: usize, message: impl Fn() -> GroupMessage) {
        for to in (0..self.hosts.len()).filter(|to| *to != from) {
            self.tell(from, to, message());
        }
    }

    /// Tells every other host once it has answered what it was told before: openraft 0.9 has one message
    /// under way to each follower, and that something is agreed is one. What waits goes together.
    fn tell_in_turn(&mut self, from: usize, message: impl Fn() -> GroupMessage) {
        for to in (0..self.hosts.len()).filter(|to| *to != from) {
            match self.turn(from, to) {
                0 => self.tell(from, to, message()),
                wait => self.plan(wait, from, What::Group(Deed::Say { to, message: message() })),
            }
        }
    }

    /// How long it takes until a leader's next round with a follower begins.
    fn turn(&mut self, from: usize, to: usize) -> u64 {
        if self.group.patience.is_none() {
            return 0;
        }
        let (now, trip) = (self.now, self.round_trip(from, to));
        let Some(member) = self.member(from) else { return 0 };
        let last = member.rounds.entry(to).or_default();
        if last.starts <= now {
            let starts = last.ends.max(now);
            *last = Round { starts, ends: starts + trip };
        }
        last.starts - now
    }

    fn round_trip(&mut self, one: usize, two: usize) -> u64 {
        let there = self.network.direction(one, two).delay_micros;
        there + self.network.direction(two, one).delay_micros
    }

    pub(super) fn group_message(&mut self, host: usize, from: usize, message: GroupMessage) {
        match message {
            GroupMessage::Forward { token, request } => self.forwarded(host, from, token, request),
            GroupMessage::NotLeading { token } => {
                if let Some(asked) = self.member(host).and_then(|m| m.asked.get_mut(&token)) {
                    asked.sent = false;
                }
                self.plan(micros(RETRY_AFTER), host, What::Group(Deed::Ask(token)));
            }
            GroupMessage::Lead { term, through } => self.led(host, from, term, through),
            GroupMessage::Heard { term } => {
                let now = self.now;
                let leads = self.hosts.get(host).is_some_and(|host| host.seat.term == term);
                if let Some(member) = self.member(host).filter(|_| leads) {
                    member.heard.insert(from, now);
                }
            }
            GroupMessage::Append { term, number } => {
                let bytes = self.group.pending.get(&number).map_or(0, |it| it.request.len());
                let Some(machine) = self.hosts.get(host) else { return };
                if term < machine.seat.term || !self.can_append(host, bytes) {
                    return;
                }
                let Some(machine) = self.hosts.get_mut(host) else { return };
                machine.seat.term = term;
                let after = SYNC_MICROS + machine.disk_delay_micros;
                self.plan(after, host, What::Group(Deed::Appended { to: from, number }));
            }
            GroupMessage::Appended { number } => {
                let (voters, majority) = (self.voters(), self.majority());
                let Some(pending) = self.group.pending.get_mut(&number) else { return };
                pending.has.insert(from);
                let have = pending.has.range(..voters).count();
                if pending.leader == host && have >= majority {
                    self.agree(host, number);
                }
            }
            GroupMessage::Answer { token, answer } => self.answered(host, token, answer),
        }
    }

    fn forwarded(&mut self, host: usize, from: usize, token: Token, request: bytes::Bytes) {
        if self.leader_of(host) != Some(host) {
            return self.tell(host, from, GroupMessage::NotLeading { token });
        }
        let Some(term) = self.hosts.get(host).map(|machine| machine.seat.term) else { return };
        if !self.can_append(host, request.len()) {
            return self.leader_gone(host);
        }
        self.group.numbers += 1;
        let number = self.group.numbers;
        let incarnation = self.hosts.get(from).map_or(0, |host| host.incarnation);
        let has = BTreeSet::from([host]);
        let pending = Pending { leader: host, term, from, incarnation, token, request, has };
        self.group.pending.insert(number, pending);
        self.tell_in_turn(host, || GroupMessage::Append { term, number });
    }

    /// Whether a host's log takes a command: it is on the disk of its node. One that does not stops for
    /// good, as the real group does.
    fn can_append(&mut self, host: usize, bytes: usize) -> bool {
        let faults = self.hosts.get(host).map(|machine| machine.disk.faults()).unwrap_or_default();
        let block = if faults.full { self.random.below(BLOCK_BYTES) } else { 0 };
        let Some(member) = self.member(host) else { return false };
        if faults.sync_fails {
            member.stopped = true;
        } else if faults.full {
            let room = member.room.unwrap_or(block);
            member.room = room.checked_sub(bytes as u64 + RECORD_BYTES);
            member.stopped |= member.room.is_none();
        }
        !member.stopped
    }

    fn has_stopped(&self, host: usize) -> bool {
        let process = self.hosts.get(host).and_then(|machine| machine.process.as_ref());
        process.is_some_and(|process| process.member.stopped)
    }

    /// A majority has it: it is agreed, and its leader answers.
    fn agree(&mut self, host: usize, number: u64) {
        let Some(pending) = self.group.pending.remove(&number) else { return };
        let request = pending.request.clone();
        self.note_agreed(&request);
        self.group.log.push_back((self.now, pending.request));
        let (term, through) = (pending.term, self.group.through());
        let answer = self.apply(host, through);
        self.check_agreed(&request, answer.as_ref().is_some_and(Result::is_ok));
        if let Some(leader) = self.hosts.get(host) {
            self.group.leases = leader.seat.machine.view().leases;
        }
        let alive =
            self.hosts.get(pending.from).is_some_and(|it| it.incarnation == pending.incarnation);
        if let Some(answer) = answer.filter(|_| alive) {
            let token = pending.token;
            self.tell(host, pending.from, GroupMessage::Answer { token, answer });
        }
        self.tell_in_turn(host, || GroupMessage::Lead { term, through });
    }

    /// Applies what is agreed on a host; gives the answer to the last command, if it was news.
    fn apply(&mut self, host: usize, through: u64) -> Option<Result<AdminOutcome, ProposalError>> {
        let machine = self.hosts.get_mut(host)?;
        let seat = &mut machine.seat;
        let mut last = None;
        while seat.applied < through {
            let command = self.group.command(seat.applied + 1)?;
            seat.applied += 1;
            let before = seat.machine.audit_head().index;
            let answer = seat.machine.apply(seat.applied, command);
            let entries = seat.machine.audit_head().index - before;
            if let Some(what) = steady::unaudited(command, &answer, entries) {
                self.checker.violated(Check::Audited, format!("host {host}: {what}"));
            }
            last = Some(answer);
        }
        let answer = AdminAnswer::decode(&last?).ok()?;
        self.show_agreed(host);
        Some(answer.0.map_err(ProposalError::Refused))
    }

    fn led(&mut self, host: usize, from: usize, term: u64, through: u64) {
        let now = self.now;
        let stopped = self.has_stopped(host);
        let Some(machine) = self.hosts.get_mut(host) else { return };
        if term < machine.seat.term || stopped {
            return;
        }
        machine.seat.term = term;
        if let Some(member) = self.member(host) {
            member.leader = Some((from, now));
        }
        self.tell(host, from, GroupMessage::Heard { term });
        self.apply(host, through);
    }

    fn lead(&mut self, host: usize, term: u64) {
        let leads = self.leader_of(host) == Some(host);
        let seat = self.hosts.get(host).map(|machine| machine.seat.term);
        if !leads || seat != Some(term) {
            return;
        }
        let through = self.group.through();
        self.tell_others(host, || GroupMessage::Lead { term, through });
        self.plan(micros(LEAD_EVERY), host, What::Group(Deed::Lead { term }));
    }

    fn answered(&mut self, host: usize, token: Token, answer: Result<AdminOutcome, ProposalError>) {
        let known = self.member(host).is_some_and(|member| member.asked.remove(&token).is_some());
        if known {
            let lease = match &answer {
                Ok(AdminOutcome::Lease(lease)) => Some(lease),
                _ => None,
            };
            self.note_granted(host, token, lease);
            self.note_answer(&answer);
            self.oversee(host, OverseerEvent::Answered { token, answer });
        }
    }

    // --- Who leads ---

    /// Whether a host could lead: it runs, and a majority is linked with it.
    fn could_lead(&self, host: usize) -> bool {
        let runs = |host: usize| {
            let up = |it: &Host| it.process.is_some() && it.paused_until <= self.now;
            self.hosts.get(host).is_some_and(up) && !self.has_stopped(host)
        };
        let linked =
            |other: &usize| *other == host || (runs(*other) && self.network.is_up(host, *other));
        let voters = 0..self.voters();
        runs(host) && voters.contains(&host) && voters.filter(linked).count() >= self.majority()
    }

    fn is_leading(&self, host: usize) -> bool {
        self.could_lead(host) && self.leader_of(host) == Some(host)
    }

    /// Finds another leader when the present one has been without a majority for a while.
    pub(super) fn look_at_leader(&mut self) {
        let overseen = self.hosts.iter().any(|host| host.oversight.is_some());
        if !overseen || self.group.leader.is_some_and(|leader| self.is_leading(leader)) {
            self.group.election = None;
            return;
        }
        match self.group.election {
            None => self.group.election = self.election(),
            Some(Election { at, who }) if at <= self.now => self.elect(who),
            Some(_) => {}
        }
    }

    /// From now on elections take as long as these waits make them.
    pub fn set_elections(&mut self, patience: Patience) {
        self.group.patience = Some(patience);
    }

    /// Who stands for election first, and when that one has the votes; none while nobody can lead.
    fn election(&mut self) -> Option<Election> {
        let Some(Patience { waits, tick }) = self.group.patience.clone() else {
            let (low, high) = ELECTION;
            let takes = self.random.between(low, high);
            return Some(Election { at: self.now + micros(takes), who: None });
        };
        // Who led on without a majority, and has one again, goes on.
        if let Some(leader) = self.group.leader.filter(|leader| self.could_lead(*leader)) {
            return Some(Election { at: self.now + self.vote(leader), who: Some(leader) });
        }
        let tick = micros(tick).max(1);
        let able: Vec<_> =
            waits.into_iter().enumerate().filter(|(host, _)| self.could_lead(*host)).collect();
        let elections = able.into_iter().map(|(host, (least, most))| {
            let waits = micros(self.random.between(least, most));
            // The leader was last heard up to a tick ago, and the wait ends with a tick.
            let (heard, looks) = (self.random.below(tick), self.random.below(tick));
            let stands = self.now + (waits + looks).saturating_sub(heard);
            Election { at: stands + self.vote(host), who: Some(host) }
        });
        elections.min_by_key(|election| election.at)
    }

    /// How long a host waits for the votes of a majority: for the farthest of the nearest that make one.
    fn vote(&mut self, host: usize) -> u64 {
        let votes = |other: &usize| *other != host && self.network.is_up(host, *other);
        let others: Vec<usize> = (0..self.voters()).filter(votes).collect();
        let mut trips: Vec<u64> =
            others.into_iter().map(|other| self.round_trip(host, other)).collect();
        trips.sort_unstable();
        trips.get(self.majority().saturating_sub(2)).copied().unwrap_or(0)
    }

    /// Another host leads from now on, if any can: the one that is named, or else any.
    pub(crate) fn elect(&mut self, named: Option<usize>) {
        let present = self.group.leader.filter(|leader| self.is_leading(*leader));
        let can = |host: &usize| Some(*host) != present && self.could_lead(*host);
        let able: Vec<usize> = (0..self.hosts.len()).filter(can).collect();
        let named = named.filter(|host| able.contains(host));
        let Some(leader) = named.or_else(|| self.random.pick(&able).copied()) else { return };
        self.group.term += 1;
        self.branches.note(Branch::LeaderChanged);
        self.group.leader = Some(leader);
        self.group.election = None;
        let (term, now, through) = (self.group.term, self.now, self.group.through());
        let voted: Vec<usize> = (0..self.hosts.len())
            .filter(|other| *other != leader && self.network.is_up(leader, *other))
            .filter(|other| !self.has_stopped(*other))
            .collect();
        if let Some(machine) = self.hosts.get_mut(leader) {
            machine.seat.term = term;
        }
        if let Some(member) = self.member(leader) {
            member.leader = Some((leader, now));
            member.rounds.clear();
            member.heard = voted.iter().map(|other| (*other, now)).collect();
        }
        for other in voted {
            if let Some(machine) = self.hosts.get_mut(other) {
                machine.seat.term = term;
            }
        }
        self.apply(leader, through);
        self.plan(0, leader, What::Group(Deed::Lead { term }));
    }

    /// What a leader that is gone had not agreed on is lost.
    pub(super) fn leader_gone(&mut self, host: usize) {
        self.group.pending.retain(|_, pending| pending.leader != host);
        if self.group.leader == Some(host) {
            self.group.leader = None;
        }
    }
}
