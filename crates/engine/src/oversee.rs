//! The driver of the overseer: status, views and ticks in, proposals and snapshots out.
//!
//! One task owns the machine. A proposal waits in a task of its own, so that a slow group delays
//! nothing that is local; the machine bounds how many there are.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rhumb_node::{
    Alarm, Event, NodeStatus,
    oversee::{
        Leases, Overseer, OverseerConfig, OverseerEffect, OverseerEffects, OverseerEvent,
        ProposalError, Token,
    },
};
use rhumb_ports::{BoxFuture, clock::Clock, control::ControlError, store::MetaName};
use rhumb_regions::{
    RoutingSnapshot,
    failover::{Duty, Part, Ticket},
    health::HealthChange,
};
use rhumb_types::{
    RegionId,
    control::{AdminRequest, ControlView, FailoverId, FailoverPlan},
    record::Record,
};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};

use crate::{
    Engine,
    agreement::{AdminClient, AdminError},
    driver::Input,
    limits::{AUDIT_INTERVAL, OVERSEER_EVENTS_MAX, OVERSEER_TICK, PROPOSAL_WAIT_MIN},
    meter::Meter,
    tasks::Tasks,
};

mod audit;
mod journal;
mod operate;
mod place;
mod route;
mod seats;

pub use operate::{OperateError, Operation};
pub use place::Seat;
pub use route::RoutingError;

use audit::Auditor;

/// An operator's command that is due. A command may be called again when the node that called it is
/// lost, or when it failed.
#[derive(Debug, Clone)]
pub struct HookCall {
    /// Its name.
    pub name: String,
    /// Of which failover.
    pub id: FailoverId,
    /// The try, from 1.
    pub attempt: u8,
    /// What it is a part of.
    pub plan: FailoverPlan,
}

/// Runs an operator's command that belongs to a step of a failover.
pub type HookRunner = Arc<dyn Fn(HookCall) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What oversight is started with.
pub struct OversightConfig {
    /// The machine's own configuration.
    pub overseer: OverseerConfig,
    /// What runs the commands that the run-book names; it bounds how long they take.
    pub hooks: HookRunner,
}

impl std::fmt::Debug for OversightConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OversightConfig").field("overseer", &self.overseer).finish_non_exhaustive()
    }
}

/// What an engine keeps of its overseer.
pub(crate) struct Oversight {
    pub(crate) config: OverseerConfig,
    pub(crate) routing: watch::Receiver<Arc<RoutingSnapshot>>,
    pub(crate) leases: watch::Receiver<Arc<Leases>>,
    pub(crate) views: watch::Receiver<Arc<ControlView>>,
    pub(crate) duties: watch::Sender<BTreeMap<RegionId, Vec<Duty>>>,
    pub(crate) events: mpsc::Sender<OverseerEvent>,
}

/// The parts of an engine that its overseer works with.
pub(crate) struct Surroundings {
    pub(crate) admin: Arc<AdminClient>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) status: watch::Receiver<Arc<NodeStatus>>,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) leases: watch::Sender<Arc<Leases>>,
    pub(crate) alarms: mpsc::Sender<Alarm>,
    pub(crate) meter: Meter,
    pub(crate) tasks: Tasks,
    pub(crate) engine: Engine,
}

/// What queues do for a region, as a run-book names it.
pub(crate) const QUEUES_DUTY: &str = "queues";

/// Starts the overseer on what the last run remembered. `None` when the configured regions make no
/// snapshot, which a checked configuration rules out.
pub(crate) fn start(
    config: OversightConfig,
    remembered: Option<ControlView>,
    around: Surroundings,
) -> Option<Oversight> {
    let OversightConfig { overseer: config, hooks } = config;
    let mut effects = OverseerEffects::new();
    let machine = Overseer::new(config.clone(), remembered, around.clock.now(), &mut effects);
    let first = RoutingSnapshot::build(config.facts.clone()).ok()?;
    let (routing_in, routing) = watch::channel(Arc::new(first));
    let leases = around.leases.subscribe();
    let (views_in, views) = watch::channel(machine.view().clone());
    let (events_in, events) = mpsc::channel(OVERSEER_EVENTS_MAX);
    let driver = Driver {
        wait: config.health.renew_every().max(PROPOSAL_WAIT_MIN),
        drain_wait: config.failover.drain_timeout,
        auditor: config.audit.clone().map(|key| Auditor::new(key, config.region.clone())),
        machine,
        around,
        hooks,
        routing: routing_in,
        views: views_in,
        events: events_in.clone(),
    };
    // What it says at once is there before the first request.
    let members = driver.carry_out(effects);
    let tasks = driver.around.tasks.clone();
    tasks.spawn_until_stopped(async move {
        driver.tell(members).await;
        driver.run(events).await;
    });
    Some(Oversight {
        config,
        routing,
        leases,
        views,
        duties: watch::Sender::new(BTreeMap::new()),
        events: events_in,
    })
}

struct Driver {
    machine: Overseer,
    around: Surroundings,
    hooks: HookRunner,
    auditor: Option<Auditor>,
    routing: watch::Sender<Arc<RoutingSnapshot>>,
    views: watch::Sender<Arc<ControlView>>,
    events: mpsc::Sender<OverseerEvent>,
    wait: Duration,
    /// How long a drain waits for a duty.
    drain_wait: Duration,
}

impl Driver {
    async fn run(mut self, mut events: mpsc::Receiver<OverseerEvent>) {
        let mut views = self.around.admin.views();
        // What is agreed already is news to the machine.
        views.mark_changed();
        let mut status = self.around.status.clone();
        let mut ticks = interval(OVERSEER_TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut audits = interval(AUDIT_INTERVAL);
        audits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Every arm is cancel-safe: nothing is taken that is not handled.
            let event = tokio::select! {
                _ = ticks.tick() => {
                    let leader = self.around.admin.status().leader;
                    self.handle(OverseerEvent::Leader(leader)).await;
                    OverseerEvent::Tick
                }
                changed = views.changed() => match changed {
                    Ok(()) => OverseerEvent::View(views.borrow_and_update().clone()),
                    Err(_) => return,
                },
                changed = status.changed() => match changed {
                    Ok(()) => OverseerEvent::Status(status.borrow_and_update().clone()),
                    Err(_) => return,
                },
                event = events.recv() => match event {
                    Some(event) => event,
                    None => return,
                },
                _ = audits.tick() => match self.audit() {
                    Some(event) => event,
                    None => continue,
                },
            };
            self.handle(event).await;
        }
    }

    async fn handle(&mut self, event: OverseerEvent) {
        let mut effects = OverseerEffects::new();
        self.machine.on_event(self.around.clock.now(), event, &mut effects);
        let view = self.machine.view();
        self.views.send_if_modified(|shown| {
            if Arc::ptr_eq(shown, view) {
                return false;
            }
            journal::log_changes(shown, view);
            for region in journal::taken_over(shown, view) {
                self.around.meter.taken_over(region);
            }
            shown.clone_from(view);
            true
        });
        let events = self.carry_out(effects);
        self.tell(events).await;
    }

    /// Hands events to the node's loop; they are few, and wait while it is busy.
    async fn tell(&self, events: Vec<Event>) {
        for event in events {
            let _stopped = self.around.inputs.send(Input::Event(event)).await;
        }
    }

    /// Carries effects out; gives what the node must hear.
    fn carry_out(&self, mut effects: OverseerEffects) -> Vec<Event> {
        self.show_leases();
        let mut events = Vec::new();
        while let Some(effect) = effects.pop() {
            match effect {
                OverseerEffect::Propose { token, request } => self.propose(token, request),
                OverseerEffect::Publish(snapshot) => {
                    self.routing.send_replace(snapshot);
                }
                // They are shown already.
                OverseerEffect::Leases(_) => {}
                OverseerEffect::Remember(view) => {
                    events.push(Event::Remember { name: MetaName::Snapshot, value: view.encode() });
                }
                OverseerEffect::Members(members) => events.push(Event::Members { members }),
                OverseerEffect::Observed { utilisation, lost, well } => {
                    let impaired = lost.iter().map(ToString::to_string).collect();
                    events.push(Event::Observed { load: utilisation.get(), impaired, well });
                }
                OverseerEffect::Alarm(text) => self.alarm(text),
                OverseerEffect::Health(change) => log_health(&change),
                OverseerEffect::RunHook { id, ticket, name, plan } => {
                    let call = HookCall { name, id, attempt: ticket.attempt, plan: *plan };
                    self.end_part(id, ticket, Part::Hook, (self.hooks)(call));
                }
                OverseerEffect::Drain { id, ticket, region, duty } => {
                    let drained = self.drain(&duty, region);
                    self.end_part(id, ticket, Part::Duty(duty), drained);
                }
            }
        }
        events
    }

    /// Shows under which leases this node acts, before anything is proposed: the loop no longer
    /// answers under one that was given up when others hear of it.
    fn show_leases(&self) {
        let leases = self.machine.leases();
        self.around.leases.send_if_modified(|shown| {
            let changed = !Arc::ptr_eq(shown, leases);
            shown.clone_from(leases);
            changed
        });
    }

    fn propose(&self, token: Token, request: Box<AdminRequest>) {
        let (admin, events) = (self.around.admin.clone(), self.events.clone());
        let wait = self.wait;
        self.around.tasks.spawn_until_stopped(async move {
            let answer = admin.submit(&request, wait).await.map_err(proposal_error);
            let _stopped = events.send(OverseerEvent::Answered { token, answer }).await;
        });
    }

    fn end_part(
        &self,
        id: FailoverId,
        ticket: Ticket,
        part: Part,
        work: impl Future<Output = Result<(), String>> + Send + 'static,
    ) {
        let events = self.events.clone();
        self.around.tasks.spawn_until_stopped(async move {
            let result = work.await;
            let event = OverseerEvent::PartEnded { id, ticket, part, result };
            let _stopped = events.send(event).await;
        });
    }

    /// Ends what is in hand of a region's duty.
    fn drain(
        &self,
        duty: &str,
        region: RegionId,
    ) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let queues = self.around.engine.queues().filter(|_| duty == QUEUES_DUTY);
        let wait = self.drain_wait;
        async move {
            let nobody = || "nothing on this node has this duty".to_owned();
            queues.ok_or_else(nobody)?.drain(&region, wait).await
        }
    }

    fn alarm(&self, text: String) {
        tracing::warn!(alarm = %text, "the overseer raised an alarm");
        // The log has it; the list that operators see is bounded.
        let _full = self.around.alarms.try_send(Alarm::Overseer(text));
    }

    /// Looks through the audit chain; gives its head while all is well (rule 18).
    fn audit(&mut self) -> Option<OverseerEvent> {
        let auditor = self.auditor.as_mut()?;
        match auditor.look(&self.around.admin) {
            Ok(head) => head.map(OverseerEvent::Audited),
            Err(finding) => {
                self.alarm(format!("the audit chain cannot be trusted: {finding}"));
                None
            }
        }
    }
}

fn proposal_error(error: AdminError) -> ProposalError {
    match error {
        AdminError::Refused(refusal) => ProposalError::Refused(refusal),
        AdminError::Control(ControlError::Unknown) | AdminError::Answer(_) => {
            ProposalError::Unknown
        }
        AdminError::Control(error) => ProposalError::NotAgreed(error.to_string()),
    }
}

fn log_health(change: &HealthChange) {
    match change {
        HealthChange::Out { region, reason, hold } => {
            tracing::warn!(%region, %reason, ?hold, "a region is out, seen from here");
        }
        HealthChange::In { region } => tracing::info!(%region, "a region is back in"),
        HealthChange::Degraded { region, degraded } => {
            tracing::warn!(%region, degraded, "a region's errors crossed the bound");
        }
        HealthChange::Lost { region, lost } => {
            tracing::warn!(%region, ?lost, "what a region cannot do changed");
        }
    }
}
