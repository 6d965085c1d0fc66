//! Finding what may go, and granting it: the home's side of rule 12.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use rhumb_objects::{
    grant::{Authority, Home, HomeEffect, HomeEvent, Walk, WalkConfig, walk::Candidate},
    refer::{KINDS, Placement, Placements, Referred, holding},
};
use rhumb_ports::store::{Range, ReadStore as _};
use rhumb_regions::{RegionSet, RoutingSnapshot};
use rhumb_types::{
    RegionId,
    record::{BlobRef, Cell, Space},
};

use super::{
    calls::{Call, INDEX_CALL_WAIT, Told, asked, granted},
    granted::somebody_keeps,
    here::Here,
    pace::Pace,
};
use crate::branch::Branch;

/// How old copies are at least that go, so that they do within a run.
pub(crate) const AGES: WalkConfig = WalkConfig {
    grace: Duration::from_millis(1_500),
    surplus_grace: Duration::from_millis(1_000),
    cached_grace: Duration::from_millis(2_000),
    // A few passes.
    hashes_max: 24,
};

/// Acts for the homes that this region leads.
pub(super) async fn collect(here: Here) {
    let mut turn = 0;
    let Pace { collect, collect_walk, .. } = *here.pace();
    loop {
        {
            let mut state = here.state();
            let now = state.now.mono;
            let tick = rhumb_objects::grant::HolderEvent::Tick;
            state.holder.on_event(now, tick, &mut Vec::new());
        }
        lead(&here);
        if turn % Pace::rounds(collect, collect_walk) == 0 {
            walk_all(&here);
        }
        begin(&here);
        turn += 1;
        here.sleep(collect).await;
    }
}

fn tell(here: &Here, home: &RegionId, event: HomeEvent) {
    let mut effects = Vec::new();
    {
        let mut state = here.state();
        let now = state.now.mono;
        let Some(machine) = state.homes.get_mut(home) else { return };
        machine.on_event(now, event, &mut effects);
    }
    for effect in effects {
        let (task, home) = (here.clone(), home.clone());
        here.spawn(async move {
            if let Some(event) = carry(&task, &home, effect).await {
                tell(&task, &home, event);
            }
        });
    }
}

async fn carry(here: &Here, home: &RegionId, effect: HomeEffect) -> Option<HomeEvent> {
    match effect {
        HomeEffect::Ask(region, ask) => {
            here.state().rounds.on_ask(home, &ask);
            let told = if region == *here.region() {
                asked(here, &region, ask)?
            } else {
                match here.call(&region, Call::Ask(ask), INDEX_CALL_WAIT).await {
                    Some(Told::Holding(told)) => told,
                    _ => return None,
                }
            };
            here.state().rounds.on_told(home, &region, &told);
            Some(HomeEvent::Told { from: region, told })
        }
        HomeEffect::Grant(region, grant) => {
            here.note(Branch::Granted);
            somebody_keeps(here, home, &region, grant.round);
            let outcome = if region == *here.region() {
                granted(here, &region, grant).await
            } else {
                match here.call(&region, Call::Grant(grant), INDEX_CALL_WAIT).await {
                    Some(Told::Outcome(outcome)) => outcome,
                    _ => return None,
                }
            };
            Some(HomeEvent::Ended { from: region, outcome })
        }
    }
}

/// Tells the machines under what they act now.
fn lead(here: &Here) {
    let (leases, now, agreed) = {
        let state = here.state();
        (state.leases.clone(), state.now, state.view.applied)
    };
    {
        let mut state = here.state();
        state.homes.retain(|home, _| leases.contains_key(home));
        state.found.retain(|home, _| leases.contains_key(home));
    }
    for (home, tenure) in leases.iter() {
        // Without a majority it may not know of references that were acknowledged.
        let lead = tenure
            .at_quorum(now.mono)
            .map(|epoch| (Authority { homes: agreed, region: home.clone(), epoch }, tenure.until));
        let first_round = now.wall.0 << 16;
        here.state().homes.entry(home.clone()).or_insert_with(|| Home::new(first_round));
        tell(here, home, HomeEvent::Lead(lead));
        tell(here, home, HomeEvent::Tick);
    }
}

/// Begins rounds about what was found, as far as there is room.
fn begin(here: &Here) {
    let homes: Vec<RegionId> = here.state().found.keys().cloned().collect();
    for home in homes {
        loop {
            let next = {
                let mut state = here.state();
                let room = state.homes.get(&home).is_some_and(|machine| machine.room() > 0);
                let found = state.found.get_mut(&home).filter(|_| room);
                found.and_then(VecDeque::pop_front)
            };
            let Some(candidate) = next else { break };
            tell(here, &home, HomeEvent::Found(candidate));
        }
    }
}

fn walk_all(here: &Here) {
    let homes: Vec<RegionId> = here.state().homes.keys().cloned().collect();
    for home in homes {
        let busy = {
            let state = here.state();
            let unfinished = state.found.get(&home).is_some_and(|found| !found.is_empty());
            unfinished || state.homes.get(&home).is_some_and(|it| !it.is_idle())
        };
        if !busy {
            let found = find_garbage(here, &home);
            here.state().found.insert(home, found);
        }
    }
}

/// Walks the index, in as many passes as it takes.
fn find_garbage(here: &Here, home: &RegionId) -> VecDeque<Candidate> {
    let mut found = VecDeque::new();
    let Some(snapshot) = here.routing() else { return found };
    let homes = here.homes();
    let mut after = None;
    loop {
        // Before the first row is read.
        let (vector, now) = {
            let state = here.state();
            (state.status.durable.clone(), state.now.wall)
        };
        let mut walk = Walk::begin(here.pace().ages, now, &vector);
        let holders: Vec<_> =
            page(here, b"h").into_iter().filter(|(key, _)| after.as_ref() < Some(key)).collect();
        walk.on_holders((&homes, home), &snapshot, &holders);
        let mut buckets = Placements::new();
        for (key, cell) in KINDS.into_iter().flat_map(|kind| page(here, kind)) {
            let wanted = |referred: &Referred, blob: &BlobRef| {
                wanted(here, (&snapshot, &mut buckets), referred, blob)
            };
            // What cannot be read may refer to anything: the walk ends.
            if walk.on_row((&key, &cell), wanted).is_err() {
                return found;
            }
        }
        let pass = walk.finish(&snapshot);
        found.extend(pass.candidates);
        let Some(next) = pass.next else { return found };
        after = Some(rhumb_types::record::IndexKey::after_holders_of(&next));
    }
}

/// Where copies of a blob ought to be, and how many.
fn wanted(
    here: &Here,
    (snapshot, buckets): (&RoutingSnapshot, &mut Placements),
    referred: &Referred,
    blob: &BlobRef,
) -> (RegionSet, u8) {
    let Some(place) = &referred.place else { return (snapshot.data(), 1) };
    let known = buckets
        .entry(place.bucket.clone())
        .or_insert_with(|| Placement::of(snapshot, here.definition(&place.bucket).ok()?));
    match known {
        Some(placement) => {
            let holders = holding(&here.rows(), snapshot, &blob.hash);
            let ought = placement.ought(snapshot, place, holders);
            (ought.regions, ought.copies)
        }
        None => (snapshot.data(), u8::MAX),
    }
}

/// All rows of a kind, with all that their cells hold.
fn page(here: &Here, kind: &[u8]) -> BTreeMap<Bytes, Cell> {
    let range = Range { after: None, limit: usize::MAX };
    let rows = here.store().keys(Space::OBJECTS, kind, range).unwrap_or_default();
    rows.into_iter().map(|(key, head)| (key, head.cell)).collect()
}
