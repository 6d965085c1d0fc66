//! Where data may lie, checked and reported.
//!
//! Selection never goes past residency. This module is for what already lies somewhere: a report
//! of every jurisdiction, and of what lies where it may not.

use rhumb_types::{RegionId, control::AdminState};
use serde::Serialize;

use crate::{registry::ResidencyTag, snapshot::RoutingSnapshot, status::Health};

/// Something that lies in regions and must stay in a jurisdiction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Holding {
    /// What it is: a prefix, a bucket, a queue.
    pub name: String,
    /// In one of which jurisdictions it must stay; none means anywhere.
    pub residency: Vec<ResidencyTag>,
    /// Where it lies.
    pub regions: Vec<RegionId>,
}

/// One jurisdiction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Jurisdiction {
    /// Its tag.
    pub tag: ResidencyTag,
    /// Its regions that hold data.
    pub regions: Vec<RegionId>,
    /// Those of them that are up and active. One alone has no failover; none is an outage.
    pub serving: Vec<RegionId>,
}

/// What deserves an alert.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// Data lies where it may not.
    #[error("`{holding}` lies in {region}, which is outside of {allowed:?}: move it")]
    Outside {
        /// What.
        holding: String,
        /// Where.
        region: RegionId,
        /// Where it ought to be.
        allowed: Vec<ResidencyTag>,
    },
    /// A jurisdiction that no region carries is demanded.
    #[error("`{holding}` must stay in `{tag}`, which no region carries: tag a region")]
    Nowhere {
        /// What.
        holding: String,
        /// The jurisdiction.
        tag: ResidencyTag,
    },
    /// A jurisdiction has one serving region.
    #[error("`{0}` has one serving region: if it fails, its data is out of reach")]
    NoFailover(ResidencyTag),
    /// A jurisdiction has no serving region.
    #[error("`{0}` has no serving region: its data is out of reach")]
    Outage(ResidencyTag),
}

/// Everything about residency at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The version of the snapshot.
    pub version: u64,
    /// All jurisdictions that regions carry.
    pub jurisdictions: Vec<Jurisdiction>,
    /// What deserves an alert.
    pub findings: Vec<Finding>,
}

/// Whether data that must stay in one of the jurisdictions may lie in a region, whatever the
/// region's state.
#[must_use]
pub fn may_lie(snapshot: &RoutingSnapshot, residency: &[ResidencyTag], region: &RegionId) -> bool {
    let facts = snapshot.index(region).map(|at| &snapshot.region(at).region);
    facts.is_some_and(|region| {
        !region.witness
            && (residency.is_empty() || residency.iter().any(|tag| region.residency.contains(tag)))
    })
}

/// Checks what lies where, and what each jurisdiction has.
#[must_use]
pub fn report(snapshot: &RoutingSnapshot, holdings: &[Holding]) -> Report {
    let jurisdictions: Vec<_> = jurisdictions(snapshot).collect();
    let mut findings: Vec<_> = jurisdictions.iter().filter_map(alert).collect();
    for holding in holdings {
        check(snapshot, holding, &mut findings);
    }
    Report { version: snapshot.version(), jurisdictions, findings }
}

fn jurisdictions(snapshot: &RoutingSnapshot) -> impl Iterator<Item = Jurisdiction> {
    snapshot.tags().map(|(tag, members)| {
        let data = members.iter().map(|at| snapshot.region(at)).filter(|r| !r.region.witness);
        let serves = |r: &_| {
            let r: &crate::RegionFacts = r;
            r.admin == AdminState::Active && r.health != Health::Down
        };
        Jurisdiction {
            tag: tag.clone(),
            regions: data.clone().map(|r| r.region.id.clone()).collect(),
            serving: data.filter(|r| serves(r)).map(|r| r.region.id.clone()).collect(),
        }
    })
}

fn alert(jurisdiction: &Jurisdiction) -> Option<Finding> {
    match jurisdiction.serving.len() {
        0 => Some(Finding::Outage(jurisdiction.tag.clone())),
        1 => Some(Finding::NoFailover(jurisdiction.tag.clone())),
        _ => None,
    }
}

fn check(snapshot: &RoutingSnapshot, holding: &Holding, findings: &mut Vec<Finding>) {
    let carried = |tag: &&ResidencyTag| !snapshot.residents(tag).is_empty();
    let nowhere = holding.residency.iter().filter(|tag| !carried(tag));
    findings.extend(
        nowhere.map(|tag| Finding::Nowhere { holding: holding.name.clone(), tag: tag.clone() }),
    );
    // A region that has not joined yet holds nothing yet.
    let joined = holding.regions.iter().filter(|r| snapshot.index(r).is_some());
    let outside = joined.filter(|r| !may_lie(snapshot, &holding.residency, r));
    findings.extend(outside.map(|region| Finding::Outside {
        holding: holding.name.clone(),
        region: region.clone(),
        allowed: holding.residency.clone(),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Facts, Policy, Region, RegionFacts};

    fn id(name: &str) -> RegionId {
        RegionId::new(name).unwrap()
    }

    fn tag(name: &str) -> ResidencyTag {
        ResidencyTag::new(name).unwrap()
    }

    #[test]
    fn reports_what_lies_outside_and_what_has_no_failover() {
        let region = |name: &str, tags: &[&str]| {
            let mut region = Region::new(id(name), "x:1");
            region.residency = tags.iter().map(|t| tag(t)).collect();
            RegionFacts::new(region)
        };
        let snapshot = RoutingSnapshot::build(Facts {
            version: 7,
            here: id("a"),
            regions: vec![region("a", &["eu"]), region("b", &["eu"]), region("c", &["sg"])],
            links: Vec::new(),
            rules: Vec::new(),
            policy: Policy::default(),
        })
        .unwrap();
        let holding = |name: &str, residency: &[&str], regions: &[&str]| Holding {
            name: name.to_owned(),
            residency: residency.iter().map(|name| tag(name)).collect(),
            regions: regions.iter().map(|name| id(name)).collect(),
        };
        let holdings = [
            holding("users:", &["eu"], &["a", "c"]),
            holding("cache:", &[], &["a", "c", "not-joined-yet"]),
            holding("rocks:", &["moon"], &[]),
        ];
        let report = report(&snapshot, &holdings);
        assert_eq!(report.jurisdictions[0].serving, [id("a"), id("b")]);
        assert_eq!(
            report.findings,
            [
                Finding::NoFailover(tag("sg")),
                Finding::Outside {
                    holding: "users:".into(),
                    region: id("c"),
                    allowed: vec![tag("eu")]
                },
                Finding::Nowhere { holding: "rocks:".into(), tag: tag("moon") },
            ]
        );
    }
}
