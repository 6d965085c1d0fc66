//! What a file is checked against, besides itself.

use std::{fmt, time::Duration};

/// What a file is checked against, besides itself.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    /// The value of an environment variable; [`crate::process_environment`] for the process's own.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// How long the control plane takes at worst to elect a leader, given the longest round trip
    /// between its voters. Leases must outlast it (rule 7).
    pub worst_election: &'a dyn Fn(Duration) -> Duration,
}

impl fmt::Debug for Outside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").finish_non_exhaustive()
    }
}
