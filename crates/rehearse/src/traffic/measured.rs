//! Traffic that was measured, from a table.

use std::time::Duration;

use rhumb_types::units::Spelled;

use super::{Shape, parse::RATE_MAX};
use crate::{
    table::{self, Row},
    text::{self, Mistake, Mistakes, Source, Word},
};

/// Times with their units, or a number of seconds, as the head says.
const HEADS: [&[&str]; 2] = [&["time", "rps"], &["seconds", "rps"]];

/// Reads measured traffic: `time,rps` and then a row per step, such as `0s,120` and `1m,140.5`.
///
/// The steps are alike, because a row that is missing would else go unseen; figures hold until the
/// next row, and the last one for one step.
///
/// # Errors
/// Everything that is wrong with it; also when it ends before the rehearsal does.
pub fn measured(source: Source<'_>, lasting: Duration) -> Result<Shape, Vec<Mistake>> {
    let mut mistakes = Mistakes::default();
    let Some(table) = table::read(source, &HEADS, &mut mistakes) else {
        return mistakes.done(Shape::Measured(Vec::new()));
    };
    let in_seconds = table.columns.first() == Some(&"seconds");
    let mut points: Vec<(Duration, f64)> = Vec::with_capacity(table.rows.len());
    let mut steps = Steps { last: None, step: None };
    for row in &table.rows {
        let time = mistakes.keep(time(row, in_seconds));
        let rate = mistakes.keep(rate(&row.cell(1)));
        if let Some(refused) = time.and_then(|time| steps.refuse(time, &row.cell(0))) {
            mistakes.add(refused);
        }
        points.extend(time.zip(rate));
    }
    match table.rows.last() {
        None => {
            mistakes.add(table.head.mistake("there is no row; write one per step, such as 0s,120"))
        }
        Some(row) => {
            let end = steps.last.zip(steps.step).map(|(last, step)| last.saturating_add(step));
            if let Some(end) = end.filter(|end| *end < lasting) {
                mistakes.add(row.line.mistake(format!(
                    "the figures end at {}, and the rehearsal at {}; add rows, or rehearse with \
                     --for {}",
                    Spelled(end),
                    Spelled(lasting),
                    Spelled(end),
                )));
            }
        }
    }
    mistakes.done(Shape::Measured(points))
}

/// The times of the rows so far.
struct Steps {
    last: Option<Duration>,
    step: Option<Duration>,
}

impl Steps {
    /// Why a time cannot be the next.
    fn refuse(&mut self, time: Duration, cell: &Word<'_>) -> Option<Mistake> {
        let Some(last) = self.last.replace(time) else {
            let late = !time.is_zero();
            return late.then(|| {
                cell.mistake(format!("the first time is {}; begin at 0s", Spelled(time)))
            });
        };
        if time <= last {
            // The rows after it are held against the one before.
            self.last = Some(last);
            let (time, last) = (Spelled(time), Spelled(last));
            let hint = "put the rows in order, one per time";
            return Some(cell.mistake(format!("{time} does not come after {last}; {hint}")));
        }
        let found = time - last;
        let step = *self.step.get_or_insert(found);
        let (from, to) = (Spelled(last), Spelled(time));
        if found > step {
            let message = format!(
                "there is nothing from {from} to {to}, and the step is {}; add the missing rows",
                Spelled(step)
            );
            return Some(cell.mistake(message));
        }
        (found < step).then(|| {
            let message = format!(
                "{from} to {to} is shorter than the step, which is {}; keep to one step",
                Spelled(step)
            );
            cell.mistake(message)
        })
    }
}

fn time(row: &Row<'_>, in_seconds: bool) -> Result<Duration, Mistake> {
    let cell = row.cell(0);
    if !in_seconds {
        return text::duration(&cell);
    }
    let seconds = cell.text.parse::<u32>();
    seconds.map(|it| Duration::from_secs(it.into())).map_err(|_| {
        cell.mistake(format!("`{}` is not a whole number of seconds; write 0, 60, ...", cell.text))
    })
}

/// Nobody may come for a while.
fn rate(cell: &Word<'_>) -> Result<f64, Mistake> {
    let number = cell.text.parse::<f64>().ok();
    number.filter(|number| (0.0..=RATE_MAX).contains(number)).ok_or_else(|| {
        let hint = "write a number from 0 up";
        cell.mistake(format!("`{}` is not a number of requests per second; {hint}", cell.text))
    })
}
