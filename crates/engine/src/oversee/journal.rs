//! What was agreed, line by line, for the log: an operator reads there why traffic moved.

use rhumb_types::{
    RegionId,
    control::{ControlView, FailoverRecord, RegionLease},
};

/// Logs what differs between two views.
pub(super) fn log_changes(old: &ControlView, new: &ControlView) {
    if old.cluster != new.cluster {
        tracing::info!(cluster = ?new.cluster, "the cluster is formed");
    }
    log_members(old, new);
    log_regions(old, new);
    log_leases(old, new);
    for record in &new.open_failovers {
        let before = old.open_failovers.iter().find(|it| it.id == record.id);
        log_failover(before, record);
    }
    let closed = |record: &&FailoverRecord| new.open_failovers.iter().all(|it| it.id != record.id);
    for record in old.open_failovers.iter().filter(closed) {
        tracing::info!(id = record.id.0, region = %record.plan.region, "a failover is over");
    }
    if old.rules_version != new.rules_version {
        tracing::info!(version = new.rules_version, "the affinity rules changed");
    }
    if old.config_version != new.config_version {
        tracing::info!(version = new.config_version, "the agreed configuration changed");
    }
}

/// The regions whose duties were taken over between two views.
pub(super) fn taken_over<'v>(
    old: &'v ControlView,
    new: &'v ControlView,
) -> impl Iterator<Item = &'v RegionId> {
    let moved = move |(region, lease): (&'v RegionId, &'v RegionLease)| {
        let holder = lease.holder.as_ref()?;
        let before = old.leases.get(region).and_then(|lease| lease.holder.as_ref());
        let foreign = holder.region != *region;
        (foreign && before.map(|it| &it.region) != Some(&holder.region)).then_some(region)
    };
    new.leases.iter().filter_map(moved)
}

fn log_members(old: &ControlView, new: &ControlView) {
    for member in new.members.iter().filter(|it| old.members.iter().all(|o| o.node != it.node)) {
        let (node, region, role) = (member.node, &member.region, member.role);
        tracing::info!(%node, %region, ?role, "a member joined");
    }
    for member in old.members.iter().filter(|it| new.members.iter().all(|n| n.node != it.node)) {
        tracing::warn!(node = %member.node, region = %member.region, "a member is gone");
    }
}

fn log_regions(old: &ControlView, new: &ControlView) {
    for (region, now) in &new.regions {
        let Some(before) = old.regions.get(region) else { continue };
        match (&before.verdict, &now.verdict) {
            (None, Some(verdict)) => {
                tracing::warn!(%region, by = ?verdict.by, "the other regions hold that it is down");
            }
            (Some(_), None) => tracing::info!(%region, "the verdict is lifted"),
            _ => {}
        }
        if before.state != now.state {
            let (state, actor, reason) = (now.state, &now.actor, &now.reason);
            tracing::warn!(%region, ?state, %actor, %reason, "a region's state was set");
        }
        if before.ramp_percent != now.ramp_percent {
            tracing::info!(%region, percent = now.ramp_percent, "a region's share was set");
        }
    }
}

fn log_leases(old: &ControlView, new: &ControlView) {
    for (region, lease) in &new.leases {
        let before = old.leases.get(region);
        if before.map(|it| (&it.holder, it.epoch)) != Some((&lease.holder, lease.epoch)) {
            let holder = lease.holder.as_ref().map(|party| &party.region);
            tracing::info!(%region, ?holder, epoch = lease.epoch.0, "a region's lease changed");
        }
    }
}

fn log_failover(before: Option<&FailoverRecord>, record: &FailoverRecord) {
    let (id, region, state) = (record.id.0, &record.plan.region, record.state);
    if before.is_none() {
        let (kind, mode) = (record.plan.kind, record.plan.mode);
        tracing::warn!(id, %region, ?kind, ?mode, ?state, "a failover was opened");
    }
    let seen = before.map_or(0, |it| it.steps.len());
    for line in record.steps.iter().skip(seen) {
        tracing::info!(id, %region, step = ?line.step, state = ?line.state, "a failover goes on");
    }
    if before.is_some_and(|it| it.state != record.state) {
        tracing::info!(id, %region, ?state, "a failover's state changed");
    }
}
