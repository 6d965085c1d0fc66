//! The end of a run: all hold the same, and nothing acknowledged is missing.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rhumb_regions::audit::{self, AuditKey};
use rhumb_state::{Query, Reply};
use rhumb_types::{
    AckLevel, RegionId,
    control::{AdminQuery, AdminQueryAnswer, AuditEntry, Digest, FailoverState},
    record::VersionVector,
};

use super::Run;
use crate::{
    check::{Check, Violation},
    host::Host,
    reader::Reader,
    setup::DIVIDED,
};

mod jobs;
mod objects;
mod rows;

/// How long what is agreed may take to reach every host, in microseconds.
const AGREED_LATE_MICROS: u64 = 1_000_000;

impl Run {
    /// Whether all hosts have fsynced the same, as far as they carry it: without that nothing else
    /// needs to be compared.
    pub(super) fn is_near(&self) -> bool {
        let carried = self.world.checker.carried();
        let held: Vec<(usize, VersionVector)> = (0..self.world.hosts.len())
            .filter(|host| carried.holds_data(*host))
            .map(|host| (host, self.world.checker.holds(host)))
            .collect();
        held.iter().all(|(_, vector)| {
            vector.iter().all(|(origin, version)| {
                let mut carriers = held.iter().filter(|(host, _)| carried.carries(*host, origin));
                carriers.all(|(_, other)| other.get(origin) >= version)
            })
        })
    }

    /// Whether regions wait for ever for what a disk has lost: they cannot hold the same then.
    pub(super) fn is_stuck(&self) -> bool {
        self.world.checker.waits_for_nobody() && !self.is_near()
    }

    pub(super) fn agreed(&self) -> Result<(), Violation> {
        let apart = |what| Violation { check: Check::Agreed, what };
        self.owned().map_err(apart)?;
        let forged = |what| Violation { check: Check::Audited, what };
        self.chains().map_err(forged)?;
        let differs = |what| Violation { check: Check::Converged, what };
        let view = self.same().map_err(differs)?;
        let rows = self.same_rows().map_err(differs)?;
        let lost = |what| Violation { check: Check::Lost, what };
        self.nothing_lost(&view).map_err(lost)?;
        self.no_row_lost(&rows).map_err(lost)
    }

    /// What is agreed is the same everywhere, and every lease has a holder who acts.
    fn owned(&self) -> Result<(), String> {
        if !self.options.kind.has_overseers() {
            return Ok(());
        }
        let now = self.world.now();
        // What was agreed a moment ago may be on its way.
        let through = self.world.group.through_at(now - AGREED_LATE_MICROS);
        let mut replicas = BTreeMap::new();
        for (nth, host) in self.world.hosts.iter().enumerate() {
            let applied = host.seat.applied;
            if applied < through {
                return Err(format!("host {nth} has applied {applied} of {through}"));
            }
            let state = host.seat.machine.snapshot();
            if *replicas.entry(applied).or_insert_with(|| state.clone()) != state {
                return Err(format!("host {nth} made something else of the first {applied}"));
            }
        }
        let acts = |host: &Host, region: &RegionId| {
            let tenure = host.process.as_ref().and_then(|process| process.leases.get(region));
            tenure.is_some_and(|tenure| tenure.at(host.clock(now).mono).is_some())
        };
        let regions = self.world.hosts.iter().map(|host| &host.config.region);
        let given_up = self.given_up();
        let idle = regions.into_iter().find(|it| {
            !self.world.hosts.iter().any(|host| acts(host, it)) && !given_up.contains(it)
        });
        match idle {
            Some(region) => Err(format!("nobody acts for {region} in the end")),
            None => Ok(()),
        }
    }

    /// Every host's audit chain fits together, and no two differ where both have an entry.
    fn chains(&self) -> Result<(), String> {
        if !self.options.kind.has_overseers() {
            return Ok(());
        }
        let mut known: BTreeMap<u64, Digest> = BTreeMap::new();
        for (nth, host) in self.world.hosts.iter().enumerate() {
            let machine = &host.seat.machine;
            let anchor = machine.audit_anchor();
            let mut entries: Vec<AuditEntry> = Vec::new();
            loop {
                let after = entries.last().map_or(anchor.index, |last| last.index);
                let query = AdminQuery::Audit { after, limit: u64::MAX };
                let AdminQueryAnswer::Audit { entries: page, .. } = machine.query(&query) else {
                    return Err(format!("host {nth} does not show its audit chain"));
                };
                if page.is_empty() {
                    break;
                }
                entries.extend(page);
            }
            audit::verify(anchor, &entries, &[], &AuditKey::new([0; 32]))
                .map_err(|findings| format!("the audit chain of host {nth}: {findings:?}"))?;
            if entries.last().map_or(anchor.index, |last| last.index) != machine.audit_head().index
            {
                return Err(format!("the audit chain of host {nth} ends before its head"));
            }
            for entry in entries {
                if *known.entry(entry.index).or_insert(entry.hash) != entry.hash {
                    return Err(format!("entry {} of host {nth} is another's", entry.index));
                }
            }
        }
        Ok(())
    }

    /// The regions whose last failover failed: they wait for a person, who was told.
    pub(super) fn given_up(&self) -> BTreeSet<RegionId> {
        let query = AdminQuery::Failovers { limit: u64::MAX };
        let machine = self.world.hosts.first().map(|host| &host.seat.machine);
        let Some(AdminQueryAnswer::Failovers(records)) = machine.map(|it| it.query(&query)) else {
            return BTreeSet::new();
        };
        let mut seen = BTreeSet::new();
        let last = records.into_iter().filter(|record| seen.insert(record.plan.region.clone()));
        last.filter(|it| it.state == FailoverState::Failed).map(|it| it.plan.region).collect()
    }

    /// What all hosts hold.
    fn same(&self) -> Result<BTreeMap<Bytes, String>, String> {
        let carried = self.world.checker.carried();
        let data = (0..self.world.hosts.len()).filter(|host| carried.holds_data(*host));
        let views: Vec<BTreeMap<Bytes, String>> =
            data.map(|host| self.view(host)).collect::<Result<_, _>>()?;
        let Some((whole, others)) = views.split_first() else { return Ok(BTreeMap::new()) };
        for (nth, other) in (1..).zip(others) {
            // The first host carries every domain.
            let mut first = whole.clone();
            let less = self.world.hosts.get(nth).is_some_and(|it| it.config.domains.is_empty());
            if less {
                first.retain(|key, _| !key.starts_with(DIVIDED));
            }
            let differs = first.iter().find(|(key, value)| other.get(*key) != Some(value));
            let more = other.keys().find(|key| !first.contains_key(*key));
            if let Some((key, value)) = differs {
                let (ours, theirs) = apart(value, other.get(key));
                return Err(format!("hosts 0 and {nth} differ on {key:?}: {ours} and {theirs}"));
            }
            if let Some(key) = more {
                return Err(format!("host {nth} has {key:?}, and host 0 has not"));
            }
        }
        Ok(whole.clone())
    }

    fn nothing_lost(&self, view: &BTreeMap<Bytes, String>) -> Result<(), String> {
        let nothing = String::new();
        for ((key, member), (host, ack)) in &self.work.members {
            // A disk that lies loses what it alone had, and two that lie what they both had.
            let others_sound = self.lied.iter().all(|liar| liar == host);
            if self.lied.contains(host) && !(others_sound && *ack >= AckLevel::OneRemote) {
                continue;
            }
            let wanted = format!("[{}]", String::from_utf8_lossy(member));
            if !view.get(key).unwrap_or(&nothing).contains(&wanted) {
                return Err(format!(
                    "{key:?} {member:?}, acknowledged at {ack:?} by host {host}, is lost"
                ));
            }
        }
        for key in self.work.unknown.keys() {
            let value = view.get(key).and_then(|value| value.parse().ok()).unwrap_or(0_u64);
            let counted = |lying: bool| -> u64 {
                let of_key = self.work.counted.iter().filter(|((known, _), _)| known == key);
                of_key
                    .filter(|((_, host), _)| lying || !self.lied.contains(host))
                    .map(|(_, n)| n)
                    .sum()
            };
            let most = counted(true) + self.work.unknown.get(key).copied().unwrap_or(0);
            if value < counted(false) || value > most {
                let least = counted(false);
                return Err(format!("{key:?} counts {value}, and must be from {least} to {most}"));
            }
        }
        Ok(())
    }

    /// What a reader of a host sees: every key with its value as text.
    fn view(&self, host: usize) -> Result<BTreeMap<Bytes, String>, String> {
        let machine = self.world.hosts.get(host).ok_or("no such host")?;
        let process = machine.process.as_ref().ok_or_else(|| format!("host {host} is down"))?;
        let reader = Reader::of(process.store.as_ref(), machine.clock(self.world.now()).wall);
        let ask = |query: &Query| {
            reader.ask(query).map_err(|error| format!("host {host} cannot answer: {error:?}"))
        };
        let mut view = BTreeMap::new();
        let pattern = Bytes::from_static(b"*");
        let Reply::Array(keys) = ask(&Query::Keys { pattern })? else { return Ok(view) };
        for key in keys {
            let Reply::Bytes(key) = key else { continue };
            let text = match ask(&Query::Get { key: key.clone() }) {
                Ok(Reply::Bytes(value)) => String::from_utf8_lossy(&value).into_owned(),
                _ => match ask(&Query::SMembers { key: key.clone() }) {
                    Ok(Reply::Set(members)) => members
                        .iter()
                        .map(|member| format!("[{}]", String::from_utf8_lossy(member)))
                        .collect(),
                    _ => format!("{:?}", ask(&Query::HGetAll { key: key.clone() })),
                },
            };
            view.insert(key, text);
        }
        Ok(view)
    }
}

/// What each side has and the other has not, where both are sets; else both as they are.
fn apart(ours: &str, theirs: Option<&String>) -> (String, String) {
    let Some(theirs) = theirs else { return (ours.to_owned(), "nothing".to_owned()) };
    let members =
        |set: &str| -> BTreeSet<String> { set.split_inclusive(']').map(str::to_owned).collect() };
    let (ours, theirs) = (members(ours), members(theirs));
    let only = |one: &BTreeSet<String>, other| one.difference(other).cloned().collect();
    (only(&ours, &theirs), only(&theirs, &ours))
}
