//! How often GitHub may be asked, from what it says itself ("Best practices for using the REST API").
//!
//! Pure: the driver brings the time and a random number.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use rhumb_types::{MonoTime, Timestamp};

use crate::limits::{LIMITED_MAX, LIMITED_MIN, TROUBLE_MAX};

/// Until when nothing is asked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    until: MonoTime,
    /// Limits in a row that did not say how long.
    limits: u32,
    /// Answers in a row that failed for no reason of the request's.
    troubles: u32,
}

impl Pace {
    /// How long to wait before the next request.
    pub(super) fn wait(&self, now: MonoTime) -> Option<Duration> {
        let wait = self.until.saturating_since(now);
        (!wait.is_zero()).then_some(wait)
    }

    /// Learns from an answer; says for how long it limits.
    pub(super) fn answered(
        &mut self,
        now: Timestamp,
        random: u64,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Option<Duration> {
        let limited = status == StatusCode::TOO_MANY_REQUESTS
            || (status == StatusCode::FORBIDDEN && names_a_limit(headers));
        let spent = number(headers, "x-ratelimit-remaining") == Some(0);
        if limited {
            let said = number(headers, "retry-after")
                .map(Duration::from_secs)
                .or_else(|| spent.then(|| until_reset(now, headers)).flatten());
            let wait = said.unwrap_or_else(|| {
                self.limits = self.limits.saturating_add(1);
                LIMITED_MIN.saturating_mul(1 << (self.limits - 1).min(6))
            });
            return Some(self.rest(now, random, wait));
        }
        self.limits = 0;
        if status.is_server_error() {
            self.trouble(now, random);
            return None;
        }
        self.troubles = 0;
        // The last one that was allowed.
        if spent && let Some(wait) = until_reset(now, headers) {
            self.rest(now, random, wait);
        }
        None
    }

    /// A request that had no answer, or a bad one.
    pub(super) fn trouble(&mut self, now: Timestamp, random: u64) {
        self.troubles = self.troubles.saturating_add(1);
        // The first few are forgiven: one bad answer is none of the next request's business.
        if let Some(beyond) = self.troubles.checked_sub(3) {
            let wait = Duration::from_secs(1).saturating_mul(1 << beyond.min(8)).min(TROUBLE_MAX);
            self.rest(now, random, wait);
        }
    }

    /// Waits so long and up to a tenth more, so that regions do not come back together.
    fn rest(&mut self, now: Timestamp, random: u64, wait: Duration) -> Duration {
        let wait = wait.clamp(Duration::from_secs(1), LIMITED_MAX);
        let tenth = u64::try_from(wait.as_millis() / 10).unwrap_or(u64::MAX).max(1);
        let wait = wait + Duration::from_millis(random % tenth);
        self.until = self.until.max(now.mono + wait);
        wait
    }
}

/// Whether a refusal is one for asking too often: GitHub uses 403 for both.
fn names_a_limit(headers: &HeaderMap) -> bool {
    headers.contains_key("retry-after") || number(headers, "x-ratelimit-remaining") == Some(0)
}

/// `x-ratelimit-reset` is a time in Unix seconds.
fn until_reset(now: Timestamp, headers: &HeaderMap) -> Option<Duration> {
    let reset = number(headers, "x-ratelimit-reset")?.checked_mul(1_000)?;
    Some(Duration::from_millis(reset.saturating_sub(now.wall.0)))
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use rhumb_types::UnixMillis;

    use super::*;

    const NOW: Timestamp =
        Timestamp { wall: UnixMillis(1_000_000_000_000), mono: MonoTime(5_000_000) };

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn waits(status: u16, pairs: &[(&'static str, &str)]) -> u64 {
        let mut pace = Pace::default();
        pace.answered(NOW, 0, StatusCode::from_u16(status).unwrap(), &headers(pairs));
        pace.wait(NOW.mono).map_or(0, |wait| wait.as_secs())
    }

    #[test]
    fn what_github_says_is_kept_to() {
        assert_eq!(waits(429, &[("retry-after", "17")]), 17);
        assert_eq!(waits(403, &[("retry-after", "30")]), 30);
        let spent = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1000000090")];
        assert_eq!(waits(403, &spent), 90);
        assert_eq!(waits(200, &spent), 90);
        assert_eq!(waits(429, &[]), 60);
    }

    #[test]
    fn a_refusal_for_another_reason_holds_nobody_up() {
        assert_eq!(waits(403, &[("x-ratelimit-remaining", "4000")]), 0);
        assert_eq!(waits(403, &[]), 0);
        assert_eq!(waits(404, &[]), 0);
        assert_eq!(waits(200, &[("x-ratelimit-remaining", "1")]), 0);
    }

    #[test]
    fn what_cannot_be_believed_is_bounded() {
        assert_eq!(waits(429, &[("retry-after", "99999999999")]), 3_600);
        assert_eq!(waits(429, &[("retry-after", "soon")]), 60);
        let past = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "5")];
        assert_eq!(waits(403, &past), 1);
    }

    #[test]
    fn limits_without_a_time_double_and_an_answer_ends_them() {
        let mut pace = Pace::default();
        let mut limit = || {
            pace.answered(NOW, 0, StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new())
                .unwrap()
                .as_secs()
        };
        assert_eq!([limit(), limit(), limit()], [60, 120, 240]);
        pace.answered(NOW, 0, StatusCode::OK, &HeaderMap::new());
        let again = pace.answered(NOW, 0, StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new());
        assert_eq!(again.unwrap().as_secs(), 60);
    }

    #[test]
    fn troubles_back_off_after_the_first_few_and_never_for_long() {
        let mut pace = Pace::default();
        pace.answered(NOW, 0, StatusCode::BAD_GATEWAY, &HeaderMap::new());
        pace.trouble(NOW, 0);
        assert_eq!(pace.wait(NOW.mono), None);
        for _ in 0..40 {
            pace.trouble(NOW, u64::MAX);
        }
        let wait = pace.wait(NOW.mono).unwrap();
        assert!(wait >= TROUBLE_MAX && wait < TROUBLE_MAX * 2, "{wait:?}");
    }
}
