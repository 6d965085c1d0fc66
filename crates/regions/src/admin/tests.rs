//! What each command does and refuses, one behaviour per test.

use rhumb_types::{
    ClusterId, Epoch, NodeId, OriginId, RegionId, UnixMillis,
    control::{
        AdminState, AffinityRule, ApiRole, ApiToken, AuditHead, Ballot, Digest, Document, DutyMove,
        FailoverId, FailoverKind, FailoverMode, FailoverPlan, FailoverState, FailoverStep,
        FailoverStrategy, JoinToken, Member, MemberRole, RegionLease, RuleMatch, StepRecord,
        StepState,
        limits::{AUDIT_ENTRIES_MAX, COMMAND_BYTES_MAX, COMMANDS_TOGETHER_MAX, FAILOVERS_MAX},
    },
};

use super::*;
use crate::audit::{AuditKey, verify};

const NAMES: [&str; 3] = ["us", "eu", "ap"];

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn member(node: u64, name: &str, role: MemberRole) -> Member {
    Member {
        node: NodeId(node),
        region: region(name),
        role,
        address: format!("{name}.example:7401"),
        fingerprint: Digest([u8::try_from(node).unwrap(); 32]),
        reads: 1,
    }
}

struct Fixture {
    machine: AdminMachine,
    index: u64,
    now: u64,
}

impl Fixture {
    fn formed() -> Self {
        let mut fixture = Self { machine: AdminMachine::new(), index: 0, now: 1_000 };
        let members = (1..).zip(NAMES).map(|(n, r)| member(n, r, MemberRole::Voter)).collect();
        fixture.ok(AdminCommand::Form { cluster: ClusterId(7), members });
        fixture
    }

    fn run(&mut self, command: AdminCommand) -> Result<AdminOutcome, AdminRefusal> {
        self.index += 1;
        let request = AdminRequest {
            at: UnixMillis(self.now),
            actor: "ops".to_owned(),
            reason: "a test".to_owned(),
            command,
        };
        let bytes = self.machine.apply(self.index, &request.encode());
        AdminAnswer::decode(&bytes).unwrap().0
    }

    fn ok(&mut self, command: AdminCommand) -> AdminOutcome {
        self.run(command).unwrap()
    }

    fn refused(&mut self, command: AdminCommand) -> &'static str {
        self.run(command).unwrap_err().name()
    }

    fn set(&mut self, name: &str, state: AdminState) -> Result<AdminOutcome, AdminRefusal> {
        self.run(AdminCommand::SetRegionState { region: region(name), state, expected: None })
    }

    fn vote(
        &mut self,
        voter: &str,
        subject: &str,
        down: bool,
    ) -> Result<AdminOutcome, AdminRefusal> {
        let hears = NAMES.iter().filter(|n| **n != voter && (!down || **n != subject));
        let ballot = Ballot {
            down,
            hears: hears.map(|name| region(name)).collect(),
            overloaded: false,
            at: UnixMillis(self.now),
        };
        self.run(AdminCommand::Vote { subject: region(subject), voter: region(voter), ballot })
    }

    fn condemn(&mut self, subject: &str) {
        for voter in NAMES.iter().filter(|name| **name != subject) {
            self.vote(voter, subject, true).unwrap();
        }
        assert!(self.machine.view().regions[&region(subject)].verdict.is_some());
    }

    fn lease(&self, name: &str) -> RegionLease {
        self.machine.view().leases[&region(name)].clone()
    }

    fn acquire(&mut self, name: &str, node: u64) -> Result<AdminOutcome, AdminRefusal> {
        let epoch = self.lease(name).epoch;
        let (region, node, duration_ms) = (region(name), NodeId(node), 1_000);
        self.run(AdminCommand::AcquireLease { region, node, epoch, duration_ms })
    }

    fn renew(&mut self, name: &str, node: u64) -> Result<AdminOutcome, AdminRefusal> {
        let RegionLease { epoch, renewal, .. } = self.lease(name);
        let (region, node, renewal) = (region(name), NodeId(node), renewal + 1);
        self.run(AdminCommand::RenewLease { region, node, epoch, renewal })
    }

    fn take_over(&mut self, name: &str, node: u64) -> Result<AdminOutcome, AdminRefusal> {
        let RegionLease { epoch, renewal, .. } = self.lease(name);
        let (region, node, duration_ms) = (region(name), NodeId(node), 1_000);
        self.run(AdminCommand::TakeOverLease { region, node, epoch, renewal, duration_ms })
    }
}

#[test]
fn nothing_runs_before_the_cluster_is_formed_and_it_forms_once() {
    let mut fixture = Fixture { machine: AdminMachine::new(), index: 0, now: 0 };
    assert_eq!(fixture.set("us", AdminState::Disabled).unwrap_err().name(), "not-formed");
    let mut fixture = Fixture::formed();
    let again = AdminCommand::Form { cluster: ClusterId(8), members: Vec::new() };
    assert_eq!(fixture.refused(again), "already-formed");
    assert_eq!(fixture.machine.view().cluster, Some(ClusterId(7)));
}

#[test]
fn bytes_that_are_no_command_are_refused_and_noted() {
    let mut fixture = Fixture::formed();
    let before = fixture.machine.audit_head().index;
    for bytes in [&[][..], &[9, 1, 2], &[1, 0xff, 0xff], &vec![1; COMMAND_BYTES_MAX + 1]] {
        let answer = AdminAnswer::decode(&fixture.machine.apply(9, bytes)).unwrap();
        assert_eq!(answer.0.unwrap_err().name(), "unreadable");
    }
    assert_eq!(fixture.machine.audit_head().index, before + 4);
}

#[test]
fn a_node_that_was_a_member_never_returns_under_its_id() {
    let mut fixture = Fixture::formed();
    let new = member(9, "us", MemberRole::Voter);
    fixture.ok(AdminCommand::ReplaceMember { old: NodeId(1), member: new.clone() });
    let back = AdminCommand::Join { member: member(1, "us", MemberRole::Learner), token: None };
    assert_eq!(fixture.refused(back), "node-retired");
    let again = fixture.ok(AdminCommand::ReplaceMember { old: NodeId(1), member: new });
    assert_eq!(again, AdminOutcome::Unchanged);
}

#[test]
fn a_region_has_one_voter_and_the_group_at_most_five() {
    let mut fixture = Fixture::formed();
    let join = |node, name: &str, role| AdminCommand::Join {
        member: member(node, name, role),
        token: None,
    };
    assert_eq!(fixture.refused(join(4, "us", MemberRole::Voter)), "invalid");
    fixture.ok(join(4, "us", MemberRole::Learner));
    fixture.ok(join(5, "sa", MemberRole::Voter));
    fixture.ok(join(6, "wit", MemberRole::Witness));
    assert_eq!(fixture.refused(join(7, "af", MemberRole::Voter)), "limit");
    let view = fixture.machine.view();
    assert!(view.regions[&region("wit")].witness);
    assert!(!view.leases.contains_key(&region("wit")), "a witness has no duties to lease");
}

#[test]
fn a_join_token_is_good_once_for_its_region_and_role_until_it_ends() {
    let mut fixture = Fixture::formed();
    let token = |secret, end| AdminCommand::CreateJoinToken {
        token: JoinToken {
            secret: Digest([secret; 32]),
            region: region("sa"),
            role: MemberRole::Voter,
            expires: UnixMillis(end),
        },
    };
    let join = |node, name: &str, secret| AdminCommand::Join {
        member: member(node, name, MemberRole::Voter),
        token: Some(Digest([secret; 32])),
    };
    assert_eq!(fixture.refused(token(1, 500)), "invalid");
    fixture.ok(token(1, 2_000));
    fixture.ok(token(2, 2_000));
    assert_eq!(fixture.refused(join(5, "sa", 9)), "token-refused");
    assert_eq!(fixture.refused(join(5, "af", 1)), "token-refused");
    fixture.ok(join(5, "sa", 1));
    fixture.ok(AdminCommand::RemoveMember { node: NodeId(5) });
    assert_eq!(fixture.refused(join(6, "sa", 1)), "token-refused");
    fixture.now = 2_000;
    assert_eq!(fixture.refused(join(6, "sa", 2)), "token-refused");
}

#[test]
fn the_version_rises_once_all_can_read_it_and_never_falls() {
    let mut fixture = Fixture::formed();
    for node in 1..=3 {
        assert_eq!(fixture.machine.view().protocol, 1);
        fixture.ok(AdminCommand::ReportVersion { node: NodeId(node), reads: 2 });
    }
    assert_eq!(fixture.machine.view().protocol, 2);
    let back = AdminCommand::ReportVersion { node: NodeId(1), reads: 1 };
    assert_eq!(fixture.refused(back), "invalid");
    let old = AdminCommand::Join { member: member(4, "sa", MemberRole::Voter), token: None };
    assert_eq!(fixture.refused(old), "invalid");
}

#[test]
fn the_last_active_region_is_neither_disabled_nor_drained_nor_condemned_nor_removed() {
    let mut fixture = Fixture::formed();
    fixture.set("us", AdminState::Disabled).unwrap();
    fixture.set("eu", AdminState::Draining).unwrap();
    for state in [AdminState::Disabled, AdminState::Draining] {
        assert_eq!(fixture.set("ap", state).unwrap_err().name(), "last-active-region");
    }
    let remove = AdminCommand::RemoveRegion { region: region("ap"), origins: Vec::new() };
    assert_eq!(fixture.refused(remove), "last-active-region");
    fixture.vote("us", "ap", true).unwrap();
    let last = fixture.vote("eu", "ap", true).unwrap();
    assert_eq!(last, AdminOutcome::Vote { down: 2, needed: 2, verdict: false });
}

#[test]
fn a_verdict_needs_a_quorum_of_others_that_hear_a_majority() {
    let mut fixture = Fixture::formed();
    let first = fixture.vote("eu", "us", true).unwrap();
    assert_eq!(first, AdminOutcome::Vote { down: 1, needed: 2, verdict: false });
    assert_eq!(fixture.vote("us", "us", true).unwrap_err().name(), "vote-void");
    let cast = |fixture: &mut Fixture, hears: &[&str], overloaded, at| {
        let hears = hears.iter().map(|name| region(name)).collect();
        let ballot = Ballot { down: true, hears, overloaded, at: UnixMillis(at) };
        fixture.run(AdminCommand::Vote { subject: region("us"), voter: region("ap"), ballot })
    };
    let now = fixture.now;
    assert_eq!(cast(&mut fixture, &[], false, now).unwrap_err().name(), "vote-void");
    assert_eq!(cast(&mut fixture, &["ap", "xx"], false, now).unwrap_err().name(), "vote-void");
    assert_eq!(cast(&mut fixture, &["eu"], true, now).unwrap_err().name(), "vote-void");
    assert_eq!(cast(&mut fixture, &["eu"], false, now + 31_000).unwrap_err().name(), "vote-void");
    let second = cast(&mut fixture, &["eu"], false, now).unwrap();
    assert_eq!(second, AdminOutcome::Vote { down: 2, needed: 2, verdict: true });
}

#[test]
fn an_old_ballot_does_not_help_to_condemn() {
    let mut fixture = Fixture::formed();
    fixture.vote("eu", "us", true).unwrap();
    fixture.now += 31_000;
    let second = fixture.vote("ap", "us", true).unwrap();
    assert_eq!(second, AdminOutcome::Vote { down: 1, needed: 2, verdict: false });
}

#[test]
fn a_verdict_ends_when_the_quorum_hears_the_region_again() {
    let mut fixture = Fixture::formed();
    fixture.condemn("us");
    fixture.vote("eu", "us", false).unwrap();
    assert!(fixture.machine.view().regions[&region("us")].verdict.is_some());
    fixture.vote("ap", "us", false).unwrap();
    assert!(fixture.machine.view().regions[&region("us")].verdict.is_none());
}

#[test]
fn a_condemned_region_has_no_vote_and_gets_no_renewal() {
    let mut fixture = Fixture::formed();
    fixture.acquire("us", 1).unwrap();
    fixture.renew("us", 1).unwrap();
    fixture.condemn("us");
    assert_eq!(fixture.renew("us", 1).unwrap_err().name(), "not-eligible");
    assert_eq!(fixture.vote("us", "eu", true).unwrap_err().name(), "vote-void");
}

#[test]
fn a_lease_is_taken_over_only_from_a_holder_in_disgrace_with_numbers_unchanged() {
    let mut fixture = Fixture::formed();
    fixture.acquire("us", 1).unwrap();
    assert_eq!(fixture.take_over("us", 2).unwrap_err().name(), "holder-in-good-standing");
    let old = fixture.lease("us");
    fixture.renew("us", 1).unwrap();
    fixture.condemn("us");
    let late = AdminCommand::TakeOverLease {
        region: region("us"),
        node: NodeId(2),
        epoch: old.epoch,
        renewal: old.renewal,
        duration_ms: 1_000,
    };
    assert_eq!(fixture.refused(late), "lease-changed");
    fixture.take_over("us", 2).unwrap();
    let taken = fixture.lease("us");
    assert_eq!(taken.epoch, old.epoch.next());
    assert_eq!(taken.holder.unwrap().region, region("eu"));
    assert_eq!(fixture.take_over("us", 3).unwrap_err().name(), "holder-in-good-standing");
}

#[test]
fn a_free_lease_is_its_own_regions_until_that_may_not_hold_it() {
    let mut fixture = Fixture::formed();
    assert_eq!(fixture.take_over("us", 2).unwrap_err().name(), "holder-in-good-standing");
    assert_eq!(fixture.acquire("us", 2).unwrap_err().name(), "not-eligible");
    fixture.set("us", AdminState::Disabled).unwrap();
    fixture.take_over("us", 2).unwrap();
    fixture.set("us", AdminState::Active).unwrap();
    assert_eq!(fixture.acquire("us", 1).unwrap_err().name(), "lease-changed");
    let epoch = fixture.lease("us").epoch;
    fixture.ok(AdminCommand::ReleaseLease { region: region("us"), node: NodeId(2), epoch });
    fixture.acquire("us", 1).unwrap();
    assert_eq!(fixture.lease("us").epoch, Epoch(2));
}

#[test]
fn a_late_acquisition_does_not_begin_a_tenure_that_nobody_counts() {
    let mut fixture = Fixture::formed();
    let late = AdminCommand::AcquireLease {
        region: region("us"),
        node: NodeId(1),
        epoch: Epoch(0),
        duration_ms: 1_000,
    };
    fixture.ok(late.clone());
    let epoch = Epoch(1);
    fixture.ok(AdminCommand::ReleaseLease { region: region("us"), node: NodeId(1), epoch });
    assert_eq!(fixture.refused(late), "lease-changed");
}

#[test]
fn recovery_raises_every_epoch_and_changes_the_clusters_id() {
    let mut fixture = Fixture::formed();
    for (node, name) in (1..).zip(NAMES) {
        fixture.acquire(name, node).unwrap();
    }
    let survivors = vec![NodeId(2)];
    let same = AdminCommand::Recover { cluster: ClusterId(7), survivors: survivors.clone() };
    assert_eq!(fixture.refused(same), "invalid");
    fixture.ok(AdminCommand::Recover { cluster: ClusterId(8), survivors });
    let view = fixture.machine.view();
    assert_eq!(view.cluster, Some(ClusterId(8)));
    assert_eq!(view.members.len(), 1);
    assert!(view.leases.values().all(|lease| lease.epoch == Epoch(2)));
    fixture.renew("eu", 2).unwrap();
    assert_eq!(fixture.renew("us", 1).unwrap_err().name(), "not-eligible");
    fixture.take_over("us", 2).unwrap();
}

#[test]
fn a_removed_region_closes_its_origins_and_its_name_returns_above_its_epochs() {
    let mut fixture = Fixture::formed();
    fixture.acquire("us", 1).unwrap();
    let origins = vec![(OriginId(5), 90), (OriginId(6), 2)];
    fixture.ok(AdminCommand::RemoveRegion { region: region("us"), origins });
    let view = fixture.machine.view();
    assert_eq!(view.closed_origins[&OriginId(5)], 90);
    assert!(!view.regions.contains_key(&region("us")));
    let member = member(9, "us", MemberRole::Voter);
    fixture.ok(AdminCommand::Join { member, token: None });
    fixture.acquire("us", 9).unwrap();
    assert_eq!(fixture.lease("us").epoch, Epoch(2));
}

#[test]
fn documents_change_by_compare_and_set_and_roll_back() {
    let mut fixture = Fixture::formed();
    let put =
        |expected, text: &str| AdminCommand::PutConfig { expected, document: text.to_owned() };
    for version in 0..20 {
        let outcome = fixture.ok(put(version, &format!("v{}", version + 1)));
        assert_eq!(outcome, AdminOutcome::Version(version + 1));
    }
    assert_eq!(fixture.refused(put(3, "late")), "version-changed");
    let back = |to| AdminCommand::Rollback { document: Document::Config, expected: 20, to };
    assert_eq!(fixture.refused(back(2)), "not-found");
    assert_eq!(fixture.ok(back(19)), AdminOutcome::Version(21));
    let AdminQueryAnswer::Config { version, document } = fixture.machine.query(&AdminQuery::Config)
    else {
        panic!("no configuration")
    };
    assert_eq!((version, document.as_str()), (21, "v19"));
}

#[test]
fn rules_name_known_regions() {
    let mut fixture = Fixture::formed();
    let put = |name: &str| AdminCommand::PutRules {
        expected: 0,
        rules: vec![AffinityRule {
            matches: RuleMatch::Organisation("acme".to_owned()),
            region: region(name),
        }],
    };
    assert_eq!(fixture.refused(put("xx")), "unknown-region");
    fixture.ok(put("eu"));
    assert_eq!(fixture.machine.view().rules_version, 1);
}

fn plan(key: &str, name: &str, mode: FailoverMode) -> FailoverPlan {
    FailoverPlan {
        idempotency_key: key.to_owned(),
        region: region(name),
        kind: FailoverKind::Failover,
        mode,
        strategy: FailoverStrategy::Immediate,
        successor: None,
        moves: Vec::new(),
    }
}

fn advance(id: u64, sequence: u64, state: FailoverState) -> AdminCommand {
    AdminCommand::AdvanceFailover { id: FailoverId(id), sequence, state, step: None }
}

#[test]
fn a_failover_starts_once_per_key_and_one_per_region() {
    let mut fixture = Fixture::formed();
    let start =
        |key, name| AdminCommand::StartFailover { plan: plan(key, name, FailoverMode::Manual) };
    let first = fixture.ok(start("k1", "us"));
    assert_eq!(first, AdminOutcome::Failover { id: FailoverId(1), sequence: 0 });
    assert_eq!(fixture.ok(start("k1", "us")), first);
    assert_eq!(fixture.refused(start("k1", "eu")), "key-reused");
    assert_eq!(fixture.refused(start("k2", "us")), "failover-open");
    fixture.ok(advance(1, 0, FailoverState::Cancelled));
    assert_eq!(fixture.refused(advance(1, 1, FailoverState::Running)), "invalid");
    fixture.ok(start("k2", "us"));
}

#[test]
fn an_assisted_failover_waits_for_its_approval() {
    let mut fixture = Fixture::formed();
    fixture.ok(AdminCommand::StartFailover { plan: plan("k", "us", FailoverMode::Assisted) });
    let record = &fixture.machine.view().open_failovers[0];
    assert_eq!(record.state, FailoverState::AwaitingApproval);
    assert_eq!(fixture.refused(advance(1, 0, FailoverState::Succeeded)), "invalid");
    fixture.ok(advance(1, 0, FailoverState::Running));
    assert_eq!(fixture.refused(advance(1, 0, FailoverState::Succeeded)), "version-changed");
}

#[test]
fn a_step_is_followed_from_running_to_done_in_one_line() {
    let mut fixture = Fixture::formed();
    fixture.ok(AdminCommand::StartFailover { plan: plan("k", "us", FailoverMode::Manual) });
    let line = |state, attempt| StepRecord {
        step: FailoverStep::Fence,
        state,
        started: UnixMillis(1),
        finished: None,
        attempt,
        note: String::new(),
    };
    let steps = [
        line(StepState::Running, 1),
        line(StepState::Failed, 1),
        line(StepState::Running, 2),
        line(StepState::Done, 2),
    ];
    for (sequence, step) in (0..).zip(steps) {
        let (id, state) = (FailoverId(1), FailoverState::Running);
        fixture.ok(AdminCommand::AdvanceFailover { id, sequence, state, step: Some(step) });
    }
    let found: Vec<_> =
        fixture.machine.view().open_failovers[0].steps.iter().map(|s| s.state).collect();
    assert_eq!(found, [StepState::Failed, StepState::Done]);
}

#[test]
fn a_failover_gets_another_successor_once_all_can_read_that() {
    let mut fixture = Fixture::formed();
    let mut plan = plan("k", "us", FailoverMode::Assisted);
    plan.successor = Some(region("eu"));
    let (duty, from, to) = ("jobs".to_owned(), region("us"), Some(region("eu")));
    plan.moves = vec![DutyMove { duty, from, to, load: 1 }];
    fixture.ok(AdminCommand::StartFailover { plan });
    let name = |sequence, name| {
        let (id, successor) = (FailoverId(1), region(name));
        AdminCommand::NameSuccessor { id, sequence, successor }
    };
    let together = AdminCommand::Together { commands: vec![name(0, "ap")] };
    assert_eq!(fixture.refused(name(0, "ap")), "too-new");
    assert_eq!(fixture.refused(together), "too-new");
    for node in 1..=3 {
        fixture.ok(AdminCommand::ReportVersion { node: NodeId(node), reads: 2 });
    }
    assert_eq!(fixture.refused(name(0, "ap")), "invalid", "nobody has approved it");
    fixture.ok(advance(1, 0, FailoverState::Running));
    assert_eq!(fixture.refused(name(0, "ap")), "version-changed");
    assert_eq!(fixture.refused(name(1, "us")), "invalid");
    assert_eq!(fixture.refused(name(1, "mars")), "unknown-region");
    fixture.ok(name(1, "ap"));
    let record = &fixture.machine.view().open_failovers[0];
    assert_eq!((record.sequence, &record.plan.successor), (2, &Some(region("ap"))));
    assert_eq!(record.plan.moves[0].to, Some(region("ap")));
    fixture.ok(advance(1, 2, FailoverState::Succeeded));
    assert_eq!(fixture.refused(name(3, "eu")), "invalid");
}

#[test]
fn closed_failovers_make_room() {
    let mut fixture = Fixture::formed();
    for id in 1..=u64::try_from(FAILOVERS_MAX).unwrap() + 5 {
        let plan = plan(&format!("k{id}"), "us", FailoverMode::Manual);
        fixture.ok(AdminCommand::StartFailover { plan });
        fixture.ok(advance(id, 0, FailoverState::Succeeded));
    }
    let answer = fixture.machine.query(&AdminQuery::Failovers { limit: u64::MAX });
    let AdminQueryAnswer::Failovers(records) = answer else { panic!("no failovers") };
    assert_eq!(records.len(), FAILOVERS_MAX);
    assert_eq!(records[0].id, FailoverId(133));
}

#[test]
fn api_tokens_are_revoked_before_they_are_dropped() {
    let mut fixture = Fixture::formed();
    let token = |id: &str, secret| ApiToken {
        id: id.to_owned(),
        secret: Digest([secret; 32]),
        role: ApiRole::Reader,
        scopes: vec!["session:".to_owned()],
        created: UnixMillis(1_000),
        expires: Some(UnixMillis(9_000)),
        revoked: None,
    };
    fixture.ok(AdminCommand::CreateApiToken { token: token("ci", 1) });
    assert_eq!(fixture.refused(AdminCommand::CreateApiToken { token: token("ci", 2) }), "exists");
    assert_eq!(fixture.refused(AdminCommand::CreateApiToken { token: token("b", 1) }), "exists");
    let drop = || AdminCommand::DropApiToken { id: "ci".to_owned() };
    assert_eq!(fixture.refused(drop()), "invalid");
    fixture.ok(AdminCommand::RevokeApiToken { id: "ci".to_owned() });
    let AdminQueryAnswer::ApiTokens(tokens) = fixture.machine.query(&AdminQuery::ApiTokens) else {
        panic!("no tokens")
    };
    assert!(!tokens[0].is_valid(UnixMillis(1_500)));
    for (secret, expected) in [(1, 1), (2, 0)] {
        let query = AdminQuery::ApiTokenOf { secret: Digest([secret; 32]) };
        let AdminQueryAnswer::ApiTokens(found) = fixture.machine.query(&query) else {
            panic!("no tokens")
        };
        assert_eq!(found.len(), expected);
    }
    fixture.ok(drop());
}

#[test]
fn the_chain_is_whole_also_after_its_start_was_forgotten() {
    let mut fixture = Fixture::formed();
    for at in 0..AUDIT_ENTRIES_MAX + 10 {
        let percent = u8::try_from(at % 2).unwrap();
        fixture.ok(AdminCommand::SetRamp { region: region("us"), percent });
    }
    let mut entries = Vec::new();
    let anchor = fixture.machine.audit_anchor();
    let mut after = 0;
    loop {
        let query = AdminQuery::Audit { after, limit: 1_000 };
        let AdminQueryAnswer::Audit { entries: page, .. } = fixture.machine.query(&query) else {
            panic!("no entries")
        };
        let Some(last) = page.last() else { break };
        after = last.index;
        entries.extend(page);
    }
    assert_eq!(entries.len(), AUDIT_ENTRIES_MAX);
    let key = AuditKey::new([1; 32]);
    let head = key.sign(fixture.machine.audit_head(), region("eu"));
    let verified = verify(anchor, &entries, &[head], &key).unwrap();
    assert_eq!(verified.head, fixture.machine.audit_head());
}

#[test]
fn renewals_and_heads_leave_no_audit_entry_but_their_refusals_do() {
    let mut fixture = Fixture::formed();
    fixture.acquire("us", 1).unwrap();
    let before = fixture.machine.audit_head();
    fixture.renew("us", 1).unwrap();
    let head = |name: &str| AuditHead {
        index: 1,
        hash: Digest::default(),
        region: region(name),
        signature: Digest::default(),
    };
    fixture.ok(AdminCommand::PublishHead { head: head("eu") });
    assert_eq!(fixture.machine.audit_head(), before);
    assert_eq!(fixture.refused(AdminCommand::PublishHead { head: head("xx") }), "unknown-region");
    assert_eq!(fixture.machine.audit_head().index, before.index + 1);
}

#[test]
fn a_damaged_snapshot_is_refused_and_changes_nothing() {
    let mut fixture = Fixture::formed();
    let before = fixture.machine.clone();
    assert!(fixture.machine.restore(&[1, 2, 3]).is_err());
    assert!(fixture.machine.restore(&[]).is_err());
    assert_eq!(fixture.machine, before);
}

#[test]
fn commands_together_are_all_agreed_or_none() {
    let mut fixture = Fixture::formed();
    let state = |name: &str| AdminCommand::SetRegionState {
        region: region(name),
        state: AdminState::Disabled,
        expected: None,
    };
    let ramp = AdminCommand::SetRamp { region: region("us"), percent: 10 };
    let (before, at) = (fixture.machine.view().regions, fixture.machine.audit_head().index);
    let commands = vec![state("us"), ramp.clone(), state("nowhere")];
    assert_eq!(fixture.refused(AdminCommand::Together { commands }), "unknown-region");
    assert_eq!(fixture.machine.view().regions, before);
    assert_eq!(fixture.machine.audit_head().index, at + 1);

    fixture.ok(AdminCommand::Together { commands: vec![state("us"), ramp.clone()] });
    let after = fixture.machine.view().regions[&region("us")].clone();
    assert_eq!((after.state, after.ramp_percent), (AdminState::Disabled, 10));
    assert_eq!(fixture.machine.audit_head().index, at + 3);

    assert_eq!(fixture.refused(AdminCommand::Together { commands: Vec::new() }), "invalid");
    let nested = vec![AdminCommand::Together { commands: vec![ramp.clone()] }];
    assert_eq!(fixture.refused(AdminCommand::Together { commands: nested }), "invalid");
    let many = vec![ramp; COMMANDS_TOGETHER_MAX + 1];
    assert_eq!(fixture.refused(AdminCommand::Together { commands: many }), "limit");
}
