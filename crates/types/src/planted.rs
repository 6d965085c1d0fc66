//! Faults planted on purpose, to show that the simulator's checks find them.
//!
//! The machines ask [`is`] at the few places where a fault can be planted. Without the feature
//! `planted` the answer is a constant and nothing of it is left in the binary; with it, a test
//! chooses the fault of its thread.

/// What can be planted; each breaks one rule of the design.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Planted {
    /// Rule 1: a commit that was not fsynced counts as durable, and is shipped.
    ShipBeforeSync,
    /// Rule 1: a start on a rewound disk goes on where the disk ends, and names two writes alike.
    ReuseVersions,
    /// Rule 1: a hello does not say what was received and is not fsynced yet.
    HideReceived,
    /// Rule 1: a commit that a client waits for is not fsynced.
    SkipSync,
    /// Rule 2: a write is answered before its batch is committed, so that its writer may not see it.
    AnswerBeforeCommit,
    /// A write is refused, and done all the same.
    DoRefused,
    /// Causal order: a transaction is applied before those that it has seen.
    ApplyBeforeDeps,
    /// Merge: a removal also takes what its writer has never seen.
    RemoveUnseen,
    /// Merge: of two concurrent writes of the same time the last to arrive wins.
    StampWithoutOrigin,
    /// Merge: a snapshot whose source is gone is left before what was merged is on the disk.
    LeaveMerging,
    /// Merge: of two concurrent writes the first to arrive is dropped.
    LoseConcurrent,
    /// Merge: what arrives of a counter is added, and not put in place of what was known.
    CountAgain,
    /// Acknowledgements: this region counts as one of the others.
    CountSelf,
    /// Acknowledgements: a witness counts as one of the others.
    CountWitness,
    /// Rule 3: regions follow and serve every log, of domains that are not carried too.
    CarryAll,
    /// Rule 3: a transaction waits for what its writer had seen of domains that are not carried.
    WaitForUncarried,
    /// Rule 3: what a snapshot does not name is deleted, of domains too that its source does not
    /// carry.
    AbsenceEverywhere,
    /// Rule 4: an owned row is changed whether or not its home's lease is held.
    AcceptUnfenced,
    /// Rule 4: an owned write is answered whether or not its lease ran out meanwhile.
    AnswerUnfenced,
    /// Rule 4: a receiver refuses what was written under an epoch that is over.
    RefuseOldEpoch,
    /// Rule 5: who holds a region's lease changes what is pinned to that region.
    RunPinned,
    /// Rule 6: an owner acts before it holds what the regions in reach hold.
    OpenAtOnce,
    /// Rule 7: a holder counts its lease from when the answer reached it.
    CountFromReceipt,
    /// Rule 7: who waits a lease out does not begin again when it is renewed, and a takeover is
    /// agreed whatever was renewed meanwhile.
    IgnoreRenewals,
    /// Rule 7: clocks are taken to be true.
    NoDriftMargin,
    /// Rule 7: the clock that leases are counted on stands still while its machine is suspended.
    ClockStopsInSuspend,
    /// Rule 8: a node that knows its clock to be far off goes on.
    IgnoreClock,
    /// Rule 13: a write that was not confirmed in time is answered as confirmed.
    ConfirmLate,
    /// Rule 15: a group forms although a listed voter did not answer.
    FormUnanswered,
    /// Rule 15: a group forms although a listed voter said that it is in one.
    FormOverOthers,
    /// Rule 15: a voter without its disk takes its seat again.
    KeepSeat,
    /// Rule 15: a node answers what is meant for the one whose place it took.
    AnswerForOther,
    /// Rule 15: what is said in another lineage of the group is followed.
    CrossLineages,
    /// Strong namespaces: whoever takes a lock is given the same fencing token.
    TokenAgain,
    /// Rule 16: a transaction of an unknown kind is passed over.
    SkipUnknown,
    /// Rule 14: a message is delivered before what it follows is applied.
    DeliverEarly,
    /// Rule 18: an agreed command leaves no entry in the audit chain.
    AuditGap,
    /// Health: a peer that was put out is back with its first good sign.
    ForgetHold,
    /// Failover: a region has its duties back as soon as anything is heard of it.
    ReturnAtOnce,
    /// Selection: homes are drawn anew with every change of the facts.
    MoveHomes,
    /// Queues: who begins to act leases at once what an earlier owner may have leased.
    LeaseAtOnce,
    /// Queues: a job is leased before the frontier that allows it is durable.
    LeaseBeforeFrontier,
    /// Queues: a receipt of an earlier lease counts.
    AnyReceipt,
    /// Queues: a completion is answered before it is written.
    CompleteEarly,
    /// Queues: the jobs of a group are leased side by side.
    IgnoreGroups,
    /// Queues: a job with a key is a new row each time.
    ForgetKeys,
    /// Queues: a job of a group is taken in and pinned where the lease of its home has just run out.
    PinClaims,
    /// Queues: a job that was sent on is sent on again.
    SpillAgain,
    /// Queues: spilling begins and ends with the first sign of it.
    SwingAtOnce,
    /// Failover: a lease that was given up is free for ever.
    KeepFree,
    /// Snapshots: what a snapshot brings takes the place of what was applied, and is not added to it.
    ForgetApplied,
    /// The simulated disk: an fsync does nothing, and nobody counts on that.
    DiskForgets,
    /// Objects: bytes are removed although an upload has pinned them.
    RemovePinned,
    /// Objects: bytes are removed although they are referred to since the home looked.
    RemoveReferenced,
    /// Objects: a holder forgets references, by a start or for want of room, and goes on as if there
    /// had been none.
    ForgetFloor,
    /// Objects: a grant counts whatever was asked since.
    AnyTicket,
    /// Objects: a holder answers homes that others have taken the place of.
    AnswerSuperseded,
    /// Objects: what is being removed can be pinned.
    PinLeaving,
    /// Objects: a home counts on holders by their rows, and not by their answers.
    CountRows,
    /// Objects: a home counts on holders that have not applied what it has seen.
    CountBehind,
    /// Objects: a home grants the removal of every copy that its policy does not name.
    GrantLast,
    /// Objects: a home says that it looked when its walk ended.
    LookLate,
    /// Objects: a walk sees only the entry of a cell that wins.
    WalkWinners,
    /// Objects: a row that names blobs is written anew where they are not held.
    CommitUnheld,
    /// Objects: who is asked for what another does not know answers with what that one has deleted.
    AnswerDeleted,
    /// Objects: a region that may know an object, and is not reached, counts as one that does not.
    MissSilent,
    /// Objects: a change of the index is made whatever its rows hold by then.
    CompareNothing,
    /// Objects: a blob is said to be held before it is durable.
    HoldEarly,
    /// Objects: an upload is answered before the copies that it must have are made.
    AnswerBeforeCopies,
    /// Objects: copies are made where the bucket's residency does not allow them.
    PlaceAnywhere,
    /// Objects: a region keeps a copy of what it reads often, whether or not it may lie there.
    PromoteAnywhere,
    /// Objects: an upload in parts is completed whatever its parts are.
    CompleteUnchecked,
    /// Objects: deleting an object takes away every version that there is.
    DeleteAll,
    /// Objects: a region acts for the home of a key of a linearizable bucket without its lease.
    ActWithoutLease,
    /// Objects: a change of the members moves homes of linearizable buckets at once, and a new home
    /// decides before it holds what the old one decided.
    MoveHomesAtOnce,
    /// Objects: what the home of a key says is said before a majority has what it rests on.
    AnswerUnsettled,
    /// Objects: homes decide as if nothing came late.
    DecideWithoutTerms,
    /// Objects: what was decided earlier, and not known as a term began, counts all the same.
    IgnoreFences,
    /// Objects: that a key holds nothing is forgotten before every region has heard of it.
    ForgetAtOnce,
    /// Objects: what was found damaged is not fetched again.
    NeverRepair,
}

/// Whether a fault is planted.
#[cfg(not(feature = "planted"))]
#[inline]
#[must_use]
pub const fn is(_fault: Planted) -> bool {
    false
}

#[cfg(feature = "planted")]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Planted>> = const { std::cell::Cell::new(None) };
}

/// Whether a fault is planted in this thread.
#[cfg(feature = "planted")]
#[must_use]
pub fn is(fault: Planted) -> bool {
    PLANTED.get() == Some(fault)
}

/// Plants a fault in this thread, or none, from here on.
#[cfg(feature = "planted")]
pub fn plant(fault: Option<Planted>) {
    PLANTED.set(fault);
}
