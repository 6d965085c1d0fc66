//! The last things that happened in a run, in words, for whoever looks for the cause of a failure.

use std::{collections::VecDeque, fmt::Debug};

/// Most characters of one entry.
const ENTRY_CHARS_MAX: usize = 400;

/// The last entries of a run; keeps nothing unless it was asked for.
#[derive(Debug, Default)]
pub struct History {
    entries: VecDeque<String>,
    entries_max: usize,
}

impl History {
    /// Keeps so many entries.
    #[must_use]
    pub const fn new(entries_max: usize) -> Self {
        Self { entries: VecDeque::new(), entries_max }
    }

    /// Whether anything is kept.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.entries_max > 0
    }

    /// Something happened at a microsecond of the run.
    pub fn note(&mut self, at: u64, host: Option<usize>, what: impl Debug) {
        if !self.is_kept() {
            return;
        }
        let place = host.map_or_else(|| "-".to_owned(), |host| host.to_string());
        let (seconds, micros) = (at / 1_000_000, at % 1_000_000);
        let mut entry = format!("{seconds:>5}.{micros:06} {place:>2} {what:?}");
        if let Some((end, _)) = entry.char_indices().nth(ENTRY_CHARS_MAX) {
            entry.truncate(end);
            entry.push('…');
        }
        if self.entries.len() == self.entries_max {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// The entries, oldest first.
    #[must_use]
    pub fn into_entries(self) -> Vec<String> {
        self.entries.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_are_kept_and_long_ones_are_cut() {
        let mut history = History::new(2);
        for at in 0..3 {
            history.note(at, Some(1), "x".repeat(1_000));
        }
        let entries = history.into_entries();
        assert_eq!(entries.len(), 2);
        assert!(entries[0].starts_with("    0.000001  1 "));
        assert!(entries.iter().all(|entry| entry.chars().count() == ENTRY_CHARS_MAX + 1));
        let mut none = History::default();
        none.note(1, None, "nothing");
        assert!(none.into_entries().is_empty());
    }
}
