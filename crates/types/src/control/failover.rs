//! Failover records: what is moved, why, and how far it has come.

use serde::{Deserialize, Serialize};

use crate::{RegionId, UnixMillis};

/// The number of a failover record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FailoverId(pub u64);

/// What a run of the run-book is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailoverKind {
    /// Moves a region's duties because it is down.
    Failover,
    /// Moves them in order, because an operator asked.
    Drain,
    /// Gives them back in a ramp.
    FailBack,
}

/// Who decides that a failover runs.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum FailoverMode {
    /// An operator starts it.
    Manual,
    /// A verdict prepares it, and an operator approves it once.
    #[default]
    Assisted,
    /// A verdict starts it.
    Automatic,
}

/// Whether the region that gives up its duties is waited for.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum FailoverStrategy {
    /// It drains first, as long as it answers.
    #[default]
    Graceful,
    /// It is not asked.
    Immediate,
}

/// The steps of the run-book, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailoverStep {
    /// It was noticed, or asked for; the plan is checked, and an approval awaited if need be.
    Detect,
    /// New work goes elsewhere.
    StopRouting,
    /// Work in hand is finished.
    Drain,
    /// The lease is waited out, or released.
    Fence,
    /// The survivors take the duties under a new epoch.
    TakeOver,
    /// The survivors are watched while they carry them.
    Watch,
    /// The returned region catches up, and gets its share back in a ramp.
    FailBack,
}

impl FailoverStep {
    /// All of them, in their order.
    pub const ALL: [Self; 7] = [
        Self::Detect,
        Self::StopRouting,
        Self::Drain,
        Self::Fence,
        Self::TakeOver,
        Self::Watch,
        Self::FailBack,
    ];

    /// Its name, as in records and configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::StopRouting => "stop_routing",
            Self::Drain => "drain",
            Self::Fence => "fence",
            Self::TakeOver => "take_over",
            Self::Watch => "watch",
            Self::FailBack => "fail_back",
        }
    }
}

/// How one step went.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It has begun.
    Running,
    /// It is done.
    Done,
    /// It failed or timed out.
    Failed,
    /// It did not apply.
    Skipped,
}

/// One line of a record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StepRecord {
    /// Which step.
    pub step: FailoverStep,
    /// How it went.
    pub state: StepState,
    /// When it began.
    pub started: UnixMillis,
    /// When it ended.
    pub finished: Option<UnixMillis>,
    /// Which try, from 1.
    pub attempt: u8,
    /// What there is to say.
    pub note: String,
}

/// One duty on its way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DutyMove {
    /// What it is, such as a queue or a bucket.
    pub duty: String,
    /// Where it was.
    pub from: RegionId,
    /// Where it goes; `None` when no survivor can carry it.
    pub to: Option<RegionId>,
    /// What it weighs, in the units of the regions' capacity.
    pub load: u64,
}

/// What is to be moved and how.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FailoverPlan {
    /// The caller's key: asking twice with one key starts one failover.
    pub idempotency_key: String,
    /// Whose duties move, or return.
    pub region: RegionId,
    /// What it is for.
    pub kind: FailoverKind,
    /// Who decides.
    pub mode: FailoverMode,
    /// Whether the region is waited for.
    pub strategy: FailoverStrategy,
    /// Who takes the region's lease.
    pub successor: Option<RegionId>,
    /// Which duties go where.
    pub moves: Vec<DutyMove>,
}

/// Where a failover stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailoverState {
    /// It waits for an operator.
    AwaitingApproval,
    /// It runs.
    Running,
    /// The duties are where they should be.
    Succeeded,
    /// It gave up; the last step says why.
    Failed,
    /// An operator stopped it, or the region came back before anything moved.
    Cancelled,
}

impl FailoverState {
    /// Whether nothing more will happen.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// A failover that can be followed to its end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FailoverRecord {
    /// Its number.
    pub id: FailoverId,
    /// What is moved and how.
    pub plan: FailoverPlan,
    /// Why.
    pub reason: String,
    /// Who started it.
    pub actor: String,
    /// When.
    pub started: UnixMillis,
    /// Where it stands.
    pub state: FailoverState,
    /// Counts the changes of this record; what the next change must name.
    pub sequence: u64,
    /// What happened.
    pub steps: Vec<StepRecord>,
}
