//! Who belongs to the cluster: its formation, joining it, and following its members.

use std::collections::BTreeSet;

use rhumb_types::{
    RegionId, Timestamp,
    control::{AdminCommand, Digest, Member, MemberRole},
};

use super::{Overseer, OverseerEffect, OverseerEffects, proposals::Purpose};
use crate::{event, limits::FORM_WAIT};

impl Overseer {
    /// This node as it would be a member.
    pub(super) fn own(&self) -> Option<&Member> {
        self.config.founders.iter().find(|member| member.node == self.config.node)
    }

    /// This node as it is a member.
    pub(super) fn agreed_own(&self) -> Option<&Member> {
        self.view.members.iter().find(|member| member.node == self.config.node)
    }

    pub(super) fn is_member(&self) -> bool {
        self.agreed_own().is_some()
    }

    /// Forms the cluster, joins it, and says what this node reads (rule 16).
    pub(super) fn keep_membership(&mut self, now: Timestamp, out: &mut OverseerEffects) {
        if self.view.cluster.is_none() {
            if self.may_form(now) {
                let (cluster, members) = (self.config.cluster, self.config.founders.clone());
                let command = AdminCommand::Form { cluster, members };
                self.propose(now, Purpose::Form, "the first start", command, out);
            }
            return;
        }
        let (Some(own), agreed) = (self.own().cloned(), self.agreed_own()) else { return };
        match agreed {
            None if self.leader.is_some() && !self.is_replaced(&own) => {
                let command = AdminCommand::Join { member: own, token: None };
                self.propose(now, Purpose::Join, "it is configured as a member", command, out);
            }
            Some(known) if own.reads > known.reads => {
                let (node, reads) = (own.node, own.reads);
                let command = AdminCommand::ReportVersion { node, reads };
                self.propose(now, Purpose::Version, "it runs this release", command, out);
            }
            Some(known) if own.fingerprint != known.fingerprint => {
                let (node, fingerprint) = (own.node, own.fingerprint);
                let command = AdminCommand::RotateIdentity { node, fingerprint };
                self.propose(now, Purpose::Identity, "its certificate was renewed", command, out);
            }
            _ => {}
        }
        self.hand_over_rules(now, out);
    }

    /// Whether it is for this node to form the cluster: the leader alone, so that others need not be
    /// refused. A witness cannot, and when one leads it is for the others.
    fn may_form(&mut self, now: Timestamp) -> bool {
        if self.own().is_none_or(|own| own.role != MemberRole::Voter) {
            return false;
        }
        if self.leader.is_none() {
            self.unformed_since = None;
            return false;
        }
        let since = *self.unformed_since.get_or_insert(now.mono);
        self.leads() || now.mono.saturating_since(since) >= FORM_WAIT
    }

    /// The configured affinity rules are those of a new cluster; afterwards the agreed ones count.
    fn hand_over_rules(&mut self, now: Timestamp, out: &mut OverseerEffects) {
        let rules = &self.config.facts.rules;
        if self.view.rules_version > 0 || rules.is_empty() || !self.leads() {
            return;
        }
        let command = AdminCommand::PutRules { expected: 0, rules: rules.clone() };
        self.propose(now, Purpose::Rules, "the first start", command, out);
    }

    /// This node shows another certificate from now on.
    pub(super) fn on_renewed(&mut self, fingerprint: Digest) {
        let node = self.config.node;
        let own = self.config.founders.iter_mut().find(|member| member.node == node);
        if let Some(own) = own {
            own.fingerprint = fingerprint;
        }
    }

    /// Whether the region has another voter, so that only an operator can put this one in its
    /// place (rule 15).
    fn is_replaced(&self, own: &Member) -> bool {
        let votes = |other: &&Member| other.region == own.region && other.role.votes();
        own.role.votes() && self.view.members.iter().any(|other| votes(&other))
    }

    /// The members as agreed, and those that are configured and were never agreed on: they may be
    /// about to join, and must be reached for that.
    pub(super) fn follow_members(&mut self, now: Timestamp, out: &mut OverseerEffects) {
        if self.view.cluster.is_none() {
            self.watch_configured(now);
            return;
        }
        self.agreed.extend(self.view.regions.keys().cloned());
        let agreed: BTreeSet<&RegionId> =
            self.view.members.iter().map(|member| &member.region).collect();
        let configured = self.config.facts.regions.iter().map(|facts| &facts.region.id);
        let coming = configured.filter(|region| !self.agreed.contains(*region));
        let watched: Vec<RegionId> = agreed.into_iter().chain(coming).cloned().collect();
        if self.is_member() {
            let members = watched.iter().map(|region| self.replica(region)).collect();
            out.push(OverseerEffect::Members(members));
        } else if self.live {
            self.tell_if_replaced(out);
        }
        self.board.set_peers(now.mono, watched);
        if !self.is_member() {
            self.holders.clear();
        }
    }

    /// A region as replication sees it.
    fn replica(&self, region: &RegionId) -> event::Member {
        let configured = self.config.facts.regions.iter().find(|f| f.region.id == *region);
        let witness = match self.view.regions.get(region) {
            Some(status) => status.witness,
            None => configured.is_some_and(|facts| facts.region.witness),
        };
        let domains = self.config.domains.get(region).cloned().unwrap_or_default();
        event::Member { region: region.clone(), witness, domains }
    }

    pub(super) fn watch_configured(&mut self, now: Timestamp) {
        let regions = self.config.facts.regions.iter().map(|facts| facts.region.id.clone());
        self.board.set_peers(now.mono, regions.collect::<Vec<_>>());
    }

    fn tell_if_replaced(&self, out: &mut OverseerEffects) {
        if let Some(own) = self.own()
            && self.is_replaced(own)
        {
            out.alarm(format!(
                "{} has another voter than {}: replace that member, or remove this node",
                own.region, own.node
            ));
        }
    }
}
