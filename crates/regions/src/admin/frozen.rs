//! What must not change between releases: how commands are encoded, and the words of the audit
//! chain (rule 16). A new command appends a line; a line that changes breaks clusters that run
//! two releases, and every chain that exists.

use std::fmt::Write as _;

use rhumb_types::{
    ClusterId, Epoch, NodeId, OriginId, RegionId, UnixMillis,
    control::{
        AdminState, AffinityRule, ApiRole, ApiToken, AuditHead, Ballot, BucketAct, Digest,
        Document, DutyMove, FailoverId, FailoverKind, FailoverMode, FailoverPlan, FailoverState,
        FailoverStep, FailoverStrategy, JoinToken, Member, MemberRole, QueueAct, RuleMatch,
        StepRecord, StepState,
    },
    record::{BucketName, QueueName},
};

use super::*;

fn us() -> RegionId {
    RegionId::new("us").unwrap()
}

fn eu() -> RegionId {
    RegionId::new("eu").unwrap()
}

fn member() -> Member {
    Member {
        node: NodeId(0x2a),
        region: us(),
        role: MemberRole::Witness,
        address: "us.example:7401".to_owned(),
        fingerprint: Digest([3; 32]),
        reads: 1,
    }
}

fn membership() -> Vec<AdminCommand> {
    use AdminCommand as C;
    let (node, cluster, fingerprint) = (NodeId(0x2a), ClusterId(0xc0), Digest([4; 32]));
    vec![
        C::Form { cluster, members: vec![member()] },
        C::Join { member: member(), token: Some(Digest([5; 32])) },
        C::ReplaceMember { old: NodeId(1), member: member() },
        C::RemoveMember { node },
        C::SetMemberRole { node, role: MemberRole::Learner },
        C::RotateIdentity { node, fingerprint },
        C::ReportVersion { node, reads: 2 },
        C::Recover { cluster, survivors: vec![node] },
    ]
}

fn duties() -> Vec<AdminCommand> {
    use AdminCommand as C;
    let (region, node, epoch, duration_ms) = (us(), NodeId(0x2a), Epoch(3), 10_000);
    let (state, expected) = (AdminState::Disabled, Some(AdminState::Draining));
    let ballot = Ballot { down: true, hears: vec![eu()], overloaded: false, at: UnixMillis(8) };
    vec![
        C::SetRegionState { region: us(), state, expected },
        C::SetRamp { region: us(), percent: 10 },
        C::RemoveRegion { region: us(), origins: vec![(OriginId(5), 6)] },
        C::AcquireLease { region: us(), node, epoch, duration_ms },
        C::RenewLease { region: us(), node, epoch, renewal: 7 },
        C::TakeOverLease { region: us(), node, epoch, renewal: 7, duration_ms },
        C::ReleaseLease { region: us(), node, epoch },
        C::Vote { subject: us(), voter: eu(), ballot },
        C::LiftVerdict { region },
    ]
}

fn documents() -> Vec<AdminCommand> {
    use AdminCommand as C;
    let matches = RuleMatch::Geography("de".to_owned());
    vec![
        C::PutRules { expected: 1, rules: vec![AffinityRule { matches, region: eu() }] },
        C::PutConfig { expected: 1, document: "a: 1".to_owned() },
        C::Rollback { document: Document::Rules, expected: 2, to: 1 },
    ]
}

fn failovers_and_tokens() -> Vec<AdminCommand> {
    use AdminCommand as C;
    let plan = FailoverPlan {
        idempotency_key: "k".to_owned(),
        region: us(),
        kind: FailoverKind::Drain,
        mode: FailoverMode::Assisted,
        strategy: FailoverStrategy::Immediate,
        successor: Some(eu()),
        moves: vec![DutyMove { duty: "jobs".to_owned(), from: us(), to: None, load: 1 }],
    };
    let step = StepRecord {
        step: FailoverStep::Watch,
        state: StepState::Skipped,
        started: UnixMillis(1),
        finished: Some(UnixMillis(2)),
        attempt: 3,
        note: "n".to_owned(),
    };
    let join = JoinToken {
        secret: Digest([6; 32]),
        region: us(),
        role: MemberRole::Voter,
        expires: UnixMillis(9),
    };
    let api = ApiToken {
        id: "ci".to_owned(),
        secret: Digest([7; 32]),
        role: ApiRole::Auditor,
        scopes: vec!["s:".to_owned()],
        created: UnixMillis(1),
        expires: Some(UnixMillis(2)),
        revoked: None,
    };
    let head =
        AuditHead { index: 4, hash: Digest([8; 32]), region: eu(), signature: Digest([9; 32]) };
    let (id, sequence, state) = (FailoverId(1), 2, FailoverState::Cancelled);
    vec![
        C::StartFailover { plan },
        C::AdvanceFailover { id, sequence, state, step: Some(step) },
        C::CreateJoinToken { token: join },
        C::RevokeJoinToken { secret: Digest([6; 32]) },
        C::CreateApiToken { token: api },
        C::RevokeApiToken { id: "ci".to_owned() },
        C::DropApiToken { id: "ci".to_owned() },
        C::PublishHead { head },
        C::Together { commands: vec![C::DropApiToken { id: "ci".to_owned() }] },
        C::NoteQueue { queue: QueueName::new("jobs").unwrap(), act: QueueAct::Redrive },
        C::NoteRunners {
            region: eu(),
            set: "linux".to_owned(),
            started: vec!["a".to_owned(), "b".to_owned()],
            ended: vec![],
        },
        C::NoteBucket { bucket: BucketName::new("photos").unwrap(), act: BucketAct::Change },
        C::SettleHomes { version: 3 },
        C::NameSuccessor { id, sequence, successor: eu() },
    ]
}

#[test]
fn commands_and_their_words_are_frozen() {
    let commands = [membership(), duties(), documents(), failovers_and_tokens()].concat();
    let mut text = String::new();
    for (at, command) in commands.into_iter().enumerate() {
        let (actor, reason) = ("ops".to_owned(), "why".to_owned());
        let request = AdminRequest { at: UnixMillis(1), actor, reason, command };
        let bytes = request.encode();
        // Version, time, actor and reason come first; then the command's number.
        assert_eq!(bytes.get(10).copied().map(usize::from), Some(at));
        let print = blake3::hash(&bytes).to_hex();
        let Deed { action, subject, detail, .. } =
            describe::deed(&request, &Err(AdminRefusal::NotFormed));
        assert_eq!(detail, "refused: not-formed; because: why");
        writeln!(text, "{} {action}: {subject}", &print[..8]).unwrap();
    }
    assert_eq!(text, FROZEN);
}

const FROZEN: &str = "\
310b3e28 form: cc0, 1 members
f41f9946 join: n2a in us
4a032dd0 replace-member: n1 by n2a
9d104c64 remove-member: n2a
be46ef3a set-member-role: n2a to Learner
9286abef rotate-identity: n2a
00f7d2e1 report-version: n2a reads 2
7859ab3b recover: cc0, 1 survivors
a23043df set-region-state: us to Disabled
95145c20 set-ramp: us to 10 %
b02a7116 remove-region: us
eecfd018 acquire-lease: us by n2a
fcc58db6 renew-lease: us by n2a
3324c907 take-over-lease: us by n2a
6272a11c release-lease: us by n2a
600cd7da vote: eu holds that us is down
b98e60b6 lift-verdict: us
be9c2329 put-rules: 1 rules
80888ceb put-config: 4 bytes
4d635d71 roll-back: Rules to 1
d18359e8 start-failover: Drain of us
9fbf0e48 advance-failover: 1 is Cancelled, Watch Skipped
13f16912 create-join-token: 06060606 for us
52e1524e revoke-join-token: 06060606
ddd74f11 create-api-token: ci as Auditor
2532c394 revoke-api-token: ci
982dbf4e drop-api-token: ci
3004b461 publish-head: eu at 4
7f7b6d67 together: 1 commands
a224732f redrive-queue: jobs
7ac1b3d6 note-runners: linux in eu: started a, b; ended none
7e819504 change-bucket: photos
8b74c193 settle-homes: version 3
69d166e9 name-successor: eu in 1
";
