//! Laws of the administrative machine under arbitrary commands and arbitrary bytes.

use crate::{
    AdminMachine,
    audit::{AuditKey, verify},
};
use proptest::prelude::*;
use rhumb_types::{
    ClusterId, Epoch, NodeId, OriginId, RegionId, UnixMillis,
    control::{
        AdminAnswer, AdminCommand, AdminQuery, AdminQueryAnswer, AdminRequest, AdminState, Ballot,
        Digest, Document, FailoverId, FailoverKind, FailoverMode, FailoverPlan, FailoverState,
        FailoverStrategy, Member, MemberRole, RegionStatus,
    },
    record::Record,
};

const NAMES: [&str; 5] = ["us", "eu", "ap", "sa", "wit"];

fn region(at: usize) -> RegionId {
    RegionId::new(NAMES[at % NAMES.len()]).unwrap()
}

fn regions() -> impl Strategy<Value = RegionId> {
    (0..NAMES.len()).prop_map(region)
}

fn nodes() -> impl Strategy<Value = NodeId> {
    (1_u64..9).prop_map(NodeId)
}

fn roles() -> impl Strategy<Value = MemberRole> {
    prop_oneof![Just(MemberRole::Voter), Just(MemberRole::Learner), Just(MemberRole::Witness)]
}

fn members() -> impl Strategy<Value = Member> {
    (nodes(), regions(), roles(), 1_u16..3).prop_map(|(node, region, role, reads)| Member {
        node,
        region,
        role,
        address: "host:1".to_owned(),
        fingerprint: Digest([u8::try_from(node.0).unwrap(); 32]),
        reads,
    })
}

fn states() -> impl Strategy<Value = AdminState> {
    prop_oneof![Just(AdminState::Active), Just(AdminState::Draining), Just(AdminState::Disabled)]
}

fn ballots() -> impl Strategy<Value = Ballot> {
    (any::<bool>(), proptest::collection::vec(regions(), 0..5), any::<bool>())
        .prop_map(|(down, hears, overloaded)| Ballot { down, hears, overloaded, at: UnixMillis(0) })
}

fn membership() -> impl Strategy<Value = AdminCommand> {
    prop_oneof![
        members().prop_map(|member| AdminCommand::Join { member, token: None }),
        (nodes(), members()).prop_map(|(old, member)| AdminCommand::ReplaceMember { old, member }),
        nodes().prop_map(|node| AdminCommand::RemoveMember { node }),
        (nodes(), roles()).prop_map(|(node, role)| AdminCommand::SetMemberRole { node, role }),
        (nodes(), 0_u16..4).prop_map(|(node, reads)| AdminCommand::ReportVersion { node, reads }),
        (2_u64..5, proptest::collection::vec(nodes(), 0..4)).prop_map(|(cluster, survivors)| {
            AdminCommand::Recover { cluster: ClusterId(cluster), survivors }
        }),
        (regions(), 0_u64..4).prop_map(|(region, origin)| AdminCommand::RemoveRegion {
            region,
            origins: vec![(OriginId(origin), origin * 7)],
        }),
        (0_u64..12).prop_map(|version| AdminCommand::SettleHomes { version }),
    ]
}

fn duties() -> impl Strategy<Value = AdminCommand> {
    let numbers = || ((0_u64..6).prop_map(Epoch), 0_u64..4);
    prop_oneof![
        3 => (regions(), states(), proptest::option::of(states())).prop_map(
            |(region, state, expected)| AdminCommand::SetRegionState { region, state, expected }
        ),
        3 => (regions(), nodes(), numbers()).prop_map(|(region, node, (epoch, _))| {
            AdminCommand::AcquireLease { region, node, epoch, duration_ms: 1_000 }
        }),
        3 => (regions(), nodes(), numbers()).prop_map(|(region, node, (epoch, renewal))| {
            AdminCommand::RenewLease { region, node, epoch, renewal }
        }),
        3 => (regions(), nodes(), numbers()).prop_map(|(region, node, (epoch, renewal))| {
            AdminCommand::TakeOverLease { region, node, epoch, renewal, duration_ms: 1_000 }
        }),
        1 => (regions(), nodes(), numbers()).prop_map(|(region, node, (epoch, _))| {
            AdminCommand::ReleaseLease { region, node, epoch }
        }),
        8 => (regions(), regions(), ballots()).prop_map(|(subject, voter, ballot)| {
            AdminCommand::Vote { subject, voter, ballot }
        }),
        1 => regions().prop_map(|region| AdminCommand::LiftVerdict { region }),
        1 => (regions(), 0_u8..120)
            .prop_map(|(region, percent)| AdminCommand::SetRamp { region, percent }),
    ]
}

fn documents() -> impl Strategy<Value = AdminCommand> {
    prop_oneof![
        (0_u64..4, "[a-z]{0,3}")
            .prop_map(|(expected, document)| AdminCommand::PutConfig { expected, document }),
        (0_u64..4, 0_u64..4).prop_map(|(expected, to)| AdminCommand::Rollback {
            document: Document::Config,
            expected,
            to,
        }),
        (regions(), "[ab]").prop_map(|(region, idempotency_key)| AdminCommand::StartFailover {
            plan: FailoverPlan {
                idempotency_key,
                region,
                kind: FailoverKind::Failover,
                mode: FailoverMode::Automatic,
                strategy: FailoverStrategy::Graceful,
                successor: None,
                moves: Vec::new(),
            },
        }),
        (1_u64..4, 0_u64..3).prop_map(|(id, sequence)| AdminCommand::AdvanceFailover {
            id: FailoverId(id),
            sequence,
            state: FailoverState::Succeeded,
            step: None,
        }),
        (1_u64..4, 0_u64..3, regions()).prop_map(|(id, sequence, successor)| {
            AdminCommand::NameSuccessor { id: FailoverId(id), sequence, successor }
        }),
    ]
}

fn commands() -> impl Strategy<Value = Vec<AdminCommand>> {
    let command = prop_oneof![2 => membership(), 6 => duties(), 1 => documents()];
    proptest::collection::vec(command, 0..120)
}

fn request(command: AdminCommand) -> Vec<u8> {
    let (actor, reason) = ("test".to_owned(), "a law".to_owned());
    AdminRequest { at: UnixMillis(0), actor, reason, command }.encode().to_vec()
}

fn formed() -> AdminMachine {
    let member = |at: usize| Member {
        node: NodeId(u64::try_from(at).unwrap() + 1),
        region: region(at),
        role: MemberRole::Voter,
        address: "host:1".to_owned(),
        fingerprint: Digest([u8::try_from(at).unwrap() + 1; 32]),
        reads: 1,
    };
    let mut machine = AdminMachine::new();
    let members = (0..3).map(member).collect();
    machine.apply(1, &request(AdminCommand::Form { cluster: ClusterId(1), members }));
    machine
}

/// The state without what every command may change: the chain and the index.
fn essence(machine: &AdminMachine) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut view = machine.view();
    view.applied = 0;
    let queries = [
        AdminQuery::Config,
        AdminQuery::Failovers { limit: 100 },
        AdminQuery::History { document: Document::Config },
        AdminQuery::ApiTokens,
        AdminQuery::Heads,
    ];
    (view, queries.map(|query| machine.query(&query)))
}

fn eligible(machine: &AdminMachine) -> usize {
    machine.view().regions.values().filter(|status| RegionStatus::is_eligible(status)).count()
}

proptest! {
    #[test]
    fn replicas_that_apply_the_same_are_equal_byte_by_byte(
        commands in commands(),
        cut in any::<prop::sample::Index>(),
    ) {
        let (mut one, mut other) = (formed(), formed());
        let cut = cut.index(commands.len().max(1));
        for (at, command) in commands.into_iter().enumerate() {
            if at == cut {
                // The other one was away, and comes back from a snapshot.
                let snapshot = one.snapshot();
                other = AdminMachine::new();
                other.restore(&snapshot).unwrap();
            }
            let (index, bytes) = (2 + at as u64, request(command));
            prop_assert_eq!(one.apply(index, &bytes), other.apply(index, &bytes));
        }
        prop_assert_eq!(one.snapshot(), other.snapshot());
    }

    #[test]
    fn homes_move_only_after_an_announcement_and_follow_the_members(commands in commands()) {
        let mut machine = formed();
        for (index, command) in (2..).zip(commands) {
            let settles = match &command {
                AdminCommand::SettleHomes { version } => Some(*version),
                _ => None,
            };
            let before = machine.view().homes;
            machine.apply(index, &request(command));
            let view = machine.view();
            let after = &view.homes;
            prop_assert!(after.version >= before.version);
            if after.version == before.version {
                prop_assert_eq!((&after.regions, &after.announced), (&before.regions, &before.announced));
            }
            if after.regions != before.regions {
                prop_assert_eq!(settles, Some(before.version));
                prop_assert_eq!(Some(&after.regions), before.announced.as_ref());
                prop_assert_eq!(&after.before, &before.regions);
            }
            if after.announced.is_none() {
                let holds = view.regions.iter().filter(|(_, status)| !status.witness);
                prop_assert!(holds.map(|(region, _)| region).eq(&after.regions));
            }
        }
    }

    #[test]
    fn epochs_only_grow_and_the_last_region_is_never_lost(commands in commands()) {
        let mut machine = formed();
        let mut epochs = std::collections::BTreeMap::new();
        for (index, command) in (2..).zip(commands) {
            // Recovery is the operator's word that regions are lost; what remains may be drained.
            let recovery = matches!(command, AdminCommand::Recover { .. });
            let before = eligible(&machine);
            machine.apply(index, &request(command));
            prop_assert!(recovery || before == 0 || eligible(&machine) >= 1);
            for (region, lease) in machine.view().leases {
                let highest = epochs.entry(region).or_insert(Epoch(0));
                prop_assert!(lease.epoch >= *highest);
                *highest = lease.epoch;
            }
        }
    }

    #[test]
    fn a_refusal_changes_nothing_but_the_chain(commands in commands()) {
        let mut machine = formed();
        for (index, command) in (2..).zip(commands) {
            let (before, head) = (essence(&machine), machine.audit_head());
            let answer = AdminAnswer::decode(&machine.apply(index, &request(command))).unwrap();
            if answer.0.is_err() {
                prop_assert_eq!(before, essence(&machine));
                prop_assert_eq!(machine.audit_head().index, head.index + 1);
            }
        }
    }

    #[test]
    fn the_chain_always_verifies(commands in commands()) {
        let mut machine = formed();
        for (index, command) in (2..).zip(commands) {
            machine.apply(index, &request(command));
        }
        let query = AdminQuery::Audit { after: 0, limit: 1_000 };
        let AdminQueryAnswer::Audit { entries, .. } = machine.query(&query) else {
            panic!("no entries")
        };
        let key = AuditKey::new([3; 32]);
        let head = key.sign(machine.audit_head(), region(0));
        prop_assert!(verify(machine.audit_anchor(), &entries, &[head], &key).is_ok());
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        command in duties(),
    ) {
        let mut machine = formed();
        let mut damaged = request(command);
        for (at, byte) in flips {
            let at = at.index(damaged.len());
            damaged[at] = byte;
        }
        for input in [bytes.clone(), damaged] {
            let answer = machine.apply(2, &input);
            prop_assert!(AdminAnswer::decode(&answer).is_ok());
            prop_assert!(AdminQueryAnswer::decode(&machine.read(&input)).is_ok());
        }
        let before = machine.clone();
        if machine.restore(&bytes).is_err() {
            prop_assert_eq!(machine, before);
        }
    }
}
