//! What nodes answer, deliver and raise while a run lasts.

use rhumb_node::{Effect, RequestId, SubmitError};
use rhumb_types::{AckLevel, record::VersionVector};

use super::Run;
use crate::{branch::Branch, check::Check};

/// After this long a node whose clock is far off must know it, in microseconds.
const CLOCK_KNOWN_MICROS: u64 = 2_000_000;

impl Run {
    pub(super) fn effect(&mut self, host: usize, effect: Effect) {
        match effect {
            Effect::Reply { request, result, written } => {
                match &result {
                    Ok(_) => self.acknowledged(host, request, &written),
                    Err(error) => self.refused(error),
                }
                self.work.registers.answered(&mut self.world, request, result.as_deref());
                self.work.answered(request, result.as_deref().map_err(|_| ()));
            }
            Effect::Owned { request, result, written } => {
                let level = self.work.owned.level(request).filter(|_| result.is_ok());
                if let Some(ack) = level {
                    self.confirmed(host, ack, &written);
                }
                match &result {
                    Ok(rows) if rows.iter().any(|row| row.pinned) => {
                        self.world.branches.note(Branch::Pinned);
                    }
                    Ok(_) => {}
                    Err(error) => self.refused(error),
                }
                self.work.owned.answered(request, result);
            }
            Effect::Deliver(message) => {
                let publisher = self.work.published.get(&message.payload).copied();
                let publisher = publisher.unwrap_or(usize::MAX);
                self.world.checker.delivered(host, publisher, &message);
            }
            _ => {}
        }
    }

    fn refused(&mut self, error: &SubmitError) {
        let branch = match error {
            SubmitError::Unconfirmed { .. } => Branch::Unconfirmed,
            SubmitError::Fenced { .. } => Branch::Fenced,
            SubmitError::NotOwner(_) => Branch::NotOwner,
            _ => return,
        };
        self.world.branches.note(branch);
    }

    fn acknowledged(&mut self, host: usize, request: RequestId, written: &VersionVector) {
        let of_register = || self.work.registers.level(request);
        let Some(ack) = self.work.level(request).or_else(of_register) else { return };
        self.confirmed(host, ack, written);
        if let Some(missing) = self.work.unseen(request, &self.world) {
            self.world.checker.violated(Check::OwnWrites, missing);
        }
    }

    /// A write was answered with a yes: who has it, and whether the clock allows it.
    fn confirmed(&mut self, host: usize, ack: AckLevel, written: &VersionVector) {
        self.world.checker.acknowledged(host, ack, written);
        let starts: u64 = self.world.hosts.iter().map(|host| host.incarnation).sum();
        let since = self.off_since.get(&host).filter(|(_, lives, _)| *lives == starts);
        let now = self.world.now();
        if ack <= AckLevel::Local && since.is_some_and(|(at, ..)| now - at > CLOCK_KNOWN_MICROS) {
            let what = format!("host {host} answers while its clock is far off");
            self.world.checker.violated(Check::Clocks, what);
        }
    }

    /// Notes which hosts have a clock that is far off, and can know it: all links stand, and the
    /// clocks of the others are right.
    pub(super) fn watch_clocks(&mut self) {
        if self.off_since.is_empty() && self.world.hosts.iter().all(|it| it.wall_offset == 0) {
            return;
        }
        let now = self.world.now();
        let hosts = self.world.hosts.len();
        // Who starts anew has to find out anew.
        let starts = self.world.hosts.iter().map(|host| host.incarnation).sum();
        for host in 0..hosts {
            let off = self.world.hosts.get(host).map_or(0, |machine| machine.wall_offset);
            // A clock that jumps again has to be found out again.
            let same = |(_, lives, known): &(u64, u64, i64)| *lives == starts && *known == off;
            let known = self.off_since.get(&host).is_none_or(same);
            if self.world.can_know_its_clock(host) && known {
                self.off_since.entry(host).or_insert((now, starts, off));
            } else {
                self.off_since.remove(&host);
            }
        }
    }
}
