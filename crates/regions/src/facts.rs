//! How what is agreed and what is observed get into the facts that routing uses.

use rhumb_types::{
    MonoTime, Ratio, RegionId,
    control::{ControlView, RegionStatus},
};

use crate::{
    health::HealthBoard,
    registry::Region,
    snapshot::{Facts, RegionFacts},
    status::Health,
};

impl Facts {
    /// Brings the facts in line with what the control plane agreed and what this node observes,
    /// and raises their version when that changed anything.
    ///
    /// A region that joins is added as it is configured, or with the defaults of its name when the
    /// file does not know it; one that is no member is dropped, except this node's own. Before the
    /// cluster is formed only what is observed counts. A region under a verdict is down whatever
    /// this node sees of it: it may be the only one that still does.
    pub fn refresh(
        &mut self,
        now: MonoTime,
        configured: &[RegionFacts],
        view: &ControlView,
        board: &HealthBoard,
    ) -> bool {
        let before = self.clone();
        if view.cluster.is_some() {
            let here = &self.here;
            self.regions.retain(|facts| {
                facts.region.id == *here || view.regions.contains_key(&facts.region.id)
            });
            for (name, status) in &view.regions {
                let known = self.regions.iter().position(|facts| facts.region.id == *name);
                match known.and_then(|at| self.regions.get_mut(at)) {
                    Some(facts) => facts.follow(view, status),
                    None => self.regions.extend(joined(name, configured, view, status)),
                }
            }
            self.rules.clone_from(&view.rules);
        }
        for facts in &mut self.regions {
            facts.observe(now, view, board);
        }
        let changed = *self != before;
        if changed {
            self.version += 1;
        }
        changed
    }
}

impl RegionFacts {
    fn follow(&mut self, view: &ControlView, status: &RegionStatus) {
        self.admin = status.state;
        self.ramp = Ratio::clamped(f64::from(status.ramp_percent) / 100.0);
        self.region.witness = status.witness;
        if let Some(lease) = view.leases.get(&self.region.id) {
            self.epoch = lease.epoch;
        }
    }

    fn observe(&mut self, now: MonoTime, view: &ControlView, board: &HealthBoard) {
        if let Some(seen) = board.assess(now, &self.region.id) {
            self.health = seen.health;
            self.lost = seen.lost;
            self.utilisation = seen.utilisation;
        }
        let status = view.regions.get(&self.region.id);
        if status.is_some_and(|status| status.verdict.is_some()) {
            self.health = Health::Down;
        }
    }
}

/// A region that joins; nothing when the file does not know it and no node of it is a member,
/// because then it has no address.
fn joined(
    name: &RegionId,
    configured: &[RegionFacts],
    view: &ControlView,
    status: &RegionStatus,
) -> Option<RegionFacts> {
    let known = configured.iter().find(|facts| facts.region.id == *name).cloned();
    let mut facts = known.or_else(|| {
        let member = view.members.iter().find(|member| member.region == *name)?;
        Some(RegionFacts::new(Region::new(name.clone(), member.address.clone())))
    })?;
    facts.follow(view, status);
    Some(facts)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rhumb_types::{
        ClusterId, Epoch, NodeId, UnixMillis,
        control::{AdminState, Digest, Member, MemberRole, RegionLease, Verdict},
    };

    use super::*;
    use crate::{
        health::{HealthConfig, Sign},
        policy::Policy,
        snapshot::RoutingSnapshot,
    };

    const NOW: MonoTime = MonoTime(1_000_000);

    fn region(name: &str) -> RegionId {
        RegionId::new(name).unwrap()
    }

    fn facts() -> Facts {
        let known = |name: &str| RegionFacts::new(Region::new(region(name), "host:1"));
        Facts {
            version: 1,
            here: region("us-east-1"),
            regions: vec![known("us-east-1"), known("eu-west-1"), known("sa-east-1")],
            links: Vec::new(),
            rules: Vec::new(),
            policy: Policy::default(),
        }
    }

    fn view() -> ControlView {
        let status = |state| RegionStatus {
            state,
            reason: String::new(),
            actor: String::new(),
            since: UnixMillis(0),
            ramp_percent: 100,
            verdict: None,
            witness: false,
        };
        let lease = RegionLease { epoch: Epoch(4), ..RegionLease::default() };
        let member = Member {
            node: NodeId(9),
            region: region("ap-south-1"),
            role: MemberRole::Voter,
            address: "aps1.example:7401".to_owned(),
            fingerprint: Digest::default(),
            reads: 1,
        };
        ControlView {
            cluster: Some(ClusterId(1)),
            members: vec![member],
            regions: ["us-east-1", "eu-west-1", "ap-south-1"]
                .map(|name| (region(name), status(AdminState::Active)))
                .into(),
            leases: [(region("eu-west-1"), lease)].into(),
            ..ControlView::default()
        }
    }

    fn board() -> HealthBoard {
        let mut board = HealthBoard::new(region("us-east-1"), HealthConfig::fast());
        board.set_peers(NOW, [region("eu-west-1")]);
        board
    }

    fn of<'a>(facts: &'a Facts, name: &str) -> &'a RegionFacts {
        facts.regions.iter().find(|facts| facts.region.id.as_str() == name).unwrap()
    }

    #[test]
    fn what_is_agreed_and_what_is_observed_reach_the_snapshot() {
        let (mut facts, mut view, mut board) = (facts(), view(), board());
        let eu = region("eu-west-1");
        view.regions.get_mut(&eu).unwrap().state = AdminState::Draining;
        view.regions.get_mut(&eu).unwrap().ramp_percent = 10;
        let utilisation = Ratio::clamped(0.5);
        let beat = Sign::Heartbeat { serving: true, impaired: BTreeSet::new(), utilisation };
        board.on_sign(NOW, &eu, beat, &mut Vec::new());
        assert!(facts.refresh(NOW, &[], &view, &board));
        assert_eq!(facts.version, 2);
        let found = of(&facts, "eu-west-1");
        assert_eq!((found.admin, found.epoch), (AdminState::Draining, Epoch(4)));
        assert_eq!((found.ramp.get(), found.utilisation), (0.1, utilisation));
        assert!(RoutingSnapshot::build(facts).is_ok());
    }

    #[test]
    fn nothing_new_keeps_the_version() {
        let (mut facts, view, board) = (facts(), view(), board());
        facts.refresh(NOW, &[], &view, &board);
        assert!(!facts.refresh(NOW, &[], &view, &board));
        assert_eq!(facts.version, 2);
    }

    #[test]
    fn regions_come_and_go_with_the_agreement_and_stay_without_one() {
        let (mut facts, view, board) = (facts(), view(), board());
        facts.refresh(NOW, &[], &ControlView::default(), &board);
        assert_eq!(facts.regions.len(), 3);
        facts.refresh(NOW, &[], &view, &board);
        let names: BTreeSet<_> = facts.regions.iter().map(|f| f.region.id.as_str()).collect();
        assert_eq!(names, ["ap-south-1", "eu-west-1", "us-east-1"].into());
        let memberless = ControlView { members: Vec::new(), ..view };
        let mut facts = self::facts();
        facts.refresh(NOW, &[], &memberless, &board);
        assert_eq!(facts.regions.len(), 2, "what has no address is not routed to");
    }

    #[test]
    fn a_region_that_joins_late_is_as_it_was_configured() {
        let (mut facts, mut view, board) = (facts(), view(), board());
        for facts in &mut facts.regions {
            facts.region.weight = 7;
        }
        let configured = facts.regions.clone();
        let status = view.regions.remove(&region("eu-west-1")).unwrap();
        facts.refresh(NOW, &configured, &view, &board);
        assert!(facts.regions.iter().all(|it| it.region.id != region("eu-west-1")));
        view.regions.insert(region("eu-west-1"), status);
        facts.refresh(NOW, &configured, &view, &board);
        assert_eq!(of(&facts, "eu-west-1").region.weight, 7);
    }

    #[test]
    fn a_verdict_outweighs_what_this_node_sees() {
        let (mut facts, mut view, board) = (facts(), view(), board());
        let verdict = Verdict { at: UnixMillis(0), by: Vec::new() };
        view.regions.get_mut(&region("eu-west-1")).unwrap().verdict = Some(verdict);
        facts.refresh(NOW, &[], &view, &board);
        assert_eq!(of(&facts, "eu-west-1").health, Health::Down);
        view.regions.get_mut(&region("eu-west-1")).unwrap().verdict = None;
        facts.refresh(NOW, &[], &view, &board);
        assert_eq!(of(&facts, "eu-west-1").health, Health::Healthy);
    }
}
