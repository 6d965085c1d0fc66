//! What is looked at of grants (rule 12), from what regions say to each other and what lies on their disks.

use std::collections::{BTreeMap, BTreeSet};

use rhumb_objects::{
    grant::{Ask, Holding, Told},
    refer::{KINDS, referred},
};
use rhumb_ports::store::{Range, ReadStore as _};
use rhumb_types::{
    RegionId,
    record::{BlobHash, Dot, Space, VersionVector},
};

use super::here::{Here, Wish};
use crate::check::Check;

/// Rounds that are remembered of a process.
const ROUNDS_MAX: usize = 1_024;

/// Of each round about copies that are more than need be: who has said that it holds the blob, and was
/// not granted to remove it.
#[derive(Debug, Default)]
pub(super) struct Rounds(BTreeMap<(RegionId, u64), BTreeSet<RegionId>>);

impl Rounds {
    /// A home asks a holder.
    pub(super) fn on_ask(&mut self, home: &RegionId, ask: &Ask) {
        if ask.surplus {
            self.0.entry((home.clone(), ask.round)).or_default();
        }
        while self.0.len() > ROUNDS_MAX {
            self.0.pop_first();
        }
    }

    /// A holder has answered.
    pub(super) fn on_told(&mut self, home: &RegionId, from: &RegionId, told: &Told) {
        let stays = self.0.get_mut(&(home.clone(), told.round));
        if let (Some(stays), Holding::Held { .. }) = (stays, told.state) {
            stays.insert(from.clone());
        }
    }

    /// A holder is granted to remove its copy; says whether somebody keeps one.
    fn on_grant(&mut self, home: &RegionId, to: &RegionId, round: u64) -> bool {
        let Some(stays) = self.0.get_mut(&(home.clone(), round)) else { return true };
        stays.remove(to);
        !stays.is_empty()
    }
}

/// A home grants the removal of a copy: of a blob that is referred to, somebody has said in this round
/// that it holds it, and keeps it.
pub(super) fn somebody_keeps(here: &Here, home: &RegionId, to: &RegionId, round: u64) {
    let kept = here.state().rounds.on_grant(home, to, round);
    if !kept {
        let what = format!(
            "{to} is to remove a blob that is referred to, and nobody has said in round {round} of \
             {home} that it keeps it"
        );
        here.wish(Wish::Broken(Check::Granted, what));
    }
}

/// A holder is about to remove a blob: no task needs it.
pub(super) fn nothing_pins(here: &Here, hash: &BlobHash) {
    let pinned = here.state().pinned.get(hash).is_some_and(|pins| *pins > 0);
    if pinned {
        let what = format!("{} removes {hash}, which is pinned there", here.region());
        here.wish(Wish::Broken(Check::Granted, what));
    }
}

/// A holder is about to remove a blob: the home has seen whatever refers to it here.
pub(super) fn nothing_unseen_refers(here: &Here, hash: &BlobHash, vector: &VersionVector) {
    if let Some(dot) = unseen_reference(here, hash, vector) {
        let what = format!(
            "{} removes {hash}, to which {dot:?} refers: the home had not seen that",
            here.region()
        );
        here.wish(Wish::Broken(Check::Granted, what));
    }
}

/// A reference in the index of this region that a vector does not cover.
fn unseen_reference(here: &Here, hash: &BlobHash, vector: &VersionVector) -> Option<Dot> {
    let range = || Range { after: None, limit: usize::MAX };
    let pages = KINDS.into_iter().map(|kind| here.store().keys(Space::OBJECTS, kind, range()));
    for (key, head) in pages.filter_map(Result::ok).flatten() {
        for entry in head.cell.entries.iter().filter(|entry| !vector.covers(entry.dot)) {
            let Some(row) = entry.value.bytes() else { continue };
            let found = referred(&key, row).ok().flatten();
            if found.is_some_and(|it| it.blobs.iter().any(|blob| blob.hash == *hash)) {
                return Some(entry.dot);
            }
        }
    }
    None
}
