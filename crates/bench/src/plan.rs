//! What is measured, and how much of it.

use std::{fmt, time::Duration};

use rhumb_types::AckLevel;
use serde::Serialize;

/// Random keys, members and fields are drawn from this many.
pub(crate) const KEYS: u32 = 100_000;
/// The size of a value.
pub(crate) const VALUE_BYTES: u32 = 64;
/// Threads of the client, so that it is not the limit.
pub(crate) const CLIENT_THREADS: u32 = 2;

/// How much is measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Effort {
    /// Rounds of each side.
    pub(crate) rounds: usize,
    /// How long one run of one command lasts at least.
    pub(crate) run: Duration,
    /// Starts of a node without data.
    pub(crate) starts: usize,
    /// How long replication is watched.
    pub(crate) lag: Duration,
}

impl Effort {
    /// What is published.
    pub(crate) const fn full() -> Self {
        Self { rounds: 3, run: Duration::from_secs(2), starts: 10, lag: Duration::from_secs(20) }
    }

    /// Whether it is about working, not about figures.
    pub(crate) fn is_quick(&self) -> bool {
        self.run < Self::full().run
    }

    /// Shows that everything works.
    pub(crate) const fn quick() -> Self {
        Self { rounds: 1, run: Duration::from_millis(500), starts: 2, lag: Duration::from_secs(4) }
    }
}

/// What must be durable before an answer, on both sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Durability {
    /// Nothing yet: the disk follows within a second.
    Memory,
    /// Fsynced here.
    Local,
}

impl Durability {
    const ALL: [Self; 2] = [Self::Memory, Self::Local];

    /// Rhumb's word for it.
    pub(crate) const fn ack(self) -> AckLevel {
        match self {
            Self::Memory => AckLevel::Memory,
            Self::Local => AckLevel::Local,
        }
    }

    /// Redis' word for it.
    pub(crate) const fn appendfsync(self) -> &'static str {
        match self {
            Self::Memory => "everysec",
            Self::Local => "always",
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Local => "local",
        }
    }
}

/// Commands in the order in which a fresh server gets them: `GET` finds what `SET` wrote.
pub(crate) const COMMANDS: [&str; 5] = ["set", "get", "incr", "hset", "sadd"];

/// How clients come to a server: all its commands are measured on one fresh server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Setting {
    pub(crate) durability: Durability,
    pub(crate) clients: u32,
    pub(crate) pipeline: u32,
}

impl Setting {
    /// The eight settings of the published table.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for durability in Durability::ALL {
            for clients in [50, 500] {
                all.extend([1, 16].map(|pipeline| Self { durability, clients, pipeline }));
            }
        }
        all
    }

    /// The name of a command's row in this setting.
    pub(crate) fn row(self, command: &str) -> String {
        format!("{self}/{command}")
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.durability.name(), self.clients, self.pipeline)
    }
}

/// Which rows are wanted: those whose name contains one of the words; without words all.
#[derive(Clone, Debug)]
pub(crate) struct Wanted(pub(crate) Vec<String>);

impl Wanted {
    pub(crate) fn includes(&self, row: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|word| row.contains(word.as_str()))
    }

    /// Whether some word may name a row of a group: rows are named `GROUP/...`.
    pub(crate) fn includes_some_of(&self, group: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|word| word.starts_with(group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_table_has_forty_rows_of_different_names() {
        let settings = Setting::all();
        let mut rows: Vec<String> = settings
            .iter()
            .flat_map(|setting| COMMANDS.map(|command| setting.row(command)))
            .collect();
        rows.sort();
        rows.dedup();
        assert_eq!(rows.len(), 40);
        assert!(rows.contains(&"local/50/16/sadd".to_owned()));
    }

    #[test]
    fn a_row_is_wanted_by_any_part_of_its_name() {
        let some = Wanted(vec!["local/50/".to_owned(), "lag".to_owned()]);
        assert!(some.includes("local/50/1/set") && some.includes("lag"));
        assert!(!some.includes("local/500/1/set") && !some.includes("memory/50/1/set"));
        assert!(Wanted(Vec::new()).includes("anything"));
    }
}
