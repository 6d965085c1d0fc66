//! In which regions the jobs of a queue may be taken in and leased: those of its residency.

use rhumb_queue::Refused;
use rhumb_regions::{Health, Key, ResidencyTag, residency::may_lie};
use rhumb_types::{
    RegionId,
    record::{QueueDefinition, QueueName},
};

use super::{
    client::{HomeChoice, QueueClient},
    owners::Owner,
};
use crate::Engine;

/// The tags of a queue's residency; without any its jobs are in any region.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Bounds {
    names: Vec<String>,
    tags: Vec<ResidencyTag>,
}

impl Bounds {
    pub(super) fn of(definition: &QueueDefinition) -> Self {
        let names = definition.residency.clone();
        // Each was checked before it was agreed on; one that is none has no region.
        let tags = names.iter().filter_map(|name| ResidencyTag::new(name).ok()).collect();
        Self { names, tags }
    }

    pub(super) const fn is_none(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether a region has one of the tags.
    pub(super) fn allow(&self, engine: &Engine, region: &RegionId) -> bool {
        let lies = || engine.routing().is_some_and(|all| may_lie(&all, &self.tags, region));
        self.is_none() || (!self.tags.is_empty() && lies())
    }

    /// What somebody hears who asks outside.
    pub(super) fn outside(&self, queue: &QueueName, region: &RegionId) -> Refused {
        let names = self.names.join(" or ");
        let why = format!("the jobs of {queue} stay in {names}, and {region} is outside");
        Refused::Invalid(why.into())
    }

    pub(super) fn out_of_reach(&self, queue: &QueueName) -> Refused {
        let names = self.names.join(" or ");
        let why = format!("the jobs of {queue} stay in {names}, where no region can be reached");
        Refused::Unavailable(why.into())
    }
}

impl QueueClient {
    /// The bounds of a queue.
    pub(super) fn bounds(&self, queue: &QueueName) -> Bounds {
        self.definition(queue, Bounds::of).unwrap_or_default()
    }

    /// Whether a region may take in and lease jobs of a queue.
    pub(super) fn may_have(&self, queue: &QueueName, region: &RegionId) -> bool {
        self.bounds(queue).allow(self.engine(), region)
    }

    /// Where the work of a home may go within a queue's bounds, the nearest first.
    pub(super) fn receivers(&self, home: &RegionId, bounds: &Bounds) -> Vec<RegionId> {
        let Some(snapshot) = self.engine().routing() else { return Vec::new() };
        let Some(from) = snapshot.index(home) else { return Vec::new() };
        let well = |at: &rhumb_regions::RegionIndex| {
            *at != from
                && snapshot.region(*at).health != Health::Down
                && bounds.allow(self.engine(), snapshot.id(*at))
        };
        let mut found: Vec<_> =
            snapshot.data().iter().filter(well).map(|at| (snapshot.rtt(from, at), at)).collect();
        found.sort();
        found.into_iter().map(|(_, at)| snapshot.id(at).clone()).collect()
    }

    /// Whether jobs may go on in another queue: in one with the same bounds.
    pub(super) fn check_move(
        &self,
        queue: &QueueName,
        to: Option<&QueueName>,
    ) -> Result<(), Refused> {
        match to {
            Some(to) if self.bounds(to) != self.bounds(queue) => {
                Err(Refused::Invalid(format!("{to} has another residency than {queue}").into()))
            }
            _ => Ok(()),
        }
    }

    /// The home of a job in a queue with bounds: where it belongs, if a region inside acts for that;
    /// else, for a job without an order, the nearest home inside for which one does. A region inside that
    /// reaches nobody takes it in itself.
    ///
    /// # Errors
    /// [`Refused`] when no home, or nobody who acts for one, is inside.
    pub(super) fn home_within(
        &self,
        (queue, bounds, fifo): (&QueueName, &Bounds, bool),
        choice: &HomeChoice,
        name: Option<&str>,
    ) -> Result<RegionId, Refused> {
        let here = self.region();
        let inside = |region: &RegionId| bounds.allow(self.engine(), region);
        let home = match (choice, name) {
            (HomeChoice::Region(region), _) if inside(region) => region.clone(),
            (HomeChoice::Region(region), _) => return Err(bounds.outside(queue, region)),
            (HomeChoice::Auto, Some(name)) => {
                let home = self.engine().home(&Key::new(name.as_bytes()), &bounds.tags);
                home.map_err(|error| Refused::Unavailable(error.to_string().into()))?
            }
            (HomeChoice::Auto, None) => here.clone(),
        };
        let acts = |home: &RegionId| match self.owner(home) {
            Owner::Here => inside(here),
            Owner::There(region) => inside(&region),
            Owner::Nobody => false,
        };
        let mut others = self.receivers(here, bounds).into_iter();
        if fifo || (inside(&home) && acts(&home)) {
            return Ok(home);
        }
        match others.find(acts) {
            Some(other) => Ok(other),
            None if inside(here) => Ok(home),
            None => Err(bounds.out_of_reach(queue)),
        }
    }
}
