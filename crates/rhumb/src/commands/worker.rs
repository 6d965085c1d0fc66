//! `rhumb worker`: leases jobs over HTTP, and runs a command for each.
//!
//! `rhumb_worker` decides; here its effects are carried out, on one thread, because a command is to end
//! with the thread that started it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    process::{self, ExitCode},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rhumb_types::MonoTime;
use rhumb_worker::{
    Effect, Effects, Ended, Event, LostBy, Running, Settings, TaskId, Verdict, Way, Work, Worker,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, mpsc},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use self::desk::{Desk, Leased, Settled};
use super::note;
use crate::cli;

mod desk;

/// Time between two ticks of the machine.
const TICK: Duration = Duration::from_millis(100);
/// Time between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// What the tasks say and nobody has read yet.
const SAID_MAX: usize = 4_096;
/// How long a request for jobs may still take once the worker is to stop.
const LAST_ANSWER_WAIT: Duration = Duration::from_secs(1);
/// Pause before a job is settled again that no node took the settlement of.
const SETTLE_PAUSE: Duration = Duration::from_millis(500);
/// How long settling is tried at least, although the lease is over: the answer may still be a yes.
const SETTLE_WAIT_MIN: Duration = Duration::from_secs(2);
/// Longest attribute that is put into the environment, in bytes.
const ATTRIBUTE_BYTES_MAX: usize = 8 << 10;

/// Works until it is told to stop.
pub(crate) fn run(args: cli::Worker) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work(args))?;
    Ok(ExitCode::SUCCESS)
}

/// What tasks tell the loop.
enum Said {
    /// Something for the machine.
    Event(Event),
    /// Jobs, and when they were asked for.
    Jobs(Vec<Leased>),
}

/// A job in this worker's hands.
struct Held {
    job: Arc<Leased>,
    began: Instant,
    ends: MonoTime,
    /// Tells its command to end.
    tell: Option<mpsc::Sender<Way>>,
}

/// A command that ends with this process, whatever ends that.
struct Attached {
    program: OsString,
    arguments: Vec<OsString>,
}

impl Attached {
    fn to_this_process(command: &[OsString]) -> Result<Self> {
        let program = std::env::current_exe().context("find this program")?.into_os_string();
        let own = ["attached", "--parent", &process::id().to_string(), "--"].map(OsString::from);
        Ok(Self { program, arguments: own.into_iter().chain(command.iter().cloned()).collect() })
    }
}

/// What carries the machine's effects out.
struct Driver {
    desk: Arc<Desk>,
    name: String,
    command: Attached,
    visibility: Duration,
    quiet: bool,
    clock: Instant,
    held: BTreeMap<TaskId, Held>,
    next: u64,
    said: mpsc::Sender<Said>,
    tasks: JoinSet<()>,
    stop_receiving: Arc<Notify>,
    stopped: bool,
}

async fn work(args: cli::Worker) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let settings = Settings {
        concurrency: usize::from(args.concurrency),
        visibility: args.visibility,
        timeout: args.timeout,
        grace: args.grace,
    };
    let name = args.name.clone().unwrap_or_else(own_name);
    let desk = Desk::new(&args, &name).context("the worker cannot start")?;
    let (said, mut hears) = mpsc::channel(SAID_MAX);
    let mut driver = Driver::new(&args, name, desk, said)?;
    let mut worker = Worker::new(settings);
    let mut out = Effects::default();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut beats = interval(HEARTBEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !driver.stopped {
        let event = tokio::select! {
            _ = terminate.recv() => driver.told_to_stop(&worker),
            _ = interrupt.recv() => driver.told_to_stop(&worker),
            Some(said) = hears.recv() => driver.heard(said),
            _ = beats.tick() => {
                driver.beat(&worker, settings.concurrency);
                continue;
            }
            Some(_) = driver.tasks.join_next(), if !driver.tasks.is_empty() => continue,
            _ = ticks.tick() => Event::Tick,
        };
        worker.on_event(driver.now(), event, &mut out);
        while let Some(effect) = out.pop() {
            driver.carry_out(effect);
        }
    }
    Ok(())
}

/// The host and the process; good for people who look for it.
fn own_name() -> String {
    let host = rustix::system::uname();
    format!("{}/{}", host.nodename().to_string_lossy(), process::id())
}

impl Driver {
    fn new(args: &cli::Worker, name: String, desk: Desk, said: mpsc::Sender<Said>) -> Result<Self> {
        Ok(Self {
            desk: Arc::new(desk),
            name,
            command: Attached::to_this_process(&args.command)?,
            visibility: args.visibility,
            quiet: args.quiet,
            clock: Instant::now(),
            held: BTreeMap::new(),
            next: 0,
            said,
            tasks: JoinSet::new(),
            stop_receiving: Arc::default(),
            stopped: false,
        })
    }

    /// Time since the start. It stands still while the machine sleeps; a lease that ended meanwhile is
    /// found at the next renewal, and by the node in any case.
    fn now(&self) -> MonoTime {
        MonoTime(0) + self.clock.elapsed()
    }

    fn told_to_stop(&self, worker: &Worker) -> Event {
        let running = worker.running().count();
        if worker.is_stopping() {
            note("stopping at once");
        } else if running > 0 {
            note(&format!("stopping: {running} commands may go on for a while"));
        }
        Event::Stop
    }

    /// Turns what a task said into an event.
    fn heard(&mut self, said: Said) -> Event {
        let jobs = match said {
            Said::Event(event) => {
                if let Event::Renewed(id, ends) = event
                    && let Some(held) = self.held.get_mut(&id)
                {
                    held.ends = ends;
                }
                return event;
            }
            Said::Jobs(jobs) => jobs,
        };
        let now = self.now();
        let taken = jobs.into_iter().map(|job| {
            let (id, ends) = (TaskId(self.next), now + job.lease);
            self.next += 1;
            let (job, began) = (Arc::new(job), Instant::now());
            self.held.insert(id, Held { job, began, ends, tell: None });
            (id, ends)
        });
        Event::Received(taken.collect())
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Receive(count) => self.receive(count),
            Effect::StopReceiving => self.stop_receiving.notify_one(),
            Effect::Start(id) => self.start(id),
            Effect::Renew(id) => self.renew(id),
            Effect::End(id, way) => self.end(id, way),
            Effect::Settle(id, verdict) => self.settle(id, verdict),
            Effect::Forget(id, by) => self.forget(id, by),
            Effect::Stopped => self.stopped = true,
        }
    }

    fn receive(&mut self, count: usize) {
        let (desk, said, stop) =
            (self.desk.clone(), self.said.clone(), self.stop_receiving.clone());
        self.tasks.spawn(async move {
            let stopped = async {
                stop.notified().await;
                // An answer that is on its way is better taken: its jobs go back at once.
                sleep(LAST_ANSWER_WAIT).await;
            };
            let heard = tokio::select! {
                jobs = desk.receive(count) => jobs.map_or(Said::Event(Event::Unanswered), Said::Jobs),
                () = stopped => Said::Jobs(Vec::new()),
            };
            // The loop ends only when it waits for nothing.
            let _ended = said.send(heard).await;
        });
    }

    fn start(&mut self, id: TaskId) {
        let Some(held) = self.held.get_mut(&id) else { return };
        let work = work_of(&self.command, &held.job, &self.name);
        let said = self.said.clone();
        let ended = match Running::start(work) {
            Ok((running, tell)) => {
                held.tell = Some(tell);
                self.tasks.spawn(async move {
                    let ended = running.end().await;
                    let _ended = said.send(Said::Event(Event::Ended(id, ended))).await;
                });
                return;
            }
            Err(error) => {
                super::complain(&error.to_string());
                Ended::not_started(&error)
            }
        };
        self.tasks.spawn(async move {
            let _ended = said.send(Said::Event(Event::Ended(id, ended))).await;
        });
    }

    fn renew(&mut self, id: TaskId) {
        let Some(held) = self.held.get(&id) else { return };
        let (desk, said, job) = (self.desk.clone(), self.said.clone(), held.job.clone());
        // From before it is asked for: the node counts from later.
        let ends = self.now() + self.visibility;
        self.tasks.spawn(async move {
            let event = match desk.extend(&job.receipt).await {
                Settled::Done => Event::Renewed(id, ends),
                Settled::Lost(_) => Event::Stale(id),
                Settled::Unanswered(_) => Event::NotRenewed(id),
            };
            let _ended = said.send(Said::Event(event)).await;
        });
    }

    fn end(&self, id: TaskId, way: Way) {
        if let Some(tell) = self.held.get(&id).and_then(|held| held.tell.as_ref()) {
            // It was told often enough, or has ended.
            let _told = tell.try_send(way);
        }
    }

    fn settle(&mut self, id: TaskId, verdict: Verdict) {
        let Some(held) = self.held.remove(&id) else { return };
        let (desk, said) = (self.desk.clone(), self.said.clone());
        let left = held.ends.saturating_since(self.now()).max(SETTLE_WAIT_MIN);
        let deadline = Instant::now() + left;
        let quiet = self.quiet;
        self.tasks.spawn(async move {
            let settled = loop {
                let settled = desk.settle(&held.job.receipt, &verdict).await;
                let again = matches!(settled, Settled::Unanswered(_)) && Instant::now() < deadline;
                if !again {
                    break settled;
                }
                sleep(SETTLE_PAUSE).await;
            };
            tell_of(&held, &verdict, &settled, quiet);
            let _ended = said.send(Said::Event(Event::Settled(id))).await;
        });
    }

    fn forget(&mut self, id: TaskId, by: LostBy) {
        let Some(held) = self.held.remove(&id) else { return };
        let why = match by {
            LostBy::Stale => "its lease does not count any more",
            LostBy::Expiry => "its lease could not be renewed in time",
        };
        super::complain(&format!("{} was lost: {why}; its command was killed", held.job.name()));
    }

    fn beat(&mut self, worker: &Worker, concurrency: usize) {
        let running = worker.running().filter_map(|id| self.held.get(&id));
        let active: Vec<String> = running.map(|held| held.job.id.clone()).collect();
        let (desk, stopping) = (self.desk.clone(), worker.is_stopping());
        // Nothing rests on a heartbeat.
        self.tasks.spawn(async move { desk.beat(concurrency, &active, stopping).await });
    }
}

/// Says what became of a job.
fn tell_of(held: &Held, verdict: &Verdict, settled: &Settled, quiet: bool) {
    let (job, after) = (held.job.name(), held.began.elapsed().as_millis());
    let what = match verdict {
        Verdict::Complete => "is done".to_owned(),
        Verdict::Release => "was given back".to_owned(),
        Verdict::Fail(why) => format!("failed: {why}"),
        Verdict::Dead(why) => format!("can never succeed: {why}"),
    };
    match settled {
        Settled::Done => {
            if !quiet || !matches!(verdict, Verdict::Complete) {
                note(&format!("{job} {what} ({after} ms)"));
            }
        }
        Settled::Lost(why) | Settled::Unanswered(why) => {
            super::complain(&format!("{job} {what}, and no node took that: {why}; it comes back"));
        }
    }
}

/// The command for a job, with the job in its environment.
fn work_of(command: &Attached, job: &Leased, worker: &str) -> Work {
    let mut environment: Vec<(String, OsString)> = vec![
        ("RHUMB_JOB_ID".to_owned(), job.id.clone().into()),
        ("RHUMB_QUEUE".to_owned(), job.queue.clone().into()),
        ("RHUMB_ATTEMPT".to_owned(), job.attempt.to_string().into()),
        ("RHUMB_RECEIPT".to_owned(), job.receipt.clone().into()),
        ("RHUMB_PRIORITY".to_owned(), job.priority.to_string().into()),
        ("RHUMB_WORKER".to_owned(), worker.to_owned().into()),
    ];
    let named = [
        ("RHUMB_KEY", &job.key),
        ("RHUMB_GROUP", &job.group),
        ("RHUMB_TENANT", &job.tenant),
        ("RHUMB_WORKFLOW", &job.workflow),
    ];
    for (name, value) in named {
        environment.extend(value.clone().map(|value| (name.to_owned(), value.into())));
    }
    for (name, value) in &job.attributes {
        if value.len() <= ATTRIBUTE_BYTES_MAX && !value.contains('\0') {
            environment.push((variable(name), value.clone().into()));
        }
    }
    Work {
        program: command.program.clone(),
        arguments: command.arguments.clone(),
        // A key with a zero byte cannot be passed on.
        environment: environment
            .into_iter()
            .filter(|(_, value)| !value.as_encoded_bytes().contains(&0))
            .collect(),
        input: job.body.clone(),
    }
}

/// The name of an attribute in the environment.
fn variable(attribute: &str) -> String {
    let plain = |letter: char| match letter {
        letter if letter.is_ascii_alphanumeric() => letter.to_ascii_uppercase(),
        _ => '_',
    };
    format!("RHUMB_ATTRIBUTE_{}", attribute.chars().map(plain).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_have_names_that_shells_take() {
        assert_eq!(variable("ce-source.v1"), "RHUMB_ATTRIBUTE_CE_SOURCE_V1");
    }
}
