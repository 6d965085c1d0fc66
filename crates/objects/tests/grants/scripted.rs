//! Ways in which grants could meet that chance finds too seldom, step by step. Each says how many of two
//! copies are left in the end; a sound machine leaves one.

use std::sync::Arc;

use rhumb_objects::grant::{
    Authority, Holder, HolderConfig, HolderEffect, HolderEvent, Home, HomeEffect, HomeEvent,
    walk::{Candidate, Cause},
};
use rhumb_types::{
    Epoch, MonoTime, OriginId, RegionId,
    record::{BlobHash, Dot, VersionVector},
};

const HASH: BlobHash = BlobHash([7; 32]);

fn id(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn seconds(n: u64) -> MonoTime {
    MonoTime(n * 1_000_000)
}

struct Region {
    name: &'static str,
    holder: Holder,
    held: bool,
}

impl Region {
    fn new(name: &'static str) -> Self {
        let applied = VersionVector::new();
        let holder = Holder::new(HolderConfig::default(), seconds(0), &applied, 1_000);
        Self { name, holder, held: true }
    }

    /// Hears an ask or a grant, and does at once what follows. Gives what it says to the home.
    fn hear(&mut self, now: MonoTime, effect: &HomeEffect) -> Vec<HomeEvent> {
        let from = id("home");
        let mut out = Vec::new();
        match effect.clone() {
            HomeEffect::Ask(_, ask) => {
                self.holder.on_event(now, HolderEvent::Asked { from, ask }, &mut out);
            }
            HomeEffect::Grant(_, grant) => {
                self.holder.on_event(now, HolderEvent::Granted { from, grant }, &mut out);
            }
        }
        let mut said = Vec::new();
        while let Some(effect) = out.pop() {
            match effect {
                HolderEffect::Look { hash, look } => {
                    let event = HolderEvent::Looked { hash, look, held: Some(self.held) };
                    self.holder.on_event(now, event, &mut out);
                }
                HolderEffect::Remove(hash) => {
                    self.held = false;
                    self.holder.on_event(now, HolderEvent::Removed { hash, gone: true }, &mut out);
                }
                HolderEffect::Tell(_, told) => {
                    said.push(HomeEvent::Told { from: id(self.name), told });
                }
                HolderEffect::End(_, outcome) => {
                    said.push(HomeEvent::Ended { from: id(self.name), outcome });
                }
            }
        }
        said
    }
}

fn leading(homes: u64, first_round: u64) -> Home {
    let mut home = Home::new(first_round);
    let authority = Authority { homes, region: id("home"), epoch: Epoch(1) };
    home.on_event(seconds(0), HomeEvent::Lead(Some((authority, seconds(1_000)))), &mut Vec::new());
    home
}

/// One copy is enough, and it ought to be in one region.
fn surplus(keep: &str) -> HomeEvent {
    HomeEvent::Found(Candidate {
        hash: HASH,
        cause: Cause::Surplus { keep: vec![id(keep)], copies: 1 },
        holders: vec![id("a"), id("b")],
        ripe: vec![id("a"), id("b")],
        vector: Arc::new(VersionVector::new()),
    })
}

fn tell(home: &mut Home, now: MonoTime, events: Vec<HomeEvent>) -> Vec<HomeEffect> {
    let mut out = Vec::new();
    for event in events {
        home.on_event(now, event, &mut out);
    }
    out
}

/// A grant arrives after the next round has counted on its receiver.
pub(crate) fn a_late_grant() -> usize {
    let (mut a, mut b, mut home) = (Region::new("a"), Region::new("b"), leading(1, 1));
    let now = seconds(100);
    let asks = tell(&mut home, now, vec![surplus("a")]);
    let said = [a.hear(now, &asks[0]), b.hear(now, &asks[1])].concat();
    let late = tell(&mut home, now, said);
    assert_eq!(late.len(), 1, "to b, and on its way for long: {late:?}");
    let now = seconds(131);
    tell(&mut home, now, vec![HomeEvent::Tick]);
    let asks = tell(&mut home, now, vec![surplus("b")]);
    let said = [a.hear(now, &asks[0]), b.hear(now, &asks[1])].concat();
    let grants = tell(&mut home, now, said);
    assert_eq!(grants.len(), 1, "to a: {grants:?}");
    a.hear(now, &grants[0]);
    b.hear(now, &late[0]);
    usize::from(a.held) + usize::from(b.held)
}

/// A region that is no longer the home goes on, for it has not heard.
pub(crate) fn a_home_of_the_past() -> usize {
    let (mut a, mut b) = (Region::new("a"), Region::new("b"));
    let (mut old, mut new) = (leading(1, 1), leading(2, 100));
    let now = seconds(100);
    let of_old = tell(&mut old, now, vec![surplus("a")]);
    let of_new = tell(&mut new, now, vec![surplus("b")]);
    let mut to_old = a.hear(now, &of_old[0]);
    let mut to_new = b.hear(now, &of_new[1]);
    to_new.extend(a.hear(now, &of_new[0]));
    // Late: b has answered the new home.
    to_old.extend(b.hear(now, &of_old[1]));
    for grant in tell(&mut new, now, to_new) {
        a.hear(now, &grant);
    }
    for grant in tell(&mut old, now, to_old) {
        b.hear(now, &grant);
    }
    usize::from(a.held) + usize::from(b.held)
}

/// A home counts on a region that has not applied a reference; the next home has not applied it either.
pub(crate) fn a_keeper_that_is_behind() -> usize {
    let (mut a, mut b) = (Region::new("a"), Region::new("b"));
    let dot = Dot { origin: OriginId(1 << 16), version: 1 };
    let written = HolderEvent::Applied { dot, references: &[HASH] };
    a.holder.on_event(seconds(1), written, &mut Vec::new());
    let knows: VersionVector = [(dot.origin, dot.version)].into_iter().collect();
    let mut first = leading(1, 1);
    let HomeEvent::Found(found) = surplus("b") else { return 0 };
    let known = Candidate { vector: Arc::new(knows), ..found.clone() };
    let unknown = Candidate { cause: Cause::Unreferenced, ..found };
    let mut second = leading(1, 100);
    for (at, home, found) in [(100, &mut first, known), (200, &mut second, unknown)] {
        let asks = tell(home, seconds(at), vec![HomeEvent::Found(found)]);
        let said = [a.hear(seconds(at), &asks[0]), b.hear(seconds(at), &asks[1])].concat();
        for grant in tell(home, seconds(at), said) {
            let HomeEffect::Grant(to, _) = &grant else { continue };
            let region = if *to == id("a") { &mut a } else { &mut b };
            region.hear(seconds(at), &grant);
        }
    }
    usize::from(a.held) + usize::from(b.held)
}

/// A copy that is read stays although there are enough, and goes once nobody refers to it. Gives how
/// many are left before and after.
#[cfg(not(feature = "planted"))]
pub(crate) fn a_liked_copy() -> (usize, usize) {
    let (mut a, mut b, mut home) = (Region::new("a"), Region::new("b"), leading(1, 1));
    b.holder.like(HASH, true);
    let mut left = Vec::new();
    let unreferenced = match surplus("a") {
        HomeEvent::Found(candidate) => {
            HomeEvent::Found(Candidate { cause: Cause::Unreferenced, ..candidate })
        }
        other => other,
    };
    for (at, found) in [(100, surplus("a")), (200, unreferenced)] {
        let asks = tell(&mut home, seconds(at), vec![found]);
        let said = [a.hear(seconds(at), &asks[0]), b.hear(seconds(at), &asks[1])].concat();
        for grant in tell(&mut home, seconds(at), said) {
            let HomeEffect::Grant(to, _) = &grant else { continue };
            let region = if *to == id("a") { &mut a } else { &mut b };
            region.hear(seconds(at), &grant);
        }
        left.push(usize::from(a.held) + usize::from(b.held));
    }
    (left[0], left[1])
}
