//! `GET /v1/status`: a node, as it sees itself and its peers.

use rhumb_engine::node::{Alarm, NodeStatus, Phase};
use rhumb_types::RegionId;
use serde_json::{Value, json};

use super::health;
use crate::{
    encode,
    request::{Call, Outcome},
    server::Shared,
};

pub(crate) fn show(call: &Call) -> Outcome {
    call.params()?.done()?;
    let shared = &call.shared;
    let status = shared.engine.status();
    let reasons: Vec<&str> = health::reasons(shared).into_iter().map(|(code, _)| code).collect();
    Ok(encode::json(&json!({
        "node": shared.surroundings.node.to_string(),
        "region": shared.surroundings.region,
        "version": env!("CARGO_PKG_VERSION"),
        "phase": phase(status.phase),
        "ready": reasons.is_empty(),
        "not_ready": reasons,
        "clock": {
            "ok": status.clock_ok,
            "unix_ms": shared.engine.clock().now().wall,
        },
        "origin": status.origin.to_string(),
        "applied": encode::vector(&status.applied),
        "durable": encode::vector(&status.durable),
        "waiting": {
            "acks": status.acks_waiting,
            "received": status.received_waiting,
            "received_bytes": status.received_bytes,
        },
        "conflicts": status.conflicts,
        "published_dropped": status.published_dropped,
        "peers": peers(&status),
        "links": shared.surroundings.links.as_ref().map(|links| links()),
        "control": control(shared),
        "leases": leases(shared),
        "alarms": alarms(shared),
    })))
}

const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Proving => "proving",
        Phase::Running => "running",
        Phase::Loading => "loading",
        Phase::Failed => "failed",
    }
}

fn peers(status: &NodeStatus) -> Vec<Value> {
    let peer = |peer: &rhumb_engine::node::PeerStatus| {
        json!({
            "region": peer.region,
            "witness": peer.witness,
            "up": peer.up,
            "serving": peer.serving,
            "load": peer.load,
            "impaired": peer.impaired,
            "hears": peer.hears,
            "round_trip_ms": peer.round_trip_micros.map(millis),
            "silent_ms": millis(peer.silent_micros),
            "clock_offset_ms": peer.clock_offset_millis,
            "lag": {
                "here_behind_it_transactions": peer.ahead_transactions,
                "it_behind_here_transactions": peer.behind_transactions,
                "it_behind_here_ms": peer.behind_millis,
            },
        })
    };
    status.peers.iter().map(peer).collect()
}

/// Microseconds as milliseconds.
fn millis(micros: u64) -> f64 {
    f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1e3
}

fn control(shared: &Shared) -> Value {
    let Some(admin) = shared.engine.admin() else { return Value::Null };
    let (group, view) = (admin.status(), admin.view());
    let members = group.members.iter().map(|member| {
        json!({
            "node": member.node.to_string(),
            "region": member.region,
            "voter": member.voter,
        })
    });
    json!({
        "cluster": view.cluster.map(|cluster| cluster.to_string()),
        "protocol": view.protocol,
        "leader": group.leader.map(|leader| leader.to_string()),
        "term": group.term,
        "applied": group.applied,
        "trouble": group.trouble,
        "members": members.collect::<Vec<_>>(),
    })
}

/// For which regions this node may act as owner, under which epoch.
fn leases(shared: &Shared) -> Vec<Value> {
    let Some(leases) = shared.engine.leases() else { return Vec::new() };
    let regions: Vec<RegionId> = leases.borrow().keys().cloned().collect();
    let held = regions.into_iter().filter_map(|region| {
        let epoch = shared.engine.may_act(&region)?;
        Some(json!({ "region": region, "epoch": epoch }))
    });
    held.collect()
}

fn alarms(shared: &Shared) -> Vec<Value> {
    let alarms = shared.surroundings.alarms.alarms();
    let said = alarms.into_iter().rev();
    let said = said.map(|(at, alarm)| {
        let (code, detail) = in_words(&alarm);
        json!({ "unix_ms": at, "code": code, "detail": detail })
    });
    said.collect()
}

/// An alarm's name and what it says.
fn in_words(alarm: &Alarm) -> (&'static str, String) {
    match alarm {
        Alarm::Disk(error) => ("disk", format!("the disk failed: {error}")),
        Alarm::Clock { offset_millis } => {
            ("clock", format!("the clock is {offset_millis} ms from its peers' median"))
        }
        Alarm::ClockRecovered => ("clock_recovered", "the clock is within bounds again".to_owned()),
        Alarm::StampBeyondBound { origin } => {
            ("stamp_beyond_bound", format!("{origin} wrote with a clock that is too far ahead"))
        }
        Alarm::Parked { region, origin, reason } => {
            ("parked", format!("{region} sends what this node cannot read, of {origin}: {reason}"))
        }
        Alarm::Namespaces { region } => {
            let text = format!(
                "the file of {region} says otherwise which keys are strong, a cache, or kept in a \
                 jurisdiction: give all nodes the same namespaces"
            );
            ("namespaces", text)
        }
        Alarm::ForeignCluster { region } => {
            ("foreign_cluster", format!("the node of {region} belongs to another cluster"))
        }
        Alarm::OriginMinted { old, new, reason } => {
            let old = old.map_or_else(String::new, |old| format!(" in place of {old}"));
            ("origin_minted", format!("this node writes as {new}{old}: {reason}"))
        }
        Alarm::Bootstrapping { from } => {
            ("bootstrapping", format!("a snapshot is being loaded from {from}"))
        }
        Alarm::Overseer(text) => ("overseer", text.clone()),
        Alarm::Queues(text) => ("queues", text.clone()),
        Alarm::Limit(what) => ("limit", (*what).to_owned()),
    }
}
