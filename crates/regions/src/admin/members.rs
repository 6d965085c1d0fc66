//! Members, the cluster's identity, and what remains after a disaster (rules 15 and 16).

use std::collections::BTreeSet;

use rhumb_types::{
    ClusterId, NodeId, RegionId, UnixMillis,
    control::{
        AdminCommand, AdminOutcome, AdminRefusal, AdminRequest, Digest, Member, MemberRole,
        limits::{MEMBERS_MAX, REGIONS_MAX, VOTERS_MAX},
    },
};

use super::{
    agreed::{Agreed, Answer},
    validate::{invalid, limit},
};

impl Agreed {
    pub(super) fn execute_membership(&mut self, request: &AdminRequest) -> Answer {
        use AdminCommand as C;
        let outcome = match &request.command {
            C::Form { cluster, members } => self.form(*cluster, members),
            C::Join { member, token } => self.join(member, *token, request.at),
            C::ReplaceMember { old, member } => self.replace_member(*old, member),
            C::RemoveMember { node } => self.remove_member(*node),
            C::SetMemberRole { node, role } => self.set_role(*node, *role),
            C::RotateIdentity { node, fingerprint } => self.rotate(*node, *fingerprint),
            C::ReportVersion { node, reads } => self.report_version(*node, *reads),
            C::Recover { cluster, survivors } => self.recover(*cluster, survivors),
            _ => Err(AdminRefusal::NotFound("membership command".to_owned())),
        }?;
        self.settle_members(request);
        Ok(outcome)
    }

    fn form(&mut self, cluster: ClusterId, members: &[Member]) -> Answer {
        let mut first = Self::default();
        for member in members {
            first.check_new(member, None)?;
            first.members.insert(member.node, member.clone());
        }
        if !first.members.values().any(|member| member.role == MemberRole::Voter) {
            return Err(invalid("the members", "at least one must be a voter with data"));
        }
        self.members = first.members;
        self.cluster = Some(cluster);
        Ok(AdminOutcome::Done)
    }

    fn join(&mut self, member: &Member, token: Option<Digest>, at: UnixMillis) -> Answer {
        if self.members.get(&member.node) == Some(member) {
            return Ok(AdminOutcome::Unchanged);
        }
        self.check_new(member, None)?;
        if let Some(secret) = token {
            self.use_join_token(secret, member, at)?;
        }
        self.members.insert(member.node, member.clone());
        Ok(AdminOutcome::Done)
    }

    fn replace_member(&mut self, old: NodeId, member: &Member) -> Answer {
        if !self.members.contains_key(&old) && self.members.get(&member.node) == Some(member) {
            return Ok(AdminOutcome::Unchanged);
        }
        let replaced = self.member(old)?;
        if replaced.region != member.region {
            return Err(invalid("the new member's region", "it must be that of the old one"));
        }
        if replaced.role.votes() && !member.role.votes() {
            return Err(invalid("the new member's role", "the old one votes, so it must too"));
        }
        self.check_new(member, Some(old))?;
        if member.role != MemberRole::Voter {
            self.keep_a_voter_without(|other| other.node == old)?;
        }
        if !member.role.holds_data() {
            self.keep_data_without(&member.region, old)?;
        }
        self.retire(old);
        self.members.insert(member.node, member.clone());
        Ok(AdminOutcome::Done)
    }

    fn remove_member(&mut self, node: NodeId) -> Answer {
        if self.retired.contains(&node) {
            return Ok(AdminOutcome::Unchanged);
        }
        let region = self.member(node)?.region.clone();
        self.keep_a_voter_without(|member| member.node == node)?;
        self.keep_data_without(&region, node)?;
        self.retire(node);
        Ok(AdminOutcome::Done)
    }

    fn set_role(&mut self, node: NodeId, role: MemberRole) -> Answer {
        let member = self.member(node)?.clone();
        if member.role == role {
            return Ok(AdminOutcome::Unchanged);
        }
        if role.votes() {
            let changed = Member { role, ..member.clone() };
            self.check_voters(&changed, Some(node))?;
        }
        if role != MemberRole::Voter {
            self.keep_a_voter_without(|other| other.node == node)?;
        }
        if !role.holds_data() {
            self.keep_data_without(&member.region, node)?;
        }
        self.members.insert(node, Member { role, ..member });
        Ok(AdminOutcome::Done)
    }

    fn rotate(&mut self, node: NodeId, fingerprint: Digest) -> Answer {
        self.member(node)?;
        self.check_fingerprint(fingerprint, node)?;
        let Some(member) = self.members.get_mut(&node) else {
            return Err(AdminRefusal::UnknownMember(node));
        };
        if member.fingerprint == fingerprint {
            return Ok(AdminOutcome::Unchanged);
        }
        member.fingerprint = fingerprint;
        Ok(AdminOutcome::Done)
    }

    fn report_version(&mut self, node: NodeId, reads: u16) -> Answer {
        let agreed = self.protocol;
        let Some(member) = self.members.get_mut(&node) else {
            return Err(AdminRefusal::UnknownMember(node));
        };
        if reads < agreed {
            return Err(too_old(reads, agreed));
        }
        if member.reads == reads {
            return Ok(AdminOutcome::Unchanged);
        }
        member.reads = reads;
        Ok(AdminOutcome::Done)
    }

    /// Every epoch rises, so that whatever the lost members still do is fenced. Leases keep their
    /// holders: a survivor renews under the new epoch, and a lost holder's is waited out anew,
    /// because its numbers have changed.
    fn recover(&mut self, cluster: ClusterId, survivors: &[NodeId]) -> Answer {
        if self.cluster == Some(cluster) {
            return Err(invalid("the cluster's id", "a recovered cluster needs a new one"));
        }
        let survivors: BTreeSet<NodeId> = survivors.iter().copied().collect();
        if let Some(stranger) = survivors.iter().find(|node| !self.members.contains_key(node)) {
            return Err(AdminRefusal::UnknownMember(*stranger));
        }
        let remains = |member: &&Member| survivors.contains(&member.node);
        if !self.members.values().filter(remains).any(|m| m.role == MemberRole::Voter) {
            return Err(invalid("the survivors", "at least one must be a voter with data"));
        }
        let lost: Vec<NodeId> =
            self.members.keys().filter(|node| !survivors.contains(node)).copied().collect();
        lost.into_iter().for_each(|node| self.retire(node));
        for lease in self.leases.values_mut() {
            lease.epoch = lease.epoch.next();
            lease.renewal = 0;
        }
        self.epoch_floor = self.epoch_floor.next();
        self.ballots.clear();
        self.cluster = Some(cluster);
        Ok(AdminOutcome::Done)
    }

    /// Refuses a member that breaks a bound, or that poses as another.
    fn check_new(&self, member: &Member, replaces: Option<NodeId>) -> Result<(), AdminRefusal> {
        if self.retired.contains(&member.node) {
            return Err(AdminRefusal::NodeRetired(member.node));
        }
        if self.members.contains_key(&member.node) {
            return Err(AdminRefusal::Exists(format!("member {}", member.node)));
        }
        if self.members.len() >= MEMBERS_MAX && replaces.is_none() {
            return Err(limit("members", MEMBERS_MAX));
        }
        if !self.regions.contains_key(&member.region) && self.regions.len() >= REGIONS_MAX {
            return Err(limit("regions", REGIONS_MAX));
        }
        if member.reads < self.protocol {
            return Err(too_old(member.reads, self.protocol));
        }
        self.check_fingerprint(member.fingerprint, replaces.unwrap_or(member.node))?;
        if member.role.votes() {
            self.check_voters(member, replaces)?;
        }
        Ok(())
    }

    fn check_fingerprint(&self, print: Digest, node: NodeId) -> Result<(), AdminRefusal> {
        let taken = self.members.values().any(|m| m.fingerprint == print && m.node != node);
        if taken {
            return Err(AdminRefusal::Exists("certificate fingerprint".to_owned()));
        }
        Ok(())
    }

    /// One voter per region, and at most [`VOTERS_MAX`] (DESIGN mechanism 6).
    fn check_voters(&self, member: &Member, besides: Option<NodeId>) -> Result<(), AdminRefusal> {
        let others = || {
            let others = self.members.values().filter(|other| other.role.votes());
            others.filter(|other| Some(other.node) != besides && other.node != member.node)
        };
        if others().count() >= VOTERS_MAX {
            return Err(limit("voters", VOTERS_MAX));
        }
        if others().any(|other| other.region == member.region) {
            let problem = format!("{} has a voter already; join as a learner", member.region);
            return Err(invalid("the member's role", problem));
        }
        Ok(())
    }

    /// Refuses to lose the last data of the last region that may have duties.
    fn keep_data_without(&self, region: &RegionId, node: NodeId) -> Result<(), AdminRefusal> {
        let holds = |m: &Member| m.region == *region && m.node != node && m.role.holds_data();
        if self.members.values().any(holds) { Ok(()) } else { self.keep_one_without(region) }
    }

    /// Refuses to lose the last voter that holds data.
    pub(super) fn keep_a_voter_without(
        &self,
        goes: impl Fn(&Member) -> bool,
    ) -> Result<(), AdminRefusal> {
        let is_voter = |member: &&Member| member.role == MemberRole::Voter;
        let mut leaving = self.members.values().filter(is_voter).filter(|m| goes(m));
        let remains = self.members.values().filter(is_voter).any(|m| !goes(m));
        match leaving.next() {
            Some(last) if !remains => Err(AdminRefusal::LastVoter(last.node)),
            _ => Ok(()),
        }
    }
}

fn too_old(reads: u16, agreed: u16) -> AdminRefusal {
    let problem = format!("it reads up to {reads}, and the cluster agreed on {agreed}: upgrade it");
    invalid("the member's protocol version", problem)
}
