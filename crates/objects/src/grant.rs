//! When bytes may go: rule 12 of the design, as two machines.
//!
//! The *home* of a hash ([`Home`]) finds what nobody refers to and where there are more copies than
//! need be ([`Walk`]), and grants removals, under its lease. A *holder* ([`Holder`]) removes nothing
//! without a grant, and refuses where it knows better. References are not counted: the index is what
//! says who refers to what, and it travels by logs, so that every region is behind every other.
//!
//! # What is promised
//!
//! A blob that an object refers to, in whichever region's log the object's row lies, is held somewhere;
//! so is one that an upload has pinned. What nobody refers to goes everywhere in the end. Damage to a
//! disk is not prevented here: that is why there are several copies.
//!
//! # How a removal goes
//!
//! 1. The home takes the vector `V` of what it has applied, *then* walks over every row that refers to
//!    blobs. All entries of a cell count, not the winner alone: a delete that saw only the winner leaves
//!    the others.
//! 2. It *asks* the holders. One that holds the blob answers with a *ticket*: a number that it never
//!    gave before, which takes the place of any earlier ticket for the blob. It adds whether it has
//!    applied all of `V` itself (it is *caught up*).
//! 3. The home *grants*, by ticket: of a blob without references to everybody who holds it; of one with
//!    too many copies only to some, so that at least `copies` and at least one are left among those that
//!    answered, are caught up, and get no grant in this round.
//! 4. The holder accepts a grant only by its latest ticket for the blob, soon after it gave that, and
//!    if nothing pins the blob, and if every reference to it that the holder has applied is among `V`.
//!
//! # Why that is enough
//!
//! Call a holder of a blob a *guardian* of a reference if it has applied the transaction that wrote it.
//! Claim: a reference that was not removed has a guardian.
//!
//! *At first*: a reference commits only where the bytes are pinned, so its writer is one.
//!
//! *A guardian's blob goes only by a grant whose `V` covers the reference* (step 4), and so only as a
//! surplus copy: had the home walked after it had applied the reference, it would have found it, for the
//! row was there from before the walk to its end (step 1).
//!
//! *A surplus grant leaves guardians*: those that were counted on had applied `V`, and with it the
//! reference (step 3). They may lose the blob in a later round, and not by an older grant: answering has
//! replaced their tickets (step 2). So of all rounds in which guardians lost the blob, the last one
//! leaves its own: nobody that was counted on in it has lost the blob in it, nor by an earlier ticket,
//! and there is no later round. ∎
//!
//! "Later" needs that the rounds about a blob are one after the other. Under one lease they are: a home
//! has one round about a blob at a time, and grants only within [`limits::ROUND_TIME`] of its beginning,
//! checking its lease as it does. Between leases they are by rule 7. Between two regions that both take
//! themselves for the home, because the agreed state moved and one has not heard, holders keep them
//! apart: they answer nobody whose state ([`Authority::homes`]) or epoch is older than one they have
//! answered. After a start they know of none, and are silent for two rounds.
//!
//! What is remembered at a holder is bounded: [`References`] forgets, and then refuses every grant whose
//! `V` does not cover what was forgotten. A start forgets everything, so a grant must then cover all
//! that had been applied before it. Neither is ever unsafe, only late.
//!
//! Nothing here must survive a crash, at the home or at the holder.
//!
//! # What the driver must keep to
//!
//! - An upload hashes what it writes before it makes the blob visible, pins the hash, and looks *then*
//!   whether the blob is held. The pin stays until the row is committed and told
//!   ([`HolderEvent::Applied`]).
//! - *Every* row that names blobs is committed where they are held and pinned: an upload's, a part's, a
//!   copy's, and also one that is written anew with other tags. A delete that did not see the new row
//!   leaves it, and takes the old one away, on which its bytes rested. So a region without the bytes
//!   fetches them first, or sends the change to one that has them. a row must be committed
//!   elsewhere (`consistency: linearizable`), the region with the bytes keeps the pin until it has
//!   applied the row ([`HolderEvent::UnpinAfter`]).
//! - [`HolderEvent::Applied`] comes for every transaction of domain 0 once it is durable here, in their
//!   order, with every blob that its rows name. What came as a snapshot is told by
//!   [`HolderEvent::Covered`], and so is what the peers know after a start from an older disk (rule 1).
//! - On [`HolderEffect::Remove`] the holder's row goes first, and then the bytes.
//!
//! Deliberately absent: what is held, which rows there are, messages on a wire, and the time of day.

use std::sync::Arc;

use rhumb_types::{
    Epoch, RegionId,
    record::{BlobHash, VersionVector},
};
use serde::{Deserialize, Serialize};

pub mod holder;
pub mod home;
pub mod limits;
mod references;
pub mod walk;

pub use holder::{Holder, HolderConfig, HolderEffect, HolderEvent, Pinning};
pub use home::{Home, HomeEffect, HomeEvent};
pub use references::{Memory, References};
pub use walk::{Homes, Walk, WalkConfig};

/// Under what a home acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// The version of the agreed state from which it follows who is home of what. A home that is given
    /// another share of the hashes begins anew, with another [`Home`].
    pub homes: u64,
    /// The region whose lease the home holds.
    pub region: RegionId,
    /// The lease's epoch.
    pub epoch: Epoch,
}

/// A home asks whether a blob is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Under what.
    pub authority: Authority,
    /// Which round of the home; never used before by it or its predecessors.
    pub round: u64,
    /// Which blob.
    pub hash: BlobHash,
    /// What the home had applied before it began its walk, of domain 0.
    pub vector: Arc<VersionVector>,
    /// Whether it is about too many copies, and not about a blob that nobody refers to.
    pub surplus: bool,
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// To which round.
    pub round: u64,
    /// Which blob.
    pub hash: BlobHash,
    /// What is said.
    pub state: Holding,
}

/// Whether a region holds a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holding {
    /// It does.
    Held {
        /// By which it may be granted.
        ticket: u64,
        /// Whether the region has applied all that the ask names: only then it may be counted on.
        caught_up: bool,
        /// Why a grant would be refused as things are.
        kept: Option<Refusal>,
    },
    /// It does not, or it is about to remove it.
    Absent,
    /// It does not say.
    Silent(Refusal),
}

/// A home lets a holder remove a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Under what.
    pub authority: Authority,
    /// Which round of the home.
    pub round: u64,
    /// Which blob.
    pub hash: BlobHash,
    /// The holder's ticket.
    pub ticket: u64,
    /// What the home had applied before it began its walk, of domain 0.
    pub vector: Arc<VersionVector>,
}

/// What became of a [`Grant`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Of which round.
    pub round: u64,
    /// Which blob.
    pub hash: BlobHash,
    /// Removed, or why not.
    pub result: Result<(), Refusal>,
}

/// Why a holder does not do or say what it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// It has started a moment ago.
    #[error("the holder has just started")]
    Starting,
    /// It has answered a home that is newer.
    #[error("a newer home has spoken")]
    Superseded,
    /// The ticket is not the latest one for the blob.
    #[error("the ticket is not the latest")]
    Stale,
    /// The ticket is too old.
    #[error("the ticket has expired")]
    Expired,
    /// An upload or a read is under way.
    #[error("an upload or a read needs it")]
    Pinned,
    /// A reference that the home had not seen.
    #[error("it is referred to since the home looked")]
    Referenced,
    /// References were forgotten that the home had not seen.
    #[error("the home looked too long ago to tell")]
    Forgotten,
    /// It is a copy that is read there.
    #[error("it is read there")]
    Liked,
    /// Too much is under way.
    #[error("too much is under way")]
    Busy,
    /// The store did not remove it.
    #[error("the store did not remove it")]
    Failed,
}
