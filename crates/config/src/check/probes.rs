//! Checks and hooks: one way each, that can be gone, in the time there is.

use http::Uri;
use rhumb_regions::health::CHECKS_MAX;
use rhumb_types::control::FailoverStep;

use super::Review;
use crate::{
    Period,
    path::Path,
    settings::{Checker, Probe},
};

/// Stands for the region that is checked.
pub const REGION_WORD: &str = "{region}";

/// Refuses checks and hooks that could never work.
pub(super) fn check(review: &mut Review<'_>) {
    checks(review);
    hooks(review);
}

fn checks(review: &mut Review<'_>) {
    let health = &review.settings().health;
    let path = Path::to("health").key("checks");
    if health.checks.len() > CHECKS_MAX {
        let message =
            format!("{} checks are too many: use at most {CHECKS_MAX}", health.checks.len());
        review.refuse(&path, message);
    }
    let usual = review.health.check_timeout;
    for (name, settings) in &health.checks {
        let path = path.key(name.as_str());
        let Some(probe) = settings.probe() else {
            review.refuse(&path, "give exactly one of `http`, `tcp` and `command`");
            continue;
        };
        way(review, &path, &probe, settings.from == Checker::Peers);
        let timeout = settings.timeout.map_or(usual, |period| period.0);
        if settings.interval.0.is_zero() || timeout.is_zero() {
            review
                .refuse(&path, "an interval and a timeout have a length, 30s and 5s for instance");
        } else if timeout > settings.interval.0 {
            let message = format!(
                "a check that may take {} cannot be done every {}; raise the interval",
                Period(timeout),
                settings.interval,
            );
            review.refuse(&path.key("interval"), message);
        }
    }
}

fn hooks(review: &mut Review<'_>) {
    let failover = &review.settings().failover;
    for (step, settings) in &failover.hooks {
        let path = Path::to("failover").key("hooks").key(step.name());
        let Some(probe) = settings.probe() else {
            review.refuse(&path, "give exactly one of `http` and `command`");
            continue;
        };
        way(review, &path, &probe, false);
        if let Some(verify) = &settings.verify {
            match verify.probe() {
                Some(probe) => way(review, &path.key("verify"), &probe, false),
                None => {
                    let message = "give exactly one of `http`, `tcp` and `command`";
                    review.refuse(&path.key("verify"), message);
                }
            }
        }
        let within = settings.within(failover);
        let needed = if settings.verify.is_some() { within * 2 } else { within };
        let given = match step {
            FailoverStep::Drain => failover.drain_timeout,
            FailoverStep::Watch => failover.watch,
            _ => failover.timeout,
        };
        if within.is_zero() || needed >= given.0 {
            let message = format!(
                "a hook with its verification may take {}, and its step ends after {given}; set \
                 `timeout` to more than 0s and less than that",
                Period(needed),
            );
            review.refuse(&path.key("timeout"), message);
        }
    }
}

/// Refuses a way that cannot be gone.
fn way(review: &mut Review<'_>, path: &Path, probe: &Probe, of_others: bool) {
    let named = |text: &str| text.replace(REGION_WORD, "region");
    let words = match probe {
        Probe::Http(url) => {
            let uri = named(url).parse::<Uri>().ok();
            let good = uri.is_some_and(|uri| {
                uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https"))
            });
            if !good {
                let message =
                    format!("`{url}` is no address: write http://HOST:PORT/PATH or https://");
                review.refuse(&path.key("http"), message);
            }
            vec![url]
        }
        Probe::Tcp(address) => {
            let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            if !port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0)) {
                review.refuse(
                    &path.key("tcp"),
                    format!("`{address}` is no address: write HOST:PORT"),
                );
            }
            vec![address]
        }
        Probe::Command(words) => {
            if words.first().is_none_or(String::is_empty) {
                review.refuse(&path.key("command"), "name a program: [/path/to/program, argument]");
            }
            words.iter().collect()
        }
    };
    let names_one = words.iter().any(|word| word.contains(REGION_WORD));
    if names_one && !of_others {
        let message = format!("{REGION_WORD} stands for something only in checks `from: peers`");
        review.refuse(path, message);
    }
}
