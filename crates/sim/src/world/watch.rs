//! What nodes and the group do rarely, as it shows from outside.

use rhumb_node::{Alarm, Effect, Phase, oversee::ProposalError};
use rhumb_ports::peer::PeerMessage;
use rhumb_types::{
    OriginId,
    control::{AdminCommand, AdminOutcome, AdminRequest},
    record::Record,
};

use super::World;
use crate::branch::Branch;

/// The whole of a region's keys.
const ALL_PERCENT: u8 = 100;

impl World {
    pub(super) fn watch_effect(&mut self, host: usize, effect: &Effect) {
        let branch = match effect {
            Effect::Alarm(alarm) => {
                self.note(host, format_args!("ALARM {alarm:?}"));
                match alarm {
                    Alarm::Disk(_) => Branch::DiskFailed,
                    Alarm::Clock { .. } => Branch::ClockFar,
                    Alarm::ClockRecovered => Branch::ClockNear,
                    Alarm::StampBeyondBound { .. } => Branch::StampBeyondBound,
                    Alarm::Parked { .. } => Branch::LogParked,
                    Alarm::OriginMinted { reason, .. } if reason.contains("holds more") => {
                        Branch::MintedRewound
                    }
                    Alarm::OriginMinted { .. } => Branch::MintedUnproven,
                    Alarm::Bootstrapping { .. } => Branch::SnapshotBegun,
                    _ => return,
                }
            }
            Effect::Status(status) => {
                let Some(process) = self.process(host) else { return };
                let loaded = process.seen.loading && status.phase == Phase::Running;
                process.seen.loading = status.phase == Phase::Loading;
                if !loaded {
                    return;
                }
                Branch::SnapshotLoaded
            }
            _ => return,
        };
        self.branches.note(branch);
    }

    pub(super) fn watch_message(&mut self, from: usize, to: usize, message: &PeerMessage) {
        match message {
            PeerMessage::Trimmed { .. } => self.branches.note(Branch::LogTrimmed),
            PeerMessage::Follow { origin, .. } => {
                let connection = self.network.link(from, to).connection;
                let Some(process) = self.process(from) else { return };
                let before = process.seen.asked.insert((*origin, to), connection);
                if before == Some(connection) {
                    self.branches.note(Branch::FollowedAgain);
                }
            }
            PeerMessage::Unfollow { origin } => {
                if let Some(process) = self.process(from) {
                    process.seen.asked.remove(&(*origin, to));
                }
            }
            PeerMessage::Log(batch) if self.served_for_other(from, batch.origin) => {
                self.branches.note(Branch::ServedForOther);
            }
            _ => {}
        }
    }

    /// Whether a log was written by another region than the one that serves it.
    fn served_for_other(&self, host: usize, origin: OriginId) -> bool {
        let writer = self.checker.writer(origin);
        writer.is_some_and(|writer| Some(writer) != self.checker.carried().region(host))
    }

    /// Something is agreed on.
    pub(super) fn note_agreed(&mut self, request: &[u8]) {
        let Ok(request) = AdminRequest::decode(request) else { return };
        let together = match &request.command {
            AdminCommand::Together { commands, .. } => commands.as_slice(),
            alone => std::slice::from_ref(alone),
        };
        for command in together {
            self.history.note(self.now, None, format_args!("AGREED {command:?}"));
            let branch = match command {
                AdminCommand::TakeOverLease { .. } => Branch::TakenOver,
                AdminCommand::ReleaseLease { .. } => Branch::Released,
                AdminCommand::SetRamp { percent: ALL_PERCENT, .. } => Branch::RampedUp,
                _ => continue,
            };
            self.branches.note(branch);
        }
    }

    pub(super) fn note_answer(&mut self, answer: &Result<AdminOutcome, ProposalError>) {
        let branch = match answer {
            Err(ProposalError::Unknown) => Branch::ProposalUnknown,
            Err(ProposalError::Refused(_)) => Branch::ProposalRefused,
            _ => return,
        };
        self.branches.note(branch);
    }
}
