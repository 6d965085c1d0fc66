//! Axes: where a value stands, and the round values beside which a line is drawn.

use std::time::Duration;

/// About how many lines an axis of numbers has.
const LINES: f64 = 5.0;
/// Most lines of an axis of time.
const TIME_LINES_MAX: u64 = 10;
/// Steps of an axis of time, in seconds.
const TIME_STEPS: [u64; 21] = [
    1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200,
    86_400, 172_800, 604_800, 2_592_000,
];

/// A line of an axis: where, and what is written beside it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Tick {
    /// From 0 to 1.
    pub(super) at: f64,
    pub(super) label: String,
}

/// The scale of values.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Scale {
    /// From zero to this.
    Linear(f64),
    /// From one power of ten to another.
    Log(i32, i32),
}

impl Scale {
    /// From zero to a round number above all values.
    pub(super) fn linear(most: f64) -> Self {
        let most = if most > 0.0 && most.is_finite() { most } else { 1.0 };
        let step = round_step(most / LINES);
        Self::Linear((most / step).ceil().max(1.0) * step)
    }

    /// As many powers of ten as the values need.
    pub(super) fn log(values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|value| *value > 0.0 && value.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        if high <= 0.0 {
            return Self::Log(0, 3);
        }
        let (low, high) = (exponent(low.log10().floor()), exponent(high.log10().ceil()));
        Self::Log(low, high.max(low + 1))
    }

    /// Where a value stands, from 0 to 1; `None` where it cannot stand.
    pub(super) fn place(self, value: f64) -> Option<f64> {
        let place = match self {
            Self::Linear(most) => value / most,
            Self::Log(low, high) => (value.log10() - f64::from(low)) / f64::from(high - low),
        };
        place.is_finite().then(|| place.clamp(0.0, 1.0))
    }

    /// The lines of the axis.
    pub(super) fn ticks(self, label: fn(f64) -> String) -> Vec<Tick> {
        let tick = |value: f64| Some(Tick { at: self.place(value)?, label: label(value) });
        match self {
            Self::Linear(most) => {
                let step = round_step(most / LINES);
                let steps = (0_u32..).map(|nth| f64::from(nth) * step);
                // The last is the end of the axis, whose sum of steps may be a bit more than it.
                steps.take_while(|value| *value <= most * 1.000_001).filter_map(tick).collect()
            }
            Self::Log(low, high) => {
                (low..=high).map(|nth| 10_f64.powi(nth)).filter_map(tick).collect()
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "powers of ten of a time in milliseconds")]
const fn exponent(power: f64) -> i32 {
    power as i32
}

/// 1, 2, 2.5 or 5 times a power of ten, at least as large as this.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let round = [1.0, 2.0, 2.5, 5.0, 10.0].map(|it| it * power);
    round.into_iter().find(|it| *it >= step * 0.999_999).unwrap_or(power * 10.0)
}

/// The lines of an axis of time.
pub(super) fn time_ticks(lasting: Duration) -> Vec<Tick> {
    let whole = lasting.as_secs_f64();
    let fits = |step: &&u64| whole / **step as f64 <= TIME_LINES_MAX as f64;
    let step = TIME_STEPS.iter().find(fits).copied().unwrap_or(lasting.as_secs().max(1));
    let times = (0..=TIME_LINES_MAX).map(|nth| nth * step);
    let shown = times.take_while(|time| *time as f64 <= whole);
    shown.map(|time| Tick { at: time as f64 / whole, label: clock(time, step) }).collect()
}

/// A time since the start, in the unit of the steps.
fn clock(seconds: u64, step: u64) -> String {
    match step {
        _ if seconds == 0 => "0".to_owned(),
        ..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A number as short as it can be said.
pub(super) fn plain(value: f64) -> String {
    let (scaled, suffix) = match value.abs() {
        1e9.. => (value / 1e9, "G"),
        1e6.. => (value / 1e6, "M"),
        1e4.. => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = (scaled * 1e4).round() / 1e4;
    format!("{digits}{suffix}")
}

/// Milliseconds, in the unit that is round.
pub(super) fn millis(value: f64) -> String {
    match value {
        ..1e3 => format!("{} ms", plain(value)),
        _ => format!("{} s", plain(value / 1e3)),
    }
}

/// Bytes.
pub(super) fn bytes(value: f64) -> String {
    format!("{}B", plain(value))
}

/// A share, in percent.
pub(super) fn percent(value: f64) -> String {
    format!("{}%", plain(value))
}

/// Dollars.
pub(super) fn dollars(value: f64) -> String {
    format!("{} USD", plain(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn lines_are_at_round_values() {
        assert_eq!(
            labels(&Scale::linear(870.0).ticks(plain)),
            ["0", "200", "400", "600", "800", "1000"]
        );
        assert_eq!(
            labels(&Scale::linear(0.0).ticks(plain)),
            ["0", "0.2", "0.4", "0.6", "0.8", "1"]
        );
        assert_eq!(Scale::linear(1_000.0), Scale::Linear(1_000.0));
        let latency = Scale::log([3.0, 0.0, 1_400.0, f64::NAN].into_iter());
        assert_eq!(labels(&latency.ticks(millis)), ["1 ms", "10 ms", "100 ms", "1 s", "10 s"]);
        assert_eq!(latency.place(100.0), Some(0.5));
        assert_eq!(latency.place(0.0), None);
    }

    #[test]
    fn times_are_at_round_values() {
        let of = |seconds| time_ticks(Duration::from_secs(seconds));
        assert_eq!(labels(&of(3_600))[..3], ["0", "10 min", "20 min"]);
        assert_eq!(labels(&of(120))[3..], ["60 s", "80 s", "100 s", "120 s"]);
        assert_eq!(labels(&of(7)).last(), Some(&"7 s"));
        assert_eq!(labels(&of(86_400))[..3], ["0", "3 h", "6 h"]);
        assert_eq!(labels(&of(604_800))[..2], ["0", "1 d"]);
    }
}
