//! The overseers of a run: what they are told, and what they want done.

use std::sync::Arc;

use rhumb_node::{
    Event,
    oversee::{OverseerEffect, OverseerEvent},
};
use rhumb_ports::store::MetaName;
use rhumb_regions::failover::Part;
use rhumb_types::record::Record;

use super::{Call, What, World, micros};
use crate::group::Asked;

/// How often an overseer is told that time has passed, as the engine does.
const OVERSEER_TICK_MICROS: u64 = 50_000;
/// How long a proposal waits for its answer at least, as in the engine.
const PROPOSAL_WAIT_MIN: std::time::Duration = std::time::Duration::from_millis(500);

impl World {
    /// Carries out what an overseer said as it was made, and starts its clock.
    pub(super) fn start_overseer(&mut self, host: usize) {
        if self.hosts.get(host).is_none_or(|machine| machine.oversight.is_none()) {
            return;
        }
        self.carry_out_oversight(host);
        self.show_agreed(host);
        self.plan(0, host, What::Oversee);
    }

    /// Shows an overseer what its host has applied.
    pub(super) fn show_agreed(&mut self, host: usize) {
        let view = self.hosts.get(host).map(|machine| Arc::new(machine.seat.machine.view()));
        if let Some(view) = view {
            if let Some(process) = self.process(host) {
                process.view = view.clone();
            }
            self.oversee(host, OverseerEvent::View(view));
        }
    }

    pub(super) fn overseer_tick(&mut self, host: usize) {
        let leader = self.leading_node(host);
        self.oversee(host, OverseerEvent::Leader(leader));
        self.oversee(host, OverseerEvent::Tick);
        self.plan(OVERSEER_TICK_MICROS, host, What::Oversee);
    }

    /// Gives an event to an overseer, and carries out what it wants.
    pub(super) fn oversee(&mut self, host: usize, event: OverseerEvent) {
        let now = self.now;
        let Some(machine) = self.hosts.get_mut(host) else { return };
        let clock = machine.clock(now);
        let Some(process) = &mut machine.process else { return };
        let Some(overseer) = &mut process.overseer else { return };
        overseer.on_event(clock, event, &mut process.wishes);
        self.events += 1;
        self.carry_out_oversight(host);
    }

    fn carry_out_oversight(&mut self, host: usize) {
        while let Some(effect) = self.process(host).and_then(|process| process.wishes.pop()) {
            self.carry_out_wish(host, effect);
        }
    }

    fn carry_out_wish(&mut self, host: usize, effect: OverseerEffect) {
        match effect {
            OverseerEffect::Propose { token, request } => {
                let oversight = self.hosts.get(host).and_then(|host| host.oversight.as_ref());
                let wait = oversight.map_or(PROPOSAL_WAIT_MIN, |config| {
                    config.health.renew_every().max(PROPOSAL_WAIT_MIN)
                });
                self.note(host, format_args!("ASKS {:?}", request.command));
                self.note_asked(host, token, &request.command);
                self.check_return(host, &request.command);
                self.propose(host, token, Asked { request, sent: false }, wait);
            }
            OverseerEffect::Leases(leases) => {
                self.note_acting(host, &leases);
                if let Some(process) = self.process(host) {
                    process.leases = leases.clone();
                }
                self.queue_event(host, rhumb_queue::Event::Leases(leases));
                self.watch_leases();
                self.watch_homes();
                self.calls.push_back(Call::Overseen { host });
            }
            OverseerEffect::Remember(view) => {
                let event = Event::Remember { name: MetaName::Snapshot, value: view.encode() };
                self.plan(1, host, What::Node(event));
            }
            OverseerEffect::Members(members) => {
                self.plan(1, host, What::Node(Event::Members { members }));
            }
            OverseerEffect::Observed { utilisation, lost, well } => {
                let impaired = lost.iter().map(ToString::to_string).collect();
                let event = Event::Observed { load: utilisation.get(), impaired, well };
                self.plan(1, host, What::Node(event));
            }
            // No duty is on a node yet, and no hook is configured.
            OverseerEffect::Drain { id, ticket, duty, .. } => {
                let result = Err("nothing on this node has this duty".to_owned());
                let event = OverseerEvent::PartEnded { id, ticket, part: Part::Duty(duty), result };
                self.plan(1, host, What::Overseer(event));
            }
            OverseerEffect::RunHook { id, ticket, .. } => {
                let event =
                    OverseerEvent::PartEnded { id, ticket, part: Part::Hook, result: Ok(()) };
                self.plan(1, host, What::Overseer(event));
            }
            OverseerEffect::Alarm(text) => self.calls.push_back(Call::Alarm { host, text }),
            OverseerEffect::Publish(snapshot) => {
                self.check_homes(host, &snapshot);
                if let Some(process) = self.process(host) {
                    process.routing = Some(snapshot);
                }
                self.calls.push_back(Call::Overseen { host });
            }
            OverseerEffect::Health(change) => self.check_hold(host, &change),
        }
    }

    /// Rule 7: at most one node may act under a region's lease. A second one can only begin to when
    /// an overseer hands leases to its node, so it is enough to look then.
    fn watch_leases(&mut self) {
        let now = self.now;
        let mut acting = std::collections::BTreeMap::new();
        for (nth, machine) in self.hosts.iter().enumerate() {
            let Some(process) = &machine.process else { continue };
            let clock = machine.clock(now).mono;
            for (region, tenure) in process.leases.iter() {
                let Some(epoch) = tenure.at(clock) else { continue };
                if let Some((other, theirs)) = acting.insert(region.clone(), (nth, epoch)) {
                    let what = format!(
                        "hosts {other} (epoch {theirs}) and {nth} (epoch {epoch}) both act for \
                         {region} after {} ms",
                        now / micros(std::time::Duration::from_millis(1))
                    );
                    self.checker.violated(crate::check::Check::Leases, what);
                }
            }
        }
    }
}
