//! Queues side by side: how many jobs go from enqueue over lease to complete, and how soon a job that
//! was enqueued is leased.
//!
//! Every client has a connection of its own and a thread of its own; it enqueues a batch, leases as
//! many jobs, which may be others', and completes them, and waits for each answer. The brokers take
//! turns, each fresh for every setting. The clients here are as thin as their protocols allow, so that
//! what is compared are the servers.

mod nats;
mod postgres;
mod rabbitmq;
mod rhumb;

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
pub(crate) use rhumb::ask;
use rhumb_integration::programs;
use serde::Serialize;

use crate::{
    machine,
    plan::{Durability, Effort, Wanted},
    progress,
    stats::{Spread, millis, percentile},
};

/// The name of its rows.
const NAME: &str = "queues";
/// Bytes of a job.
pub(crate) const BODY_BYTES: usize = 256;
/// How long a client waits for any answer.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(20);
/// How long a broker may take to start: RabbitMQ needs ten seconds on a busy machine.
const START_WAIT: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Load before anything counts.
const WARM_UP: Duration = Duration::from_secs(1);
/// A client of five hundred needs little stack.
const STACK_BYTES: usize = 256 << 10;

/// What a job carries: when it was enqueued, and filling. It is text without anything that a protocol
/// would have to escape.
#[derive(Clone, Debug)]
pub(crate) struct Body(String);

impl Body {
    fn new(since: Instant) -> Self {
        let nanos = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Self(format!("{nanos:016x}{}", "x".repeat(BODY_BYTES - 16)))
    }

    fn parse(text: &str) -> Result<Self> {
        ensure!(text.len() == BODY_BYTES, "a job of {} bytes", text.len());
        Ok(Self(text.to_owned()))
    }

    fn as_str(&self) -> &str {
        &self.0
    }

    fn age(&self, since: Instant) -> Result<Duration> {
        let nanos = self.0.get(..16).context("a short job")?;
        let then = Duration::from_nanos(u64::from_str_radix(nanos, 16)?);
        Ok(since.elapsed().saturating_sub(then))
    }
}

/// A server with one empty queue. Dropping it ends it and removes its files.
pub(crate) trait Broker: Sync {
    /// Another client.
    fn connect(&self) -> Result<Box<dyn Client>>;

    /// The process that serves; what it starts is its own.
    fn process(&self) -> Result<u32>;
}

/// One connection to a broker.
pub(crate) trait Client {
    /// Takes jobs in, as durably as the broker was started for.
    fn enqueue(&mut self, bodies: &[Body]) -> Result<()>;

    /// Leases up to so many jobs.
    fn lease(&mut self, jobs_max: usize, bodies: &mut Vec<Body>) -> Result<()>;

    /// All that is leased is done; a broker may hear of it with the next lease, which the same worker asks
    /// for a moment later.
    fn complete(&mut self) -> Result<()>;
}

/// Whose queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Side {
    Rhumb,
    Postgres,
    RabbitmqClassic,
    RabbitmqQuorum,
    RhumbMemory,
    Nats,
}

impl Side {
    /// First those that fsync before they answer, then those whose disk follows.
    const ALL: [Self; 6] = [
        Self::Rhumb,
        Self::Postgres,
        Self::RabbitmqClassic,
        Self::RabbitmqQuorum,
        Self::RhumbMemory,
        Self::Nats,
    ];

    fn start(self, batch: usize) -> Result<Box<dyn Broker>> {
        let window = u16::try_from(batch)?;
        Ok(match self {
            Self::Rhumb => Box::new(rhumb::Rhumb::start(Durability::Local)?),
            Self::RhumbMemory => Box::new(rhumb::Rhumb::start(Durability::Memory)?),
            Self::Postgres => Box::new(postgres::Postgres::start()?),
            Self::RabbitmqClassic => {
                Box::new(rabbitmq::RabbitMq::start(rabbitmq::Kind::Classic, window)?)
            }
            Self::RabbitmqQuorum => {
                Box::new(rabbitmq::RabbitMq::start(rabbitmq::Kind::Quorum, window)?)
            }
            Self::Nats => Box::new(nats::Nats::start()?),
        })
    }

    /// Its part of a row's name.
    const fn slug(self) -> &'static str {
        match self {
            Self::Rhumb => "rhumb",
            Self::RhumbMemory => "rhumb-memory",
            Self::Postgres => "postgres",
            Self::RabbitmqClassic => "rabbitmq-classic",
            Self::RabbitmqQuorum => "rabbitmq-quorum",
            Self::Nats => "nats",
        }
    }

    /// Where its server is.
    fn program(self) -> Result<PathBuf> {
        match self {
            Self::Rhumb | Self::RhumbMemory => programs::rhumb(),
            Self::Postgres => postgres::programs(),
            Self::RabbitmqClassic | Self::RabbitmqQuorum => rabbitmq::program(),
            Self::Nats => nats::program(),
        }
    }

    /// What is on the disk when a client hears that its job is taken in.
    const fn durability(self) -> &'static str {
        match self {
            Self::Rhumb | Self::Postgres => "fsynced",
            Self::RabbitmqClassic | Self::RabbitmqQuorum => "fsynced; completing has no answer",
            Self::RhumbMemory => "the disk follows within a second",
            Self::Nats => "the disk follows within two minutes",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rhumb => "Rhumb, `local`",
            Self::RhumbMemory => "Rhumb, `memory`",
            Self::Postgres => "PostgreSQL, `SKIP LOCKED`",
            Self::RabbitmqClassic => "RabbitMQ, classic durable",
            Self::RabbitmqQuorum => "RabbitMQ, quorum of one",
            Self::Nats => "NATS JetStream, file",
        })
    }
}

/// One row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    clients: usize,
    batch: usize,
    side: Side,
    /// Jobs completed per second.
    cycles_per_second: Spread,
    /// From before the enqueue to the lease, over all rounds.
    lease_p50_millis: f64,
    lease_p99_millis: f64,
    /// Of the server, per job.
    processor_micros: Spread,
}

/// Everything about queues.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Queues {
    rows: Vec<Row>,
    busy_by_others: Option<Spread>,
}

/// Measures the wanted settings.
pub(crate) fn measure(wanted: &Wanted, effort: Effort) -> Result<Queues> {
    let mut all = Queues::default();
    let mut busy = Vec::new();
    if !wanted.includes_some_of(NAME) {
        return Ok(all);
    }
    let there = installed();
    for clients in [1, 50, 500] {
        for batch in [1, 10] {
            let name = |side: Side| format!("{NAME}/{clients}/{batch}/{}", side.slug());
            let sides: Vec<Side> =
                there.iter().copied().filter(|side| wanted.includes(&name(*side))).collect();
            all.rows.extend(measure_setting(clients, batch, &sides, effort, &mut busy)?);
        }
    }
    all.busy_by_others = Spread::of(&busy);
    Ok(all)
}

/// The sides whose servers are on this machine; the others are named.
fn installed() -> Vec<Side> {
    let is_there = |side: &Side| match side.program() {
        Ok(_) => true,
        Err(missing) => {
            progress(&format!("{NAME}: {side} is left out: {missing}"));
            false
        }
    };
    Side::ALL.into_iter().filter(is_there).collect()
}

fn measure_setting(
    clients: usize,
    batch: usize,
    sides: &[Side],
    effort: Effort,
    busy: &mut Vec<f64>,
) -> Result<Vec<Row>> {
    let mut rounds: Vec<_> = sides.iter().map(|side| (*side, Rounds::default())).collect();
    for round in 1..=effort.rounds {
        for (side, rounds) in &mut rounds {
            busy.push(machine::busy()?);
            let broker = side.start(batch).with_context(|| side.to_string())?;
            let load = load(broker.as_ref(), clients, batch, effort.run);
            let load = load.with_context(|| side.to_string())?;
            progress(&format!(
                "{NAME}/{clients}/{batch}: {side}, round {round} of {}: {:.0}/s, {:.1} us of the server each",
                effort.rounds, load.rate, load.processor_micros
            ));
            rounds.rates.push(load.rate);
            rounds.processor.push(load.processor_micros);
            rounds.ages.extend(load.ages);
        }
    }
    let row = |(side, rounds): (Side, Rounds)| {
        let Rounds { rates, processor, mut ages } = rounds;
        ages.sort_unstable();
        let at = |percent| millis(percentile(&ages, percent));
        let (lease_p50_millis, lease_p99_millis) = (at(50), at(99));
        let cycles_per_second = Spread::of(&rates)?;
        Some(Row {
            clients,
            batch,
            side,
            cycles_per_second,
            lease_p50_millis,
            lease_p99_millis,
            processor_micros: Spread::of(&processor)?,
        })
    };
    Ok(rounds.into_iter().filter_map(row).collect())
}

/// What all rounds of a side gave.
#[derive(Default)]
struct Rounds {
    rates: Vec<f64>,
    processor: Vec<f64>,
    ages: Vec<Duration>,
}

/// What one round gave.
struct Load {
    /// Jobs completed per second.
    rate: f64,
    /// Of the server, per job.
    processor_micros: f64,
    /// From enqueue to lease.
    ages: Vec<Duration>,
}

fn load(broker: &dyn Broker, clients: usize, batch: usize, long: Duration) -> Result<Load> {
    let (since, process) = (Instant::now(), broker.process()?);
    let (counting, stopping) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..clients {
            let (counting, stopping) = (&counting, &stopping);
            let thread = thread::Builder::new().stack_size(STACK_BYTES);
            let work = move || work(broker, batch, since, counting, stopping);
            match thread.spawn_scoped(scope, work) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    stopping.store(true, Ordering::Release);
                    return Err(error.into());
                }
            }
        }
        thread::sleep(WARM_UP);
        counting.store(true, Ordering::Release);
        let (began, before) = (Instant::now(), machine::processor_time(process));
        thread::sleep(long);
        counting.store(false, Ordering::Release);
        let (lasted, after) = (began.elapsed(), machine::processor_time(process));
        stopping.store(true, Ordering::Release);
        let mut ages = Vec::new();
        for thread in threads {
            ages.extend(thread.join().map_err(|_| anyhow!("a client panicked"))??);
        }
        ensure!(!ages.is_empty(), "no job went through");
        #[expect(clippy::cast_precision_loss, reason = "millions at most")]
        let jobs = ages.len() as f64;
        let rate = jobs / lasted.as_secs_f64();
        let processor_micros = after?.saturating_sub(before?).as_secs_f64() * 1e6 / jobs;
        Ok(Load { rate, processor_micros, ages })
    })
}

/// One client: the age at its lease of each job that it completed while it counted.
fn work(
    broker: &dyn Broker,
    batch: usize,
    since: Instant,
    counting: &AtomicBool,
    stopping: &AtomicBool,
) -> Result<Vec<Duration>> {
    let mut client = broker.connect()?;
    let mut counted = Vec::new();
    while !stopping.load(Ordering::Acquire) {
        let bodies: Vec<Body> = (0..batch).map(|_| Body::new(since)).collect();
        client.enqueue(&bodies)?;
        let mut leased = Vec::with_capacity(batch);
        client.lease(batch, &mut leased)?;
        let ages: Vec<Duration> =
            leased.iter().map(|body| body.age(since)).collect::<Result<_>>()?;
        client.complete()?;
        if counting.load(Ordering::Acquire) {
            counted.extend(ages);
        }
    }
    Ok(counted)
}

impl Queues {
    /// The table.
    pub(crate) fn to_markdown(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let mut lines = vec![
            format!(
                "Jobs of {BODY_BYTES} bytes from enqueue over lease to complete, per second: median, \
                 lowest and highest.{}",
                crate::report::busy(self.busy_by_others)
            ),
            String::new(),
            "| clients | batch | queue | when enqueue is answered | jobs per second \
             | us of the server per job | ms from enqueue to lease: p50, p99 |"
                .to_owned(),
            "|---|---|---|---|---|---|---|".to_owned(),
        ];
        lines.extend(self.rows.iter().map(|row| {
            format!(
                "| {} | {} | {} | {} | {} | {:.1} | {:.1}, {:.1} |",
                row.clients,
                row.batch,
                row.side,
                row.side.durability(),
                crate::report::spread(row.cycles_per_second),
                row.processor_micros.median,
                row.lease_p50_millis,
                row.lease_p99_millis
            )
        }));
        lines.join("\n") + "\n"
    }
}

/// An address that is free now; nobody else is given it so soon.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

pub(crate) fn quietly(command: &mut Command) -> &mut Command {
    command.stdout(Stdio::null()).stderr(Stdio::null())
}

/// Tries until a server that starts is there.
pub(crate) fn eventually(name: &str, attempt: impl Fn() -> Result<()>) -> Result<()> {
    let since = Instant::now();
    while let Err(error) = attempt() {
        if since.elapsed() > START_WAIT {
            return Err(error.context(format!("{name} does not serve")));
        }
        thread::sleep(LOOK_INTERVAL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_tells_when_it_was_made() {
        let since = Instant::now();
        let body = Body::new(since);
        assert_eq!(body.as_str().len(), BODY_BYTES);
        let parsed = Body::parse(body.as_str()).unwrap();
        assert!(parsed.age(since).unwrap() <= since.elapsed());
        assert!(Body::parse("short").is_err());
    }
}
