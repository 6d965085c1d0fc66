//! What an operator asks for: a dry run, a failover, a drain, a fail-back, an approval.
//!
//! Each is agreed before it begins and can be followed by its record.

use rhumb_node::oversee;
use rhumb_regions::failover::{DryRun, table};
use rhumb_types::{
    ErrorCode, RegionId,
    control::{
        AdminCommand, AdminOutcome, AdminQuery, AdminQueryAnswer, AdminRefusal, AdminState,
        DutyMove, FailoverId, FailoverKind, FailoverRecord, FailoverState, FailoverStep,
        FailoverStrategy,
    },
};

use super::QUEUES_DUTY;
use crate::{
    Engine,
    agreement::{AdminClient, AdminError},
};

/// Who asks for something, why, and under which key: asking twice with one key starts one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// A token's id.
    pub actor: String,
    /// Why; it stands in the audit chain.
    pub reason: String,
    /// The caller's idempotency key.
    pub key: String,
    /// Whether the region is waited for; as configured when `None`.
    pub strategy: Option<FailoverStrategy>,
}

/// Why an operation was not begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperateError {
    /// The overseer does not run.
    #[error("this node's overseer is not started")]
    Off,
    /// The control plane did not agree.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// It cannot be called off any more.
    #[error("failover {} is past the point of return: fail back instead", .0.0)]
    PastReturn(FailoverId),
}

impl OperateError {
    /// What a caller sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Off => ErrorCode::Unavailable,
            Self::Admin(error) => error.code(),
            Self::PastReturn(_) => ErrorCode::Conflict,
        }
    }
}

impl Engine {
    /// Which duties of a region would move where, and whether the survivors can carry them.
    /// Nothing is changed.
    ///
    /// # Errors
    /// [`OperateError`].
    pub fn dry_run(&self, region: &RegionId) -> Result<DryRun, OperateError> {
        let oversight = self.shared().oversight.get().ok_or(OperateError::Off)?;
        let view = self.operator()?.view();
        if !view.regions.contains_key(region) {
            let unknown = AdminRefusal::UnknownRegion(region.clone());
            return Err(AdminError::Refused(unknown).into());
        }
        let snapshot = oversight.routing.borrow().clone();
        let duties = oversight.duties.borrow().get(region).cloned().unwrap_or_default();
        let ceiling = oversight.config.failover.ceiling;
        Ok(oversee::dry_run(region, snapshot.facts(), &view, &duties, ceiling))
    }

    /// Moves a region's duties because it is down. An operator's word is the approval, whatever
    /// the configured mode.
    ///
    /// # Errors
    /// [`OperateError`].
    pub async fn failover(
        &self,
        region: &RegionId,
        operation: Operation,
    ) -> Result<FailoverRecord, OperateError> {
        self.start_run(region, FailoverKind::Failover, operation).await
    }

    /// Moves a region's duties in order.
    ///
    /// # Errors
    /// [`OperateError`].
    pub async fn drain(
        &self,
        region: &RegionId,
        operation: Operation,
    ) -> Result<FailoverRecord, OperateError> {
        let graceful = operation.strategy.or(Some(FailoverStrategy::Graceful));
        let operation = Operation { strategy: graceful, ..operation };
        self.start_run(region, FailoverKind::Drain, operation).await
    }

    /// Gives a region its duties back, in a ramp, once it has caught up.
    ///
    /// # Errors
    /// [`OperateError`].
    pub async fn failback(
        &self,
        region: &RegionId,
        operation: Operation,
    ) -> Result<FailoverRecord, OperateError> {
        self.start_run(region, FailoverKind::FailBack, operation).await
    }

    /// A failover's record, as agreed.
    ///
    /// # Errors
    /// [`OperateError`].
    pub async fn failover_record(&self, id: FailoverId) -> Result<FailoverRecord, OperateError> {
        read_record(self.operator()?, id).await
    }

    /// Lets a failover run that waits for a person; `operation`'s key is not needed.
    ///
    /// # Errors
    /// [`OperateError`]; when the record has changed meanwhile, nothing was done.
    pub async fn approve_failover(
        &self,
        id: FailoverId,
        operation: &Operation,
    ) -> Result<FailoverRecord, OperateError> {
        let admin = self.operator()?;
        let record = read_record(admin, id).await?;
        if record.state == FailoverState::AwaitingApproval {
            let (sequence, state) = (record.sequence, FailoverState::Running);
            let command = AdminCommand::AdvanceFailover { id, sequence, state, step: None };
            admin.propose(&operation.actor, &operation.reason, command).await?;
        }
        read_record(admin, id).await
    }

    /// Calls a failover off, as long as nothing was taken over.
    ///
    /// # Errors
    /// [`OperateError`]; when the record has changed meanwhile, nothing was done.
    pub async fn cancel_failover(
        &self,
        id: FailoverId,
        operation: &Operation,
    ) -> Result<FailoverRecord, OperateError> {
        let admin = self.operator()?;
        let record = read_record(admin, id).await?;
        let step = record.steps.last().map_or(table::FIRST, |line| line.step);
        if record.plan.kind == FailoverKind::FailBack || !table::may_cancel(step) {
            return Err(OperateError::PastReturn(id));
        }
        let (sequence, state) = (record.sequence, FailoverState::Cancelled);
        // The record first: whoever runs it is fenced off by its sequence.
        let command = AdminCommand::AdvanceFailover { id, sequence, state, step: None };
        let Operation { actor, reason, .. } = operation;
        admin.propose(actor, reason, command).await?;
        if step != FailoverStep::Detect {
            let region = record.plan.region.clone();
            let state = AdminState::Active;
            let back = AdminCommand::SetRegionState { region, state, expected: None };
            admin.propose(actor, reason, back).await?;
            let (region, percent) = (record.plan.region, 100);
            admin.propose(actor, reason, AdminCommand::SetRamp { region, percent }).await?;
        }
        read_record(admin, id).await
    }

    async fn start_run(
        &self,
        region: &RegionId,
        kind: FailoverKind,
        operation: Operation,
    ) -> Result<FailoverRecord, OperateError> {
        let oversight = self.shared().oversight.get().ok_or(OperateError::Off)?;
        let admin = self.operator()?;
        let mut dry_run = self.dry_run(region)?;
        if kind == FailoverKind::Drain && self.queues().is_some() {
            let (from, to) = (region.clone(), dry_run.successor.clone());
            dry_run.moves.push(DutyMove { duty: QUEUES_DUTY.to_owned(), from, to, load: 0 });
        }
        let Operation { actor, reason, key, strategy } = operation;
        let mut plan = oversee::plan(region, kind, &key, &dry_run, &oversight.config.failover);
        // Asked for by a person, it needs no other approval.
        plan.mode = rhumb_types::control::FailoverMode::Manual;
        plan.strategy = strategy.unwrap_or(plan.strategy);
        let command = AdminCommand::StartFailover { plan };
        match admin.propose(&actor, &reason, command).await? {
            AdminOutcome::Failover { id, .. } => read_record(admin, id).await,
            other => Err(foreign(&other)),
        }
    }

    fn operator(&self) -> Result<&AdminClient, OperateError> {
        self.admin().ok_or(OperateError::Off)
    }
}

async fn read_record(admin: &AdminClient, id: FailoverId) -> Result<FailoverRecord, OperateError> {
    let records = match admin.query(&AdminQuery::Failover { id }).await? {
        AdminQueryAnswer::Failovers(records) => records,
        _ => Vec::new(),
    };
    let unknown = || AdminRefusal::NotFound(format!("failover {}", id.0));
    records.into_iter().next().ok_or_else(|| AdminError::Refused(unknown()).into())
}

fn foreign(outcome: &AdminOutcome) -> OperateError {
    let problem = format!("an answer that belongs to another command: {outcome:?}");
    AdminError::Refused(AdminRefusal::Unreadable(problem)).into()
}
