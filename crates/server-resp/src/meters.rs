//! What commands take and how they end.
//!
//! Commands that arrive together and are answered together count as one measurement: a connection
//! adds up in its [`Tally`] how many of which command ended how, and two looks at the clock per
//! batch time them all. How a command ended is told by its reply: clients see the same.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use rhumb_engine::telemetry::metrics::{Command, Connections, Metrics, Outcome};

use crate::{command, render};

/// The handles of every command, each made when it is first used.
#[derive(Debug)]
pub(crate) struct Meters {
    metrics: Arc<Metrics>,
    /// By the place of the command among all, and one more for those that nobody knows.
    commands: Box<[OnceLock<Command>]>,
    pub(crate) connections: Connections,
}

impl Meters {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        let commands = (0..=command::count()).map(|_| OnceLock::new()).collect();
        let connections = metrics.connections("resp");
        Self { metrics, commands, connections }
    }

    /// Counts what was answered, each in the time from when the last of it had arrived.
    pub(crate) fn record(&self, tally: &mut Tally, took: Duration) {
        for Run { place, outcome, commands } in tally.0.drain(..) {
            let Some(command) = self.commands.get(place) else { continue };
            let named = || self.metrics.command(command::name_at(place).unwrap_or("unknown"));
            command.get_or_init(named).record_many(outcome, took, commands);
        }
    }
}

/// Commands of one batch that ended alike, most often one after the other.
#[derive(Debug)]
struct Run {
    place: usize,
    outcome: Outcome,
    commands: u64,
}

/// What a connection has answered since it last looked at the clock. Its length is bounded by the
/// number of commands times the number of outcomes.
#[derive(Debug, Default)]
pub(crate) struct Tally(Vec<Run>);

impl Tally {
    /// A command, by its place among all, was answered.
    pub(crate) fn answered(&mut self, place: usize, reply: &[u8]) {
        let outcome = render::outcome(reply);
        let known = |run: &&mut Run| run.place == place && run.outcome == outcome;
        match self.0.iter_mut().rev().find(known) {
            Some(run) => run.commands += 1,
            None => self.0.push(Run { place, outcome, commands: 1 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use rhumb_types::RegionId;

    use super::*;

    #[test]
    fn commands_are_counted_by_name_and_outcome() {
        let metrics = Arc::new(Metrics::new("test", &RegionId::new("here").unwrap()));
        let meters = Meters::new(metrics.clone());
        let get = command::place_of(b"GET").unwrap();
        let mut tally = Tally::default();
        for reply in ["$1\r\nx\r\n", "+OK\r\n", "-WRONGTYPE no\r\n", "_\r\n"] {
            tally.answered(get, reply.as_bytes());
        }
        tally.answered(command::count(), b"-ERR unknown command\r\n");
        meters.record(&mut tally, Duration::from_millis(3));
        assert!(tally.0.is_empty());
        let shown = metrics.render();
        for line in [
            "rhumb_commands_total{command=\"get\",result=\"ok\"} 3",
            "rhumb_commands_total{command=\"get\",result=\"conflict\"} 1",
            "rhumb_commands_total{command=\"unknown\",result=\"invalid\"} 1",
            "rhumb_command_seconds_count{command=\"get\"} 4",
            "rhumb_command_seconds_bucket{le=\"0.0025\",command=\"get\"} 0",
            "rhumb_command_seconds_bucket{le=\"0.005\",command=\"get\"} 4",
        ] {
            assert!(shown.contains(line), "{line}\n{shown}");
        }
        assert!(!shown.contains("command=\"set\""), "what nobody used is not shown");
    }
}
