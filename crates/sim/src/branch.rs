//! Rare things that nodes do, counted as they are seen from outside.
//!
//! A campaign in which one of them never happened has not tried what it claims to try. They are
//! counted by alarms, answers, messages and status, so that no machine knows that it is counted.

/// Something rare that a node or the group did.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Branch {
    /// A node began to load a snapshot, because a log is no longer kept far enough back.
    SnapshotBegun,
    /// It took writes again afterwards.
    SnapshotLoaded,
    /// A peer was told that the log it asks for starts later.
    LogTrimmed,
    /// A log was parked because its reader could not read it (rule 16).
    LogParked,
    /// A log was asked for again over the connection that carried it: something was missing.
    FollowedAgain,
    /// The log of a region was served by another one.
    ServedForOther,
    /// A start found that a peer knows more of its log, and wrote under a new origin (rule 1).
    MintedRewound,
    /// A start was not confirmed by every peer in time, and wrote under a new origin (rule 1).
    MintedUnproven,
    /// A write was answered `UNCONFIRMED` (rule 13).
    Unconfirmed,
    /// A client gave a call up, or was told that its outcome is not known.
    GivenUp,
    /// A node found its own clock far off (rule 8).
    ClockFar,
    /// It found it right again.
    ClockNear,
    /// A received stamp was beyond the clock's bound (rule 8).
    StampBeyondBound,
    /// A disk failed under a node.
    DiskFailed,
    /// A connection was reset.
    LinkReset,
    /// A message overtook one that the same host had sent to the same peer before, over another connection.
    Overtaken,
    /// A packet was lost and sent again.
    Retransmitted,
    /// A batch was written whole when its process ended, and nobody had heard of it.
    WrittenUnanswered,
    /// Two faults began at once on the same link.
    TwoAtOnce,
    /// An owned row was accepted without a lease, and pinned (rule 5).
    Pinned,
    /// A lease ran out between an owned write and its answer (rule 4).
    Fenced,
    /// An owned write was refused, for the lease is another's.
    NotOwner,
    /// A region took the lease of another.
    TakenOver,
    /// A lease was given up by its holder.
    Released,
    /// A region was fully in use again after a failover.
    RampedUp,
    /// A job was taken in without a lease, and pinned.
    JobPinned,
    /// A job was taken in that was there already.
    JobDuplicate,
    /// A job was sent on to another region, which had room.
    JobSpilled,
    /// A job was leased that had been leased before.
    JobRepeated,
    /// Jobs were held back after a takeover or a restart, for somebody may have them.
    JobsHeld,
    /// A job died, and went to the dead letters.
    JobDied,
    /// A receipt did not count any more.
    ReceiptStale,
    /// The outcome of a request to the queues was not known.
    JobUnconfirmed,
    /// An upload was answered with fewer copies than it asked for.
    UploadDegraded,
    /// A region stood in for one that took no copy.
    SpareUsed,
    /// An upload was refused, because the bucket's bytes may not lie there.
    UploadNotHere,
    /// A blob could not be written.
    BlobRefused,
    /// A blob came from another region.
    BlobFetched,
    /// A damaged blob was fetched again.
    BlobRepaired,
    /// A holder removed a blob that it was granted.
    BlobRemoved,
    /// A home granted a removal.
    Granted,
    /// A holder refused a grant.
    GrantRefused,
    /// A blob was held without a row that says so.
    HeldUnsaid,
    /// An object was found in another region.
    FoundElsewhere,
    /// A miss could not be told, because a region that may know did not answer.
    MissUnsure,
    /// Bytes were read from another region.
    ReadThrough,
    /// A region keeps a copy of what it read often.
    Promoted,
    /// A row was changed while a change of it was worked out.
    ChangedMeanwhile,
    /// A home could not confirm what it knows to a majority, and did not say it.
    AnswerUnsettled,
    /// A home could not begin its term, for a majority did not hear of it.
    TermUnknown,
    /// What was decided in an earlier term came late where nobody had decided since, and was decided anew.
    LateSettled,
    /// It came late beside something else, and went.
    LateDropped,
    /// That an object is not there was forgotten.
    GoneForgotten,
    /// A change or a read came where the home of its key is not acted for.
    HomeMoved,
    /// The home of a key moved to another region, and nobody decided for it.
    HomeMoves,
    /// An upload in parts that was left was given up.
    UploadAged,
    /// An upload in parts was completed.
    PartsJoined,
    /// Parts of an upload that had ended were taken away.
    PartsSwept,
    /// Another host came to lead the group.
    LeaderChanged,
    /// A proposal ended with nobody knowing whether it was agreed.
    ProposalUnknown,
    /// The agreed machine refused a command.
    ProposalRefused,
    /// Regions wait for what a disk of one domain has lost and nobody else had. So rare that no campaign
    /// asks for it.
    NobodyHas,
}

impl Branch {
    /// Every one.
    pub const ALL: [Self; 61] = [
        Self::SnapshotBegun,
        Self::SnapshotLoaded,
        Self::LogTrimmed,
        Self::LogParked,
        Self::FollowedAgain,
        Self::ServedForOther,
        Self::MintedRewound,
        Self::MintedUnproven,
        Self::Unconfirmed,
        Self::GivenUp,
        Self::ClockFar,
        Self::ClockNear,
        Self::StampBeyondBound,
        Self::DiskFailed,
        Self::LinkReset,
        Self::Overtaken,
        Self::Retransmitted,
        Self::WrittenUnanswered,
        Self::TwoAtOnce,
        Self::Pinned,
        Self::Fenced,
        Self::NotOwner,
        Self::TakenOver,
        Self::Released,
        Self::RampedUp,
        Self::JobPinned,
        Self::JobDuplicate,
        Self::JobSpilled,
        Self::JobRepeated,
        Self::JobsHeld,
        Self::JobDied,
        Self::ReceiptStale,
        Self::JobUnconfirmed,
        Self::UploadDegraded,
        Self::SpareUsed,
        Self::UploadNotHere,
        Self::BlobRefused,
        Self::BlobFetched,
        Self::BlobRepaired,
        Self::BlobRemoved,
        Self::Granted,
        Self::GrantRefused,
        Self::HeldUnsaid,
        Self::FoundElsewhere,
        Self::MissUnsure,
        Self::ReadThrough,
        Self::Promoted,
        Self::ChangedMeanwhile,
        Self::AnswerUnsettled,
        Self::TermUnknown,
        Self::LateSettled,
        Self::LateDropped,
        Self::GoneForgotten,
        Self::HomeMoved,
        Self::HomeMoves,
        Self::UploadAged,
        Self::PartsJoined,
        Self::PartsSwept,
        Self::LeaderChanged,
        Self::ProposalUnknown,
        Self::ProposalRefused,
    ];
}

/// How often each happened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Branches(std::collections::BTreeMap<Branch, u64>);

impl Branches {
    /// It happened.
    pub fn note(&mut self, branch: Branch) {
        *self.0.entry(branch).or_default() += 1;
    }

    /// How often it happened.
    #[must_use]
    pub fn count(&self, branch: Branch) -> u64 {
        self.0.get(&branch).copied().unwrap_or(0)
    }

    /// Counts another run's in.
    pub fn add(&mut self, other: &Self) {
        for (branch, count) in &other.0 {
            *self.0.entry(*branch).or_default() += count;
        }
    }

    /// Those that happened, with how often.
    pub fn iter(&self) -> impl Iterator<Item = (Branch, u64)> + '_ {
        self.0.iter().map(|(branch, count)| (*branch, *count))
    }
}
