//! Figures for people: the digits that matter, with their unit.

use std::time::Duration;

use rhumb_types::ByteSize;

use crate::prices::MicroDollars;

/// A time.
#[must_use]
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let millis = seconds * 1e3;
    match seconds {
        _ if time.is_zero() => "0 ms".to_owned(),
        ..0.01 => format!("{millis:.1} ms"),
        ..0.9995 => format!("{millis:.0} ms"),
        ..9.995 => format!("{seconds:.2} s"),
        ..99.95 => format!("{seconds:.1} s"),
        _ => {
            let whole = time.as_secs();
            let (hours, minutes, seconds) = (whole / 3_600, whole / 60 % 60, whole % 60);
            match (hours, minutes, seconds) {
                (0, minutes, 0) => format!("{minutes} min"),
                (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
                (hours, 0, _) => format!("{hours} h"),
                (hours, minutes, _) => format!("{hours} h {minutes} min"),
            }
        }
    }
}

/// A number with its thousands apart.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() * 4 / 3);
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A share; above 1 where it is a load.
#[must_use]
pub fn share(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.0 => "0%".to_owned(),
        ..0.01 => "< 0.01%".to_owned(),
        ..1.0 => format!("{percent:.2}%"),
        ..99.95 => format!("{percent:.1}%"),
        _ => format!("{percent:.0}%"),
    }
}

/// An amount of money.
#[must_use]
pub fn dollars(amount: MicroDollars) -> String {
    let dollars = amount.0 as f64 / 1e6;
    if amount.0 > 0 && dollars < 1.0 {
        format!("{dollars:.4} USD")
    } else {
        format!("{dollars:.2} USD")
    }
}

/// A number of bytes.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_the_digits_that_matter() {
        let shown: Vec<String> = [0, 4, 780, 999, 2_140, 42_040, 120_000, 754_000, 9_000_000]
            .into_iter()
            .map(|millis| time(Duration::from_millis(millis)))
            .collect();
        assert_eq!(
            shown,
            [
                "0 ms",
                "4.0 ms",
                "780 ms",
                "999 ms",
                "2.14 s",
                "42.0 s",
                "2 min",
                "12 min 34 s",
                "2 h 30 min"
            ]
        );
        assert_eq!([count(7), count(1_234), count(1_234_567)], ["7", "1,234", "1,234,567"]);
        assert_eq!(
            [share(0.0), share(0.00001), share(0.0012), share(1.5)],
            ["0%", "< 0.01%", "0.12%", "150%"]
        );
        assert_eq!(dollars(MicroDollars(140_000)), "0.1400 USD");
    }
}
