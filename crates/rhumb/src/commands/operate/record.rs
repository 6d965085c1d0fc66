//! Records of failovers, for people.

use rhumb_types::control::{FailoverRecord, StepRecord};
use serde::Serialize;

use crate::{table::table, when};

/// What of a run was told already.
#[derive(Debug, Default)]
pub(super) struct Followed {
    told: Vec<StepRecord>,
    state: Option<String>,
}

impl Followed {
    /// What a record says that was not told before.
    pub(super) fn news(&mut self, record: &FailoverRecord) -> Vec<String> {
        let fresh = record.steps.iter().filter(|step| !self.told.contains(step));
        let mut lines: Vec<String> = fresh.map(line).collect();
        self.told.clone_from(&record.steps);
        let state = word(&record.state);
        if self.state.as_ref() != Some(&state) {
            lines.push(state.clone());
            self.state = Some(state);
        }
        lines
    }
}

/// A closed word as nodes write it, with spaces.
fn word(word: &impl Serialize) -> String {
    match serde_json::to_value(word) {
        Ok(serde_json::Value::String(word)) => word.replace('_', " "),
        _ => "?".to_owned(),
    }
}

fn line(step: &StepRecord) -> String {
    let [time, name, state, note] = step_row(step);
    format!("{time}  {name:<12}  {state:<8}  {note}").trim_end().to_owned()
}

fn step_row(step: &StepRecord) -> [String; 4] {
    let at = step.finished.unwrap_or(step.started);
    let state = match step.attempt {
        0 | 1 => word(&step.state),
        attempt => format!("{} (try {attempt})", word(&step.state)),
    };
    [when::second(when::from_unix_millis(at.0)), word(&step.step), state, step.note.clone()]
}

/// A whole record.
pub(super) fn lines(record: &FailoverRecord) -> Vec<String> {
    let plan = &record.plan;
    let mut lines = vec![
        format!("{} {} of {}: {}", word(&plan.kind), record.id.0, plan.region, word(&record.state)),
        format!(
            "{} by {}, {}: {}",
            when::minute(when::from_unix_millis(record.started.0)),
            record.actor,
            word(&plan.mode),
            record.reason
        ),
    ];
    let steps: Vec<[String; 4]> = record.steps.iter().map(step_row).collect();
    lines.extend(table(["time", "step", "state", "note"], &steps));
    lines
}

/// A record as a line of a list.
pub(super) fn row(record: &FailoverRecord, nothing: &str) -> [String; 8] {
    let plan = &record.plan;
    let to = plan.successor.as_ref().map_or_else(|| nothing.to_owned(), ToString::to_string);
    [
        record.id.0.to_string(),
        when::minute(when::from_unix_millis(record.started.0)),
        word(&plan.kind),
        plan.region.to_string(),
        to,
        word(&record.state),
        record.actor.clone(),
        record.reason.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use rhumb_types::{UnixMillis, control::*};

    use super::*;

    fn record(steps: &[(FailoverStep, StepState)], state: FailoverState) -> FailoverRecord {
        let step = |(step, state): &(FailoverStep, StepState)| StepRecord {
            step: *step,
            state: *state,
            started: UnixMillis(1_795_236_042_000),
            finished: None,
            attempt: 1,
            note: String::new(),
        };
        FailoverRecord {
            id: FailoverId(3),
            plan: FailoverPlan {
                idempotency_key: String::new(),
                region: rhumb_types::RegionId::new("us-east-1").unwrap(),
                kind: FailoverKind::Drain,
                mode: FailoverMode::Manual,
                strategy: FailoverStrategy::Graceful,
                successor: None,
                moves: Vec::new(),
            },
            reason: "kernel".to_owned(),
            actor: "machine".to_owned(),
            started: UnixMillis(1_795_236_042_000),
            state,
            sequence: 1,
            steps: steps.iter().map(step).collect(),
        }
    }

    #[test]
    fn only_news_is_told() {
        let mut followed = Followed::default();
        let (routing, drain) = (FailoverStep::StopRouting, FailoverStep::Drain);
        let begun = record(&[(routing, StepState::Running)], FailoverState::Running);
        assert_eq!(followed.news(&begun), ["04:40:42  stop routing  running", "running"]);
        assert!(followed.news(&begun).is_empty());
        let steps = [(routing, StepState::Done), (drain, StepState::Running)];
        let further = record(&steps, FailoverState::Running);
        let told = ["04:40:42  stop routing  done", "04:40:42  drain         running"];
        assert_eq!(followed.news(&further), told);
        let ended = record(&steps, FailoverState::Succeeded);
        assert_eq!(followed.news(&ended), ["succeeded"]);
    }
}
