//! How a peer goes out and comes back.

use proptest::prelude::*;
use rhumb_types::{
    UnixMillis,
    control::{AdminState, RegionStatus, Verdict},
};

use super::*;
use crate::{DriftBound, status::Health};

const STEP: Duration = Duration::from_millis(100);

struct World {
    board: HealthBoard,
    peer: RegionId,
    now: MonoTime,
    changes: Vec<HealthChange>,
}

impl World {
    fn new(config: HealthConfig) -> Self {
        let here = RegionId::new("here").unwrap();
        let peer = RegionId::new("there").unwrap();
        let now = MonoTime(1_000_000_000);
        let mut board = HealthBoard::new(here, config);
        board.set_peers(now, [peer.clone()]);
        Self { board, peer, now, changes: Vec::new() }
    }

    /// A world in which the peer has been heard for ten seconds.
    fn steady(config: HealthConfig) -> Self {
        let mut world = Self::new(config);
        world.run(100, true);
        assert!(world.changes.is_empty(), "{:?}", world.changes);
        world
    }

    fn sign(&mut self, sign: Sign) {
        self.board.on_sign(self.now, &self.peer, sign, &mut self.changes);
    }

    fn heartbeat(&mut self) {
        let (serving, impaired, utilisation) = (true, BTreeSet::new(), Ratio::ZERO);
        self.sign(Sign::Heartbeat { serving, impaired, utilisation });
    }

    fn pass(&mut self, by: Duration) {
        self.now = self.now + by;
        self.board.on_tick(self.now, false, &mut self.changes);
    }

    fn run(&mut self, steps: usize, heartbeats: bool) {
        for _ in 0..steps {
            self.pass(STEP);
            if heartbeats {
                self.heartbeat();
            }
        }
    }

    fn health(&self) -> Health {
        self.board.assess(self.now, &self.peer).unwrap().health
    }

    fn opinion(&self) -> Option<bool> {
        self.board.opinion(self.now, &self.peer)
    }

    fn outs(&self) -> usize {
        self.changes.iter().filter(|change| matches!(change, HealthChange::Out { .. })).count()
    }
}

fn vital() -> Check {
    Check::Vital(Capability::new("api").unwrap())
}

#[test]
fn a_silence_puts_a_peer_out_in_under_a_second_in_every_profile() {
    for config in [HealthConfig::standard(), HealthConfig::fast()] {
        let ejection = config.ejection();
        assert!(ejection < Duration::from_millis(700), "{ejection:?}");
        let mut world = World::steady(config);
        world.run(5, false);
        assert_eq!(world.health(), Health::Healthy, "a short silence is no failure");
        world.run(3, false);
        assert_eq!(world.health(), Health::Down);
        assert!(matches!(world.changes[..], [HealthChange::Out { reason: OutReason::Silent, .. }]));
    }
}

#[test]
fn the_predicted_ejection_is_where_phi_crosses_its_bound() {
    let config = HealthConfig::fast();
    let mut detector = PhiAccrual::new(MonoTime(0), config.heartbeat_every, config.deviation_min);
    for beat in 1..=50 {
        detector.record(MonoTime(beat * 100_000), false);
    }
    let last = MonoTime(5_000_000);
    let margin = Duration::from_millis(30);
    assert!(detector.phi(last + (config.ejection() - margin)) < config.phi_max);
    assert!(detector.phi(last + config.ejection() + margin) > config.phi_max);
}

#[test]
fn being_out_becomes_an_opinion_only_after_the_detection_time() {
    let mut world = World::steady(HealthConfig::standard());
    assert_eq!(world.opinion(), Some(false));
    world.run(20, false);
    assert_eq!((world.health(), world.opinion()), (Health::Down, None));
    world.run(130, false);
    assert_eq!(world.opinion(), Some(true));
}

#[test]
fn a_peer_that_was_never_heard_is_neither_up_nor_heard() {
    let mut world = World::new(HealthConfig::fast());
    assert_eq!(world.opinion(), None);
    assert_eq!(world.board.hears(world.now).count(), 0);
    world.run(20, false);
    assert_eq!(world.opinion(), Some(true));
}

#[test]
fn errors_in_a_row_put_a_peer_out_at_once_but_prove_nothing() {
    let mut world = World::steady(HealthConfig::fast());
    for _ in 0..2 {
        world.sign(Sign::Outcome { ok: false });
    }
    assert_eq!(world.health(), Health::Healthy);
    world.sign(Sign::Outcome { ok: true });
    for _ in 0..3 {
        world.sign(Sign::Outcome { ok: false });
    }
    assert_eq!(world.health(), Health::Down);
    world.run(4, true);
    assert_eq!((world.health(), world.opinion()), (Health::Down, None));
}

#[test]
fn a_broken_connection_puts_a_peer_out_and_heartbeats_bring_it_back_after_the_hold() {
    let mut world = World::steady(HealthConfig::fast());
    world.sign(Sign::Unreachable);
    assert_eq!(world.health(), Health::Down);
    world.run(4, true);
    assert_eq!(world.health(), Health::Down, "the hold-down is 500 ms");
    world.run(2, true);
    assert_eq!(world.health(), Health::Healthy);
}

#[test]
fn a_peer_that_says_it_does_not_serve_is_out_and_in_the_end_down() {
    let mut world = World::steady(HealthConfig::fast());
    let refusal =
        || Sign::Heartbeat { serving: false, impaired: BTreeSet::new(), utilisation: Ratio::ZERO };
    world.sign(refusal());
    assert_eq!((world.health(), world.opinion()), (Health::Down, None));
    for _ in 0..12 {
        world.pass(STEP);
        world.sign(refusal());
    }
    assert_eq!(world.opinion(), Some(true));
    world.run(20, true);
    assert_eq!(world.opinion(), Some(false));
}

#[test]
fn a_peer_that_starts_again_and_does_not_serve_is_in_the_end_down() {
    let mut world = World::steady(HealthConfig::fast());
    world.sign(Sign::Unreachable);
    for _ in 0..12 {
        world.pass(STEP);
        let (impaired, utilisation) = (BTreeSet::new(), Ratio::ZERO);
        world.sign(Sign::Heartbeat { serving: false, impaired, utilisation });
        assert_eq!(world.health(), Health::Down);
    }
    assert_eq!(world.opinion(), Some(true));
    world.run(20, true);
    assert_eq!((world.health(), world.opinion()), (Health::Healthy, Some(false)));
}

#[test]
fn a_part_that_fails_takes_away_a_capability_and_not_the_region() {
    let mut world = World::steady(HealthConfig::fast());
    let uploads = Capability::new("uploads").unwrap();
    let check = |passed| Sign::Checked { check: Check::Part(uploads.clone()), passed };
    for passed in [false, true, false, true] {
        world.sign(check(passed));
    }
    assert!(world.changes.is_empty(), "two of five is not enough");
    world.sign(check(false));
    let assessment = world.board.assess(world.now, &world.peer).unwrap();
    assert_eq!((assessment.health, assessment.lost.len()), (Health::Healthy, 1));
    world.sign(check(true));
    world.sign(check(true));
    assert!(world.board.assess(world.now, &world.peer).unwrap().lost.is_empty());
    world.sign(check(false));
    assert!(world.board.assess(world.now, &world.peer).unwrap().lost.is_empty());
}

#[test]
fn checks_of_the_node_put_the_region_out() {
    let mut world = World::steady(HealthConfig::fast());
    for _ in 0..3 {
        world.sign(Sign::Checked { check: vital(), passed: false });
    }
    assert_eq!(world.health(), Health::Down);
    world.run(20, true);
    assert_eq!(world.opinion(), Some(true), "it beats, but it does not work");
    for _ in 0..2 {
        world.sign(Sign::Checked { check: vital(), passed: true });
    }
    world.run(2, true);
    assert_eq!(world.health(), Health::Healthy);
}

#[test]
fn a_share_of_errors_degrades_and_half_of_it_recovers() {
    let mut world = World::steady(HealthConfig::standard());
    let serve = |world: &mut World, rounds, every: usize| {
        for round in 0..rounds {
            world.sign(Sign::Outcome { ok: round % every != 0 });
            world.pass(STEP);
            world.heartbeat();
        }
    };
    serve(&mut world, 100, 3);
    assert_eq!(world.health(), Health::Degraded);
    serve(&mut world, 120, 5);
    assert_eq!(world.health(), Health::Degraded, "20 % is under the bound, but not under half");
    serve(&mut world, 120, 10);
    assert_eq!(world.health(), Health::Healthy);
}

#[test]
fn a_node_that_was_paused_blames_itself() {
    let mut world = World::steady(HealthConfig::fast());
    world.pass(Duration::from_secs(20));
    assert_eq!((world.health(), world.opinion()), (Health::Healthy, Some(false)));
    let ballot = |world: &World| {
        let now = rhumb_types::Timestamp { wall: UnixMillis(0), mono: world.now };
        world.board.ballot(now, &world.peer).unwrap()
    };
    assert!(ballot(&world).overloaded);
    world.run(10, true);
    assert!(!ballot(&world).overloaded);
    world.run(10, false);
    assert!(ballot(&world).down, "a true silence is still noticed");
}

#[test]
fn the_hold_down_doubles_with_every_flap_up_to_its_cap_and_is_forgotten_in_peace() {
    let mut world = World::steady(HealthConfig::fast());
    let mut holds = Vec::new();
    for _ in 0..9 {
        world.sign(Sign::Unreachable);
        let Some(HealthChange::Out { hold, .. }) = world.changes.last() else { panic!("not out") };
        holds.push(hold.as_millis());
        while world.health() == Health::Down {
            world.run(1, true);
        }
    }
    assert_eq!(holds, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    world.run(301, true);
    world.sign(Sign::Unreachable);
    let hold = Duration::from_millis(500);
    let reason = OutReason::Unreachable;
    assert_eq!(world.changes.pop(), Some(HealthChange::Out { region: world.peer, reason, hold }));
}

#[test]
fn votes_are_cast_while_the_agreement_differs_and_not_more_often_than_needed() {
    let mut world = World::steady(HealthConfig::fast());
    let status = |verdict| RegionStatus {
        state: AdminState::Active,
        reason: String::new(),
        actor: String::new(),
        since: UnixMillis(0),
        ramp_percent: 100,
        verdict,
        witness: false,
    };
    let condemned = Some(Verdict { at: UnixMillis(0), by: Vec::new() });
    let view = |verdict| ControlView {
        regions: [(RegionId::new("there").unwrap(), status(verdict))].into(),
        ..ControlView::default()
    };
    let votes = |world: &mut World, verdict| {
        let now = rhumb_types::Timestamp { wall: UnixMillis(0), mono: world.now };
        world.board.votes(now, &view(verdict)).len()
    };
    assert_eq!(votes(&mut world, None), 0, "it is up, and nobody says otherwise");
    world.run(20, false);
    assert_eq!([votes(&mut world, None), votes(&mut world, None)], [1, 0]);
    world.run(100, false);
    assert_eq!(votes(&mut world, None), 1, "repeated after ten seconds");
    assert_eq!(votes(&mut world, condemned.clone()), 0);
    world.run(20, true);
    assert_eq!([votes(&mut world, condemned.clone()), votes(&mut world, condemned)], [1, 0]);
}

#[test]
fn both_profiles_are_free_of_contradictions() {
    for config in [HealthConfig::standard(), HealthConfig::fast()] {
        assert_eq!(config.validate(), Ok(()));
    }
}

type Change = fn(&mut HealthConfig);

#[test]
fn contradictions_are_named_and_all_of_them() {
    let second = Duration::from_secs(1);
    let wrong: [(&str, Change); 9] = [
        ("DetectionBeforeChecks", |c| c.check_timeout = Duration::from_secs(6)),
        ("DetectionBeforeEjection", |c| c.heartbeat_every = Duration::from_secs(16)),
        ("HoldDownAboveCap", |c| c.hold_down = Duration::from_secs(61)),
        ("LeaseBeforeElection", |c| c.lease = Duration::from_secs(6)),
        ("Drift", |c| c.drift = DriftBound(100_001)),
        ("Phi", |c| c.phi_max = f64::NAN),
        ("failure_threshold", |c| c.failure_threshold = 6),
        ("success_threshold", |c| c.success_threshold = 0),
        ("error_window", |c| c.error_window = Duration::ZERO),
    ];
    for (name, change) in wrong {
        let mut config = HealthConfig::standard();
        change(&mut config);
        let found = format!("{:?}", config.validate().unwrap_err());
        assert!(found.contains(name), "{name}: {found}");
    }
    let config = HealthConfig { detection: second, lease: second, ..HealthConfig::standard() };
    assert_eq!(config.validate().unwrap_err().len(), 2);
}

#[derive(Debug, Clone)]
enum Input {
    Heartbeat,
    Outcome(bool),
    Unreachable,
    Check(bool),
    Pass(u64),
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let input = prop_oneof![
        4 => Just(Input::Heartbeat),
        2 => any::<bool>().prop_map(Input::Outcome),
        1 => Just(Input::Unreachable),
        1 => any::<bool>().prop_map(Input::Check),
        4 => (1_u64..300).prop_map(Input::Pass),
    ];
    proptest::collection::vec(input, 0..600)
}

proptest! {
    /// Whatever happens, a peer that went out stays out for its hold, so it cannot oscillate.
    #[test]
    fn flapping_never_beats_the_hold_down(inputs in inputs()) {
        let mut world = World::new(HealthConfig::fast());
        let mut out_until = None;
        for input in inputs {
            match input {
                Input::Heartbeat => world.heartbeat(),
                Input::Outcome(ok) => world.sign(Sign::Outcome { ok }),
                Input::Unreachable => world.sign(Sign::Unreachable),
                Input::Check(passed) => world.sign(Sign::Checked { check: vital(), passed }),
                Input::Pass(ms) => world.pass(Duration::from_millis(ms)),
            }
            for change in world.changes.drain(..) {
                match change {
                    HealthChange::Out { hold, .. } => {
                        prop_assert!(out_until.is_none(), "out twice without coming back");
                        out_until = Some(world.now + hold);
                    }
                    HealthChange::In { .. } => {
                        let until = out_until.take();
                        prop_assert!(until.is_some_and(|until| world.now >= until));
                    }
                    HealthChange::Degraded { .. } | HealthChange::Lost { .. } => {}
                }
            }
        }
    }

    /// A link that is cut and healed at any rhythm is ejected a logarithmic number of times, not
    /// once per flap.
    #[test]
    fn a_flapping_link_is_left_alone_more_and_more(up in 3_usize..30, down in 8_usize..30) {
        let config = HealthConfig::fast();
        let mut world = World::steady(config.clone());
        let mut elapsed = Duration::ZERO;
        while elapsed < Duration::from_secs(300) {
            world.run(up, true);
            world.run(down, false);
            elapsed += STEP * u32::try_from(up + down).unwrap();
        }
        // The doublings up to the cap, then one per cap.
        let caps = elapsed.as_millis() / config.hold_down_max.as_millis();
        prop_assert!(world.outs() <= 6 + usize::try_from(caps).unwrap() + 1, "{}", world.outs());
    }

    /// Jitter within half an interval is no failure.
    #[test]
    fn jitter_is_no_failure(jitter in proptest::collection::vec(0_u64..50, 200)) {
        let mut world = World::new(HealthConfig::fast());
        for late in jitter {
            world.pass(Duration::from_millis(75 + late));
            world.heartbeat();
        }
        prop_assert!(world.changes.is_empty());
    }
}
