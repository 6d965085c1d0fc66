//! How often the objects look at things, how long they wait, and in what pieces bytes travel.

use rhumb_objects::grant::WalkConfig;

use super::collect::AGES;
use crate::time::{Micros, SECOND};

/// The times of the objects beside a node. A campaign has its own, so that much happens in little time; a
/// rehearsal has those that are shipped.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between two looks at what is to be fetched.
    pub look: Micros,
    /// Between two walks over the index for what is missing.
    pub walk: Micros,
    /// Between two looks at what may be removed, as far as that is found.
    pub collect: Micros,
    /// Between two walks that find it.
    pub collect_walk: Micros,
    /// How old copies are at least that are removed.
    pub ages: WalkConfig,
    /// Between two rounds of chores.
    pub chores: Micros,
    /// Between two rounds of the scrub, in which all that is held is read.
    pub scrub: Micros,
    /// How long an upload waits for its copies,
    pub copy_wait: Micros,
    /// how often a region that did not take one is asked again,
    pub copy_retries: u32,
    /// and how long before.
    pub copy_pause: Micros,
    /// Blobs that are fetched from other regions at a time.
    pub fetches: usize,
    /// Bytes of a blob that are asked for at once,
    pub block_bytes: u64,
    /// and how many such blocks of it are on their way at a time.
    pub blocks_ahead: usize,
    /// Whether a region whose duties were moved away fetches what it will hold once they are back, as
    /// the engine does.
    pub fetches_displaced: bool,
    /// Whether a region passes bytes on that may not lie there, as the engine does; else it refuses them.
    pub passes_on: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self::QUICK
    }
}

impl Pace {
    /// That of campaigns.
    pub(crate) const QUICK: Self = Self {
        look: SECOND / 10,
        walk: 2 * SECOND,
        collect: SECOND / 4,
        collect_walk: 2 * SECOND,
        ages: AGES,
        chores: 4 * SECOND,
        scrub: 5 * SECOND,
        copy_wait: 6 * SECOND,
        copy_retries: 1,
        copy_pause: SECOND / 2,
        fetches: rhumb_objects::want::FETCHES_MAX,
        block_bytes: u64::MAX,
        blocks_ahead: 1,
        fetches_displaced: false,
        passes_on: false,
    };

    /// That of the engine, with what its configuration sets at its defaults. Nothing is damaged in a
    /// rehearsal: what is held is not read again.
    #[must_use]
    pub fn shipped() -> Self {
        Self {
            look: SECOND / 50,
            walk: 600 * SECOND,
            collect: SECOND,
            collect_walk: 3_600 * SECOND,
            ages: WalkConfig::default(),
            chores: 3_600 * SECOND,
            scrub: 14 * 24 * 3_600 * SECOND,
            copy_wait: 30 * SECOND,
            copy_retries: 2,
            copy_pause: 5 * SECOND,
            fetches: 8,
            block_bytes: 1 << 20,
            blocks_ahead: 8,
            fetches_displaced: true,
            passes_on: true,
        }
    }

    /// How many rounds of one length pass between two of another.
    pub(super) const fn rounds(each: Micros, all: Micros) -> u64 {
        let rounds = all / if each == 0 { 1 } else { each };
        if rounds == 0 { 1 } else { rounds }
    }
}
