//! The administrative machine: what the cluster agrees on.
//!
//! A deterministic machine of bytes in and bytes out, for a consensus group to replicate; its
//! methods are those of `ports::control::Replicated`. Every command is checked whole before
//! anything changes, so a refusal changes nothing but the audit chain. No bytes make it panic: what
//! cannot be read is refused.
//!
//! Every command leaves an audit entry, refused ones too. Two do not, because they change no duty
//! and come every few seconds: a lease renewal that is granted, and a published audit head.
//!
//! Deliberately absent: time. A lease is numbers here; [`crate::lease`] turns them into time. What
//! compares times (expiry of tokens, age of votes) compares those that commands carry.

use bytes::Bytes;
use rhumb_types::{
    control::{
        AdminAnswer, AdminCommand, AdminOutcome, AdminQuery, AdminQueryAnswer, AdminRefusal,
        AdminRequest, ControlView, limits::COMMAND_BYTES_MAX,
    },
    planted::{self, Planted},
    record::Record,
};

mod agreed;
mod describe;
mod documents;
mod failovers;
mod homes;
mod leases;
mod members;
mod read;
mod regions;
mod tokens;
mod validate;
mod votes;

#[cfg(test)]
mod frozen;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

use agreed::Agreed;

use crate::audit::{Anchor, Deed};

/// The replicated machine of the administrative group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdminMachine {
    agreed: Agreed,
}

impl AdminMachine {
    /// A machine that has agreed on nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies an agreed [`AdminRequest`] and answers with an encoded [`AdminAnswer`].
    pub fn apply(&mut self, index: u64, command: &[u8]) -> Bytes {
        self.agreed.applied = index;
        let answer = match read_request(command) {
            Ok(request) => self.apply_request(&request),
            Err(refusal) => {
                self.agreed.chain.append(describe::unreadable(command));
                Err(refusal)
            }
        };
        AdminAnswer(answer).encode()
    }

    fn apply_request(&mut self, request: &AdminRequest) -> Result<AdminOutcome, AdminRefusal> {
        match &request.command {
            AdminCommand::Together { commands } => self.apply_together(request, commands),
            _ => self.apply_one(request),
        }
    }

    /// All or none. A refusal leaves the one audit entry that says which was refused.
    fn apply_together(
        &mut self,
        request: &AdminRequest,
        commands: &[AdminCommand],
    ) -> Result<AdminOutcome, AdminRefusal> {
        if let Err(refusal) = validate::together(commands) {
            self.agreed.chain.append(describe::deed(request, &Err(refusal.clone())));
            return Err(refusal);
        }
        let mut fresh = self.clone();
        let mut last = AdminOutcome::Unchanged;
        for command in commands {
            let one = AdminRequest { command: command.clone(), ..request.clone() };
            last = fresh.apply_one(&one).inspect_err(|refusal| {
                self.agreed.chain.append(describe::deed(&one, &Err(refusal.clone())));
            })?;
        }
        *self = fresh;
        Ok(last)
    }

    fn apply_one(&mut self, request: &AdminRequest) -> Result<AdminOutcome, AdminRefusal> {
        let answer = validate::request(request)
            .and_then(|()| self.agreed.admit(&request.command))
            .and_then(|()| self.agreed.execute(request));
        let silent = matches!(
            request.command,
            AdminCommand::RenewLease { .. } | AdminCommand::PublishHead { .. }
        );
        let left_out = matches!(request.command, AdminCommand::ReleaseLease { .. })
            && planted::is(Planted::AuditGap);
        if !(silent && answer.is_ok() || left_out) {
            let deed: Deed = describe::deed(request, &answer);
            self.agreed.chain.append(deed);
        }
        answer
    }

    /// Answers an encoded [`AdminQuery`] with an encoded [`AdminQueryAnswer`].
    #[must_use]
    pub fn read(&self, query: &[u8]) -> Bytes {
        let answer = match AdminQuery::decode(query) {
            Ok(query) => self.query(&query),
            Err(error) => AdminQueryAnswer::Refused(AdminRefusal::Unreadable(error.to_string())),
        };
        answer.encode()
    }

    /// Answers a question.
    #[must_use]
    pub fn query(&self, query: &AdminQuery) -> AdminQueryAnswer {
        self.agreed.answer(query)
    }

    /// What routing and ownership follow.
    #[must_use]
    pub fn view(&self) -> ControlView {
        self.agreed.view()
    }

    /// The audit chain's last entry, for a region to sign.
    #[must_use]
    pub fn audit_head(&self) -> Anchor {
        self.agreed.chain.head()
    }

    /// The entry before the first that the agreed state still keeps.
    #[must_use]
    pub const fn audit_anchor(&self) -> Anchor {
        self.agreed.chain.anchor()
    }

    /// The whole state.
    #[must_use]
    pub fn snapshot(&self) -> Bytes {
        self.agreed.encode()
    }

    /// Replaces the state.
    ///
    /// # Errors
    /// What is wrong with the bytes, in words; the state is unchanged then.
    pub fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.agreed = Agreed::decode(snapshot).map_err(|error| error.to_string())?;
        Ok(())
    }
}

fn read_request(command: &[u8]) -> Result<AdminRequest, AdminRefusal> {
    if command.len() > COMMAND_BYTES_MAX {
        let problem = format!("{} bytes, and {COMMAND_BYTES_MAX} are the most", command.len());
        return Err(AdminRefusal::Unreadable(problem));
    }
    AdminRequest::decode(command).map_err(|error| AdminRefusal::Unreadable(error.to_string()))
}
