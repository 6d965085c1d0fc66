//! Finding what may go: the home's side of rule 12.
//!
//! The home of a hash is one of the agreed members that hold data, by the hash itself; who holds its
//! lease acts for it. Each walks the index now and then, asks the holders of what it found, and grants.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use rhumb_objects::{
    grant::{
        Authority, Home, HomeEffect, HomeEvent, Homes, Walk, WalkConfig,
        walk::{Candidate, Taken},
    },
    refer::{KINDS, Placements, Referred},
};
use rhumb_ports::store::Range;
use rhumb_regions::{RegionSet, RoutingSnapshot};
use rhumb_types::{
    RegionId,
    record::{BlobHash, BlobRef, Cell, IndexKey, Space},
};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{ObjectClient, ObjectError};
use crate::{
    Engine,
    limits::{COLLECT_TICK, GIVEN_UP_AGAIN, GIVEN_UP_PAUSE, GIVEN_UP_REST_PART, WALK_PAGE_ROWS},
};

impl Engine {
    pub(super) fn collect(&self, every: Duration, walk: WalkConfig) {
        let Some(client) = self.objects() else { return };
        let collector = Collector {
            client,
            walk,
            homes: BTreeMap::new(),
            found: BTreeMap::new(),
            calls: JoinSet::new(),
        };
        self.tasks().spawn_until_stopped(collector.run(every));
    }
}

struct Collector {
    client: ObjectClient,
    walk: WalkConfig,
    /// The homes that this node acts for.
    homes: BTreeMap<RegionId, Home>,
    /// What their walks found and has not begun.
    found: BTreeMap<RegionId, VecDeque<Candidate>>,
    calls: JoinSet<(RegionId, Option<HomeEvent>)>,
}

impl Collector {
    async fn run(mut self, every: Duration) {
        let mut ticks = interval(COLLECT_TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut walks_at = Instant::now() + every;
        let mut rests_until = Instant::now();
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.client.running().keeper.tick();
                    self.lead();
                    let began = Instant::now();
                    if began >= rests_until && self.client.books().take_given_up() {
                        walks_at = began;
                    }
                    if began >= walks_at {
                        let given_up = self.walk_all().await;
                        let rest = began.elapsed() * GIVEN_UP_REST_PART;
                        rests_until = Instant::now() + rest.max(GIVEN_UP_PAUSE);
                        walks_at = Instant::now() + every;
                        if given_up {
                            walks_at = walks_at.min(Instant::now() + rest.max(GIVEN_UP_AGAIN));
                        }
                    }
                    self.begin();
                }
                Some(Ok((home, event))) = self.calls.join_next() => {
                    if let Some(event) = event {
                        self.tell(&home, event);
                    }
                }
            }
        }
    }

    fn tell(&mut self, home: &RegionId, event: HomeEvent) {
        let now = self.client.engine().clock().now().mono;
        let mut effects = Vec::new();
        let Some(machine) = self.homes.get_mut(home) else { return };
        machine.on_event(now, event, &mut effects);
        for effect in effects {
            let (client, home) = (self.client.clone(), home.clone());
            self.calls.spawn(async move {
                let event = client.carry(effect).await;
                (home, event)
            });
        }
    }

    /// Tells the machines under what they act now.
    fn lead(&mut self) {
        let engine = self.client.engine();
        let leases = engine.leases().map(|leases| leases.borrow().clone()).unwrap_or_default();
        let now = engine.clock().now();
        let agreed = engine.agreed().map_or(0, |view| view.borrow().applied);
        self.homes.retain(|home, _| leases.contains_key(home));
        self.found.retain(|home, _| leases.contains_key(home));
        for (home, tenure) in leases.iter() {
            // Without a majority it may not know of references that were acknowledged.
            let lead = tenure.at_quorum(now.mono).map(|epoch| {
                (Authority { homes: agreed, region: home.clone(), epoch }, tenure.until)
            });
            let first_round = now.wall.0 << 16;
            self.homes.entry(home.clone()).or_insert_with(|| Home::new(first_round));
            self.tell(home, HomeEvent::Lead(lead));
            self.tell(home, HomeEvent::Tick);
        }
    }

    /// Begins rounds about what was found, as far as there is room.
    fn begin(&mut self) {
        let homes: Vec<RegionId> = self.found.keys().cloned().collect();
        for home in homes {
            while self.homes.get(&home).is_some_and(|machine| machine.room() > 0) {
                let next = self.found.get_mut(&home).and_then(VecDeque::pop_front);
                let Some(candidate) = next else { break };
                self.tell(&home, HomeEvent::Found(candidate));
            }
        }
    }

    /// Says whether some copies were given up and are there still.
    async fn walk_all(&mut self) -> bool {
        let homes: Vec<RegionId> = self.homes.keys().cloned().collect();
        let mut given_up = false;
        for home in homes {
            let unfinished = self.found.get(&home).is_some_and(|found| !found.is_empty());
            if unfinished || self.homes.get(&home).is_some_and(|it| !it.is_idle()) {
                // What was given up meanwhile is for the next walk.
                given_up = true;
                continue;
            }
            match self.client.find_garbage(&home, self.walk).await {
                Ok((found, some)) => {
                    given_up |= some;
                    self.found.insert(home, found);
                }
                Err(error) => tracing::warn!(%error, %home, "the walk for what may go ended early"),
            }
        }
        given_up
    }
}

impl ObjectClient {
    async fn carry(&self, effect: HomeEffect) -> Option<HomeEvent> {
        match effect {
            HomeEffect::Ask(region, ask) => {
                let told = self.ask_holder(&region, ask).await?;
                Some(HomeEvent::Told { from: region, told })
            }
            HomeEffect::Grant(region, grant) => {
                let outcome = self.grant_to(&region, grant).await?;
                Some(HomeEvent::Ended { from: region, outcome })
            }
        }
    }

    /// Walks the index, in as many passes as it takes; says also whether copies were given up.
    async fn find_garbage(
        &self,
        home: &RegionId,
        config: WalkConfig,
    ) -> Result<(VecDeque<Candidate>, bool), ObjectError> {
        let mut found = VecDeque::new();
        let (mut after, mut given_up) = (None, false);
        loop {
            let Some(snapshot) = self.engine().routing() else { return Ok((found, given_up)) };
            // Before the first row is read.
            let vector = self.engine().status().durable.clone();
            let now = self.engine().clock().now().wall;
            let mut walk = Walk::begin(config, now, &vector);
            self.walk_holders(home, &snapshot, after, &mut walk).await?;
            self.walk_references(&snapshot, &mut walk).await?;
            let pass = walk.finish(&snapshot);
            tracing::debug!(%home, counts = ?pass.counts, "a pass for what may go");
            given_up |= pass.counts.given_up > 0;
            found.extend(pass.candidates);
            after = pass.next;
            if after.is_none() {
                return Ok((found, given_up));
            }
        }
    }

    async fn walk_holders(
        &self,
        home: &RegionId,
        snapshot: &RoutingSnapshot,
        after: Option<BlobHash>,
        walk: &mut Walk,
    ) -> Result<(), ObjectError> {
        let homes = self.hash_homes();
        let mut after = after.map(|hash| IndexKey::after_holders_of(&hash));
        loop {
            let rows = self.page(b"h", &mut after)?;
            let taken = walk.on_holders((&homes, home), snapshot, &rows);
            if taken == Taken::Full || rows.len() < WALK_PAGE_ROWS {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }

    async fn walk_references(
        &self,
        snapshot: &RoutingSnapshot,
        walk: &mut Walk,
    ) -> Result<(), ObjectError> {
        let mut buckets = Placements::new();
        for kind in KINDS {
            let mut after = None;
            loop {
                let rows = self.page(kind, &mut after)?;
                for row in &rows {
                    self.refer(snapshot, &mut buckets, row, walk)?;
                }
                if rows.len() < WALK_PAGE_ROWS {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    fn refer(
        &self,
        snapshot: &RoutingSnapshot,
        buckets: &mut Placements,
        (key, cell): &(Bytes, Cell),
        walk: &mut Walk,
    ) -> Result<(), ObjectError> {
        let wanted =
            |referred: &Referred, blob: &BlobRef| self.wanted(snapshot, buckets, referred, blob);
        let struck = walk.on_row((key, cell), wanted);
        struck.map_err(|error| ObjectError::Damaged(format!("{}: {error}", key.escape_ascii())))
    }

    /// Where copies of a blob ought to be, and how many.
    fn wanted(
        &self,
        snapshot: &RoutingSnapshot,
        buckets: &mut Placements,
        referred: &Referred,
        blob: &BlobRef,
    ) -> (RegionSet, u8) {
        let Some(place) = &referred.place else { return (snapshot.data(), 1) };
        let known = buckets
            .entry(place.bucket.clone())
            .or_insert_with(|| self.placement(snapshot, &place.bucket));
        match known {
            Some(placement) => {
                let holders = self.holding(snapshot, blob);
                let ought = placement.ought(snapshot, place, holders);
                (ought.regions, ought.copies)
            }
            // Where it ought to be is not known now: everywhere.
            None => (snapshot.data(), u8::MAX),
        }
    }

    /// A page of rows of a kind, with all that their cells hold.
    fn page(
        &self,
        kind: &[u8],
        after: &mut Option<Bytes>,
    ) -> Result<Vec<(Bytes, Cell)>, ObjectError> {
        let range = Range { after: after.clone(), limit: WALK_PAGE_ROWS };
        let rows = self.engine().shared().store.keys(Space::OBJECTS, kind, range)?;
        *after = rows.last().map(|(key, _)| key.clone());
        Ok(rows.into_iter().map(|(key, head)| (key, head.cell)).collect())
    }

    /// The regions among which hashes are shared out, in order: the agreed members that hold data.
    pub(super) fn hash_homes(&self) -> Homes {
        let Some(view) = self.engine().agreed() else { return Homes::default() };
        let view = view.borrow();
        view.data_regions().cloned().collect()
    }
}
