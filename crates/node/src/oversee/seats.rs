//! The seats of a consensus group, brought in line with the agreed members.
//!
//! The administrative machine says who belongs to the cluster; each group has its own list of who
//! replicates its log. Whoever leads a group carries the first over into the second.

use rhumb_ports::control::GroupMember;
use rhumb_types::{NodeId, RegionId, control::ControlView};

/// One change of a group's seats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatChange {
    /// Whose seat.
    pub node: NodeId,
    /// Its region.
    pub region: RegionId,
    /// A voter, a learner, or gone.
    pub voter: Option<bool>,
}

/// What is to be changed, in order: nodes that were removed go first, because there is a bound on
/// voters and because a voter that is gone only weakens the majority; then those that lose their
/// vote, then those that gain a seat or a vote.
///
/// A seat whose node is neither agreed nor retired stays: a founder may not have joined yet.
#[must_use]
pub fn seat_changes(view: &ControlView, seats: &[GroupMember]) -> Vec<SeatChange> {
    let retired = seats.iter().filter(|seat| view.retired.contains(&seat.node));
    let leaving = retired.map(|seat| SeatChange {
        node: seat.node,
        region: seat.region.clone(),
        voter: None,
    });
    let mut changes: Vec<SeatChange> = leaving.collect();
    let mut gains = Vec::new();
    for member in &view.members {
        let seat = seats.iter().find(|seat| seat.node == member.node);
        let votes = member.role.votes();
        if seat.is_some_and(|seat| seat.voter == votes) {
            continue;
        }
        let change =
            SeatChange { node: member.node, region: member.region.clone(), voter: Some(votes) };
        if seat.is_some() && !votes { changes.push(change) } else { gains.push(change) }
    }
    changes.extend(gains);
    changes
}

#[cfg(test)]
mod tests {
    use rhumb_types::control::{Digest, Member, MemberRole};

    use super::*;

    fn region(nth: u64) -> RegionId {
        RegionId::new(&format!("region-{nth}")).unwrap()
    }

    fn member(nth: u64, role: MemberRole) -> Member {
        Member {
            node: NodeId(nth),
            region: region(nth),
            role,
            address: format!("host-{nth}:7401"),
            fingerprint: Digest::default(),
            reads: 1,
        }
    }

    fn seat(nth: u64, voter: bool) -> GroupMember {
        GroupMember { node: NodeId(nth), region: region(nth), voter }
    }

    fn view(members: Vec<Member>, retired: &[u64]) -> ControlView {
        let retired = retired.iter().copied().map(NodeId).collect();
        ControlView { members, retired, ..ControlView::default() }
    }

    fn change(nth: u64, voter: Option<bool>) -> SeatChange {
        SeatChange { node: NodeId(nth), region: region(nth), voter }
    }

    #[test]
    fn nothing_changes_while_the_seats_are_the_members() {
        let members = vec![member(1, MemberRole::Voter), member(2, MemberRole::Witness)];
        assert_eq!(seat_changes(&view(members, &[]), &[seat(1, true), seat(2, true)]), []);
    }

    #[test]
    fn a_founder_that_has_not_joined_keeps_its_seat() {
        let members = vec![member(1, MemberRole::Voter)];
        assert_eq!(seat_changes(&view(members, &[]), &[seat(1, true), seat(2, true)]), []);
    }

    #[test]
    fn the_retired_leave_before_others_come() {
        let members = vec![
            member(1, MemberRole::Voter),
            member(3, MemberRole::Learner),
            member(4, MemberRole::Voter),
        ];
        let seats = [seat(1, true), seat(2, true), seat(3, true)];
        let expected = [change(2, None), change(3, Some(false)), change(4, Some(true))];
        assert_eq!(seat_changes(&view(members, &[2]), &seats), expected);
    }

    #[test]
    fn a_learner_is_made_a_voter() {
        let members = vec![member(1, MemberRole::Voter), member(2, MemberRole::Voter)];
        let seats = [seat(1, true), seat(2, false)];
        assert_eq!(seat_changes(&view(members, &[]), &seats), [change(2, Some(true))]);
    }
}
