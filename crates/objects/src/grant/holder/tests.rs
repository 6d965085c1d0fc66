use std::sync::Arc;

use rhumb_types::OriginId;

use super::*;

const HASH: BlobHash = BlobHash([1; 32]);

fn home() -> RegionId {
    RegionId::new("home").unwrap()
}

fn at(seconds: u64) -> MonoTime {
    MonoTime(seconds * 1_000_000)
}

fn dot(origin: u64, version: u64) -> Dot {
    Dot { origin: OriginId(origin << 16), version }
}

fn vector(pairs: &[(u64, u64)]) -> VersionVector {
    pairs.iter().map(|(origin, version)| (OriginId(origin << 16), *version)).collect()
}

fn authority(epoch: u64) -> Authority {
    Authority { homes: 1, region: home(), epoch: Epoch(epoch) }
}

fn holder() -> Holder {
    Holder::new(HolderConfig::default(), at(0), &vector(&[(1, 5)]), 0)
}

fn tell(holder: &mut Holder, now: MonoTime, event: HolderEvent<'_>) -> Vec<HolderEffect> {
    let mut out = Vec::new();
    holder.on_event(now, event, &mut out);
    out
}

/// Asks, and says that the blob is there.
fn ask(holder: &mut Holder, now: MonoTime, seen: &VersionVector, epoch: u64) -> Holding {
    let ask = Ask {
        authority: authority(epoch),
        round: 1,
        hash: HASH,
        vector: Arc::new(seen.clone()),
        surplus: false,
    };
    let mut effects = tell(holder, now, HolderEvent::Asked { from: home(), ask });
    if let [HolderEffect::Look { hash, look }] = effects[..] {
        let looked = HolderEvent::Looked { hash, look, held: Some(true) };
        effects = tell(holder, now, looked);
    }
    let [HolderEffect::Tell(_, told)] = &effects[..] else { panic!("{effects:?}") };
    told.state
}

fn grant(
    holder: &mut Holder,
    now: MonoTime,
    seen: &VersionVector,
    epoch: u64,
    ticket: u64,
) -> Result<(), Refusal> {
    let vector = Arc::new(seen.clone());
    let grant = Grant { authority: authority(epoch), round: 1, hash: HASH, ticket, vector };
    match &tell(holder, now, HolderEvent::Granted { from: home(), grant })[..] {
        [HolderEffect::Remove(HASH)] => Ok(()),
        [HolderEffect::End(_, Outcome { result: Err(refusal), .. })] => Err(*refusal),
        other => panic!("{other:?}"),
    }
}

fn ticket(holding: Holding) -> u64 {
    match holding {
        Holding::Held { ticket, .. } => ticket,
        other => panic!("{other:?}"),
    }
}

#[test]
fn says_nothing_for_a_while_after_its_start() {
    let mut holder = holder();
    let seen = vector(&[(1, 5)]);
    let early = ask(&mut holder, at(65), &seen, 1);
    assert_eq!(early, Holding::Silent(Refusal::Starting));
    assert!(matches!(ask(&mut holder, at(66), &seen, 1), Holding::Held { caught_up: true, .. }));
}

#[test]
fn a_ticket_is_good_once_and_for_a_minute_and_until_the_next() {
    let seen = vector(&[(1, 5)]);
    let mut holder = holder();
    let first = ticket(ask(&mut holder, at(100), &seen, 1));
    let second = ticket(ask(&mut holder, at(101), &seen, 1));
    assert_eq!(grant(&mut holder, at(102), &seen, 1, first), Err(Refusal::Stale));
    assert_eq!(grant(&mut holder, at(161), &seen, 1, second), Err(Refusal::Expired));
    let third = ticket(ask(&mut holder, at(162), &seen, 1));
    assert_eq!(grant(&mut holder, at(163), &seen, 1, third), Ok(()));
    assert!(holder.is_leaving(&HASH));
    assert_eq!(holder.pin(HASH), Pinning::Leaving);
    assert_eq!(ask(&mut holder, at(164), &seen, 1), Holding::Absent);
    tell(&mut holder, at(165), HolderEvent::Removed { hash: HASH, gone: true });
    assert_eq!(holder.pin(HASH), Pinning::Pinned);
    assert_eq!(grant(&mut holder, at(166), &seen, 1, third), Err(Refusal::Stale));
}

#[test]
fn refuses_what_is_pinned_or_referred_to_and_an_old_epoch() {
    let seen = vector(&[(1, 5)]);
    let mut holder = holder();
    holder.pin(HASH);
    let now = at(100);
    let number = ticket(ask(&mut holder, now, &seen, 2));
    assert_eq!(grant(&mut holder, now, &seen, 2, number), Err(Refusal::Pinned));
    holder.unpin(&HASH);
    assert_eq!(grant(&mut holder, now, &seen, 1, number), Err(Refusal::Superseded));
    assert_eq!(ask(&mut holder, now, &seen, 1), Holding::Silent(Refusal::Superseded));
    let references = [HASH];
    tell(&mut holder, now, HolderEvent::Applied { dot: dot(1, 6), references: &references });
    assert_eq!(grant(&mut holder, now, &seen, 2, number), Err(Refusal::Referenced));
    let behind = ask(&mut holder, now, &vector(&[(1, 7)]), 2);
    assert!(matches!(behind, Holding::Held { caught_up: false, kept: None, .. }), "{behind:?}");
    let seen = vector(&[(1, 6)]);
    let number = ticket(ask(&mut holder, now, &seen, 2));
    assert_eq!(grant(&mut holder, now, &seen, 2, number), Ok(()));
}

#[test]
fn a_pin_may_wait_for_a_transaction_of_another_region() {
    let mut holder = holder();
    let (now, seen) = (at(100), vector(&[(1, 5), (2, 3)]));
    holder.pin(HASH);
    tell(&mut holder, now, HolderEvent::UnpinAfter(HASH, dot(2, 3)));
    tell(&mut holder, now, HolderEvent::Applied { dot: dot(2, 2), references: &[] });
    tell(&mut holder, now, HolderEvent::Applied { dot: dot(3, 9), references: &[] });
    let number = ticket(ask(&mut holder, now, &seen, 1));
    assert_eq!(grant(&mut holder, now, &seen, 1, number), Err(Refusal::Pinned));
    tell(&mut holder, now, HolderEvent::Applied { dot: dot(2, 3), references: &[] });
    assert_eq!(grant(&mut holder, now, &seen, 1, number), Ok(()));
    tell(&mut holder, now, HolderEvent::Removed { hash: HASH, gone: true });
    // One that waits for what never comes is let go after a day.
    holder.pin(HASH);
    tell(&mut holder, now, HolderEvent::UnpinAfter(HASH, dot(4, 1)));
    let later = at(100 + 24 * 3_600);
    tell(&mut holder, later, HolderEvent::Tick);
    let number = ticket(ask(&mut holder, later, &seen, 1));
    assert_eq!(grant(&mut holder, later, &seen, 1, number), Ok(()));
}

#[test]
fn what_came_as_a_snapshot_must_be_known_to_the_home() {
    let mut holder = holder();
    let (now, seen) = (at(100), vector(&[(1, 5)]));
    tell(&mut holder, now, HolderEvent::Covered(&vector(&[(7, 2)])));
    let number = ticket(ask(&mut holder, now, &seen, 1));
    assert_eq!(grant(&mut holder, now, &seen, 1, number), Err(Refusal::Forgotten));
    let seen = vector(&[(1, 5), (7, 2)]);
    assert_eq!(grant(&mut holder, now, &seen, 1, number), Ok(()));
}
