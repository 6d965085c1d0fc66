//! The time of a signature: ISO 8601, basic format, UTC.

use std::fmt;

use rhumb_types::UnixMillis;

const SECONDS_PER_DAY: u64 = 86_400;
/// Days from the first of March of the year 0 to the first day of 1970.
const EPOCH_DAYS: u64 = 719_468;
/// Days of 400 years, after which the calendar repeats.
const ERA_DAYS: u64 = 146_097;

/// A second, as in `20150830T123600Z`; from 1970 to 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Stamp {
    seconds: u64,
}

impl Stamp {
    /// The second in which a time lies.
    #[must_use]
    pub const fn at(time: UnixMillis) -> Self {
        Self { seconds: time.0 / 1_000 }
    }

    /// The stamp that [`Display`](fmt::Display) wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
        if day.len() != 8 || time.len() != 6 {
            return None;
        }
        let number = |part: Option<&str>| -> Option<u64> {
            part.filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
        };
        let (year, month, date) =
            (number(day.get(..4))?, number(day.get(4..6))?, number(day.get(6..))?);
        let (hour, minute, second) =
            (number(time.get(..2))?, number(time.get(2..4))?, number(time.get(4..))?);
        let sound = year >= 1970 && (1..=12).contains(&month) && hour < 24 && minute < 60;
        if !sound || second >= 60 || !(1..=31).contains(&date) {
            return None;
        }
        let days = days_of(year, month, date);
        let stamp = Self { seconds: days * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second };
        // The 31st of February is some day in March, and reads differently.
        (stamp.to_string() == text).then_some(stamp)
    }

    /// When it is.
    #[must_use]
    pub const fn time(self) -> UnixMillis {
        UnixMillis(self.seconds.saturating_mul(1_000))
    }

    /// Its day, as in `20150830`.
    #[must_use]
    pub fn day(self) -> String {
        let (year, month, date) = date_of(self.seconds / SECONDS_PER_DAY);
        format!("{year:04}{month:02}{date:02}")
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = self.seconds % SECONDS_PER_DAY;
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{}T{hour:02}{minute:02}{second:02}Z", self.day())
    }
}

/// Days since 1970. Years begin in March, so that the leap day is the last of its year.
const fn days_of(year: u64, month: u64, date: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + date - 1;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + day_of_year;
    era * ERA_DAYS + day_of_era - EPOCH_DAYS
}

/// Year, month and date of a day since 1970.
const fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH_DAYS;
    let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * of_era + of_era / 4 - of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + of_era + if month <= 2 { 1 } else { 0 };
    (year, month, date)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_days() {
        for (text, seconds) in [
            ("19700101T000000Z", 0),
            ("20000229T235959Z", 951_868_799),
            ("20150830T123600Z", 1_440_938_160),
            ("20261121T131500Z", 1_795_266_900),
        ] {
            let stamp = Stamp::parse(text).unwrap();
            assert_eq!(stamp.time(), UnixMillis(seconds * 1_000), "{text}");
            assert_eq!(stamp.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_second_is_refused() {
        for bad in [
            "",
            "20150830T123600",
            "2015-08-30T12:36:00Z",
            "20150231T000000Z",
            "20151301T000000Z",
            "20150830T240000Z",
            "20150830T126000Z",
            "20150830T123660Z",
            "19691231T235959Z",
            "+0150830T123600Z",
            "2015083éT12360Z",
        ] {
            assert_eq!(Stamp::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_second_comes_back(seconds in 0_u64..253_402_300_800) {
            let stamp = Stamp { seconds };
            prop_assert_eq!(Stamp::parse(&stamp.to_string()), Some(stamp));
        }
    }
}
