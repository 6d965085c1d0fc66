//! How proposals ended.

use rhumb_regions::lease::LeaseAttempt;
use rhumb_types::{
    RegionId, Timestamp,
    control::{AdminOutcome, AdminRefusal},
};

use super::{Overseer, OverseerEffects, Token, proposals::Purpose, words::ProposalError};
use crate::{limits::LEASE_PAUSE, status::Phase};

impl Overseer {
    pub(super) fn answered(
        &mut self,
        now: Timestamp,
        token: Token,
        answer: Result<AdminOutcome, ProposalError>,
        out: &mut OverseerEffects,
    ) {
        let Some(purpose) = self.proposals.take(token) else { return };
        if answer.is_err() {
            self.proposals.failed(now.mono, &purpose);
        }
        match purpose {
            Purpose::Lease(region, attempt) => {
                self.lease_answered(now, &region, attempt, answer);
                self.publish_leases(now, out);
            }
            // A refused vote waits for its turn, as one that counted does.
            Purpose::Vote(_) if is_lost(&answer) => self.revote(&purpose),
            Purpose::Head(index) if answer.is_ok() => self.audit_published = index,
            Purpose::StartFailover(region) => self.start_answered(&region, answer, out),
            Purpose::Run(id) => {
                let Some(run) = self.runs.get_mut(&id) else { return };
                let fate = run.answered(now, token, answer);
                self.run_answered(now, id, &fate);
                self.drive_runs(now, out);
            }
            Purpose::Form | Purpose::Join | Purpose::Version | Purpose::Identity => match answer {
                // Another node was first.
                Ok(_) | Err(ProposalError::Refused(AdminRefusal::AlreadyFormed)) => {}
                Err(ProposalError::Refused(refusal)) => {
                    out.alarm(format!("the control plane refused this node: {refusal}"));
                }
                Err(_) => {}
            },
            Purpose::Release(region) if answer.is_ok() && self.status.phase == Phase::Failed => {
                self.given_up.insert(region);
            }
            // Rules that an operator put first stay.
            Purpose::Vote(_)
            | Purpose::Head(_)
            | Purpose::Homes(_)
            | Purpose::Release(_)
            | Purpose::Rules => {}
        }
    }

    fn lease_answered(
        &mut self,
        now: Timestamp,
        region: &RegionId,
        attempt: LeaseAttempt,
        answer: Result<AdminOutcome, ProposalError>,
    ) {
        if matches!(answer, Err(ProposalError::Refused(_))) {
            self.lease_after.insert(region.clone(), now.mono + LEASE_PAUSE);
        }
        let holder = self.holder(region);
        match answer {
            Ok(AdminOutcome::Lease(lease)) => holder.on_granted(now.mono, attempt, &lease),
            Ok(_) | Err(_) => holder.on_not_granted(attempt),
        }
    }

    fn start_answered(
        &mut self,
        region: &RegionId,
        answer: Result<AdminOutcome, ProposalError>,
        out: &mut OverseerEffects,
    ) {
        match answer {
            Ok(_) => {}
            Err(ProposalError::Refused(refusal)) => {
                out.alarm(format!("the failover of {region} was refused: {refusal}"));
            }
            Err(_) => {
                self.started.remove(region);
            }
        }
    }
}

/// Whether nobody may have heard it.
const fn is_lost(answer: &Result<AdminOutcome, ProposalError>) -> bool {
    matches!(answer, Err(ProposalError::NotAgreed(_) | ProposalError::Unknown))
}
