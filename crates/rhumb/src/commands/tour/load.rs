//! Clients that write all the time, prefer one region, and go on elsewhere when it fails them.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::client::{Client, ClientError};

/// How long a writer waits for an answer before it goes elsewhere.
const WRITE_WAIT: Duration = Duration::from_millis(700);
/// A writer's pause between two writes: it is a client, not a benchmark.
const WRITE_PAUSE: Duration = Duration::from_millis(1);
/// How long a writer stays away from a region that failed it.
const AVOID: Duration = Duration::from_millis(1_000);

/// What a writer did.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Keys whose write was acknowledged, with the place of the region among the addresses.
    pub(super) acknowledged: Vec<(String, usize)>,
    /// When each was acknowledged.
    pub(super) at: Vec<Instant>,
    /// Writes that were refused or whose outcome is unknown.
    pub(super) failed: usize,
}

impl Written {
    /// The longest time between two acknowledgements, and when it ended.
    pub(super) fn worst_gap(&self) -> Duration {
        let pairs = self.at.iter().zip(self.at.iter().skip(1));
        pairs.map(|(earlier, later)| later.duration_since(*earlier)).max().unwrap_or_default()
    }

    /// When the first write after a moment was acknowledged.
    pub(super) fn first_after(&self, moment: Instant) -> Option<Duration> {
        let first = self.at.iter().find(|at| **at > moment)?;
        Some(first.duration_since(moment))
    }
}

/// Writes until told to stop, to the first address that serves.
pub(super) fn write(prefix: &str, addresses: &[SocketAddr], stop: &AtomicBool) -> Written {
    let mut written = Written::default();
    let mut connection: Option<(usize, Client)> = None;
    let mut avoid: Vec<Option<Instant>> = vec![None; addresses.len()];
    let mut nth = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let preferred = (0..addresses.len()).find(|at| usable(&avoid, *at));
        let standing = connection.as_ref().map(|(at, _)| *at);
        if standing.is_none() || standing > preferred {
            connection = preferred.and_then(|at| open(addresses, at, &mut avoid)).or(connection);
        }
        let Some((at, client)) = &mut connection else {
            thread::sleep(WRITE_PAUSE);
            continue;
        };
        nth += 1;
        let key = format!("{prefix}{nth}");
        match client.call(&[b"SET", key.as_bytes(), b"x"]) {
            Ok(_) => {
                written.acknowledged.push((key, *at));
                written.at.push(Instant::now());
                thread::sleep(WRITE_PAUSE);
            }
            Err(error) => {
                written.failed += 1;
                // A refusal comes from a region that is there; it may still be unable to serve.
                let pause =
                    if matches!(error, ClientError::Refused(_)) { AVOID / 5 } else { AVOID };
                if let Some(until) = avoid.get_mut(*at) {
                    *until = Some(Instant::now() + pause);
                }
                connection = None;
            }
        }
    }
    written
}

fn usable(avoid: &[Option<Instant>], at: usize) -> bool {
    avoid.get(at).is_some_and(|until| until.is_none_or(|until| until <= Instant::now()))
}

fn open(
    addresses: &[SocketAddr],
    at: usize,
    avoid: &mut [Option<Instant>],
) -> Option<(usize, Client)> {
    let address = addresses.get(at)?;
    match Client::connect(*address, WRITE_WAIT) {
        Ok(client) => Some((at, client)),
        Err(_) => {
            if let Some(until) = avoid.get_mut(at) {
                *until = Some(Instant::now() + AVOID);
            }
            None
        }
    }
}
