//! What a run is made of, and the command that has it again.

use std::{collections::BTreeSet, time::Duration};

use crate::fault::{Fault, Planned};

/// How long clients write unless told otherwise.
const LOAD: Duration = Duration::from_secs(20);

/// One seed in so many has a run with queues.
const QUEUES_EVERY: u64 = 3;
/// One seed in so many has a run with objects.
const OBJECTS_EVERY: u64 = 3;

/// What a run tries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Kind {
    /// Replication alone: nodes without overseers.
    #[default]
    Data,
    /// Replication where one region does not carry a domain, beside a witness.
    Domains,
    /// Nodes with overseers, which agree on leases and move them.
    Control,
    /// The same with queues beside them, callers and workers.
    Queues,
    /// The same with objects beside them, and who writes, reads and deletes them.
    Objects,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Data, Self::Domains, Self::Control, Self::Queues, Self::Objects];

    /// Whether nodes have overseers.
    #[must_use]
    pub const fn has_overseers(self) -> bool {
        matches!(self, Self::Control | Self::Queues | Self::Objects)
    }

    /// Whether a seed of a campaign of several kinds has a run of this kind. Those of queues last the
    /// longest, because whoever takes a region over waits for the leases of its predecessor.
    #[must_use]
    pub const fn is_due(self, seed: u64) -> bool {
        match self {
            Self::Queues => seed.is_multiple_of(QUEUES_EVERY),
            Self::Objects => (seed + 1).is_multiple_of(OBJECTS_EVERY),
            Self::Data | Self::Domains | Self::Control => true,
        }
    }

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Domains => "domains",
            Self::Control => "control",
            Self::Queues => "queues",
            Self::Objects => "objects",
        }
    }

    /// The kind of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What a run is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Everything random follows from it.
    pub seed: u64,
    /// What is tried.
    pub kind: Kind,
    /// How many regions; `None` leaves it to the seed.
    pub regions: Option<usize>,
    /// How long clients write while things go wrong.
    pub load: Duration,
    /// How many writes come in a second on the whole; `None` for what a campaign has.
    pub rate: Option<u32>,
    /// Only faults of these kinds; `None` for all.
    pub faults: Option<BTreeSet<Fault>>,
    /// Only these faults of the seed, by number; `None` for all.
    pub only: Option<BTreeSet<u64>>,
    /// These faults in place of the seed's: for tests that know what they want, and not on the
    /// command line.
    pub script: Option<Vec<Planned>>,
    /// How many of the last events are kept in words.
    pub history: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            kind: Kind::default(),
            regions: None,
            load: LOAD,
            rate: None,
            faults: None,
            only: None,
            script: None,
            history: 0,
        }
    }
}

impl Options {
    /// Whether a fault of the seed is to happen.
    #[must_use]
    pub fn wants(&self, planned: &Planned) -> bool {
        self.only.as_ref().is_none_or(|numbers| numbers.contains(&planned.number))
    }

    /// The command that has this run again.
    #[must_use]
    pub fn command(&self) -> String {
        let Self { seed, kind, regions, load, rate, faults, only, script: _, history: _ } = self;
        let mut command = format!("cargo xtask sim --seed {seed} --kind {}", kind.name());
        if let Some(regions) = regions {
            command += &format!(" --regions {regions}");
        }
        if *load != LOAD {
            command += &format!(" --load {}ms", load.as_millis());
        }
        if let Some(rate) = rate {
            command += &format!(" --rate {rate}");
        }
        if let Some(kinds) = faults {
            let names: Vec<String> = kinds.iter().map(|fault| fault.name()).collect();
            command += &format!(" --faults {}", names.join(","));
        }
        if let Some(numbers) = only {
            let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            let numbers = if numbers.is_empty() { "none".to_owned() } else { numbers.join(",") };
            command += &format!(" --only-faults {numbers}");
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_says_what_is_not_the_default() {
        let plain = Options { seed: 7, kind: Kind::Control, ..Options::default() };
        assert_eq!(plain.command(), "cargo xtask sim --seed 7 --kind control");
        let less = Options {
            regions: Some(5),
            load: Duration::from_millis(8_500),
            rate: Some(40),
            faults: Some([Fault::PowerLoss, Fault::Kill].into()),
            only: Some([9, 3].into()),
            ..plain
        };
        assert_eq!(
            less.command(),
            "cargo xtask sim --seed 7 --kind control --regions 5 --load 8500ms --rate 40 --faults \
             kill,power-loss --only-faults 3,9"
        );
    }
}
