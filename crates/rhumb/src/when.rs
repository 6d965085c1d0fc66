//! Times as people write them, in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// What stands for a time that no calendar has.
const UNKNOWN: &str = "?";

/// A day.
pub(crate) fn day(at: SystemTime) -> String {
    instant(at).map_or_else(|| UNKNOWN.to_owned(), |at| at.date().to_string())
}

/// A minute.
pub(crate) fn minute(at: SystemTime) -> String {
    instant(at).map_or_else(
        || UNKNOWN.to_owned(),
        |at| format!("{} {:02}:{:02} UTC", at.date(), at.hour(), at.minute()),
    )
}

/// A second of a day.
pub(crate) fn second(at: SystemTime) -> String {
    instant(at).map_or_else(
        || UNKNOWN.to_owned(),
        |at| format!("{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second()),
    )
}

/// Seconds since 1970, for JSON.
pub(crate) fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The time that is so many milliseconds after the start of 1970.
pub(crate) fn from_unix_millis(millis: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH)
}

fn instant(at: SystemTime) -> Option<OffsetDateTime> {
    let seconds = i64::try_from(unix_seconds(at)).ok()?;
    OffsetDateTime::from_unix_timestamp(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_of_the_calendar() {
        let at = from_unix_millis(1_795_236_042_900);
        assert_eq!(day(at), "2026-11-21");
        assert_eq!(minute(at), "2026-11-21 04:40 UTC");
        assert_eq!(second(at), "04:40:42");
        assert_eq!(unix_seconds(at), 1_795_236_042);
        assert_eq!(day(from_unix_millis(u64::MAX)), UNKNOWN);
    }
}
