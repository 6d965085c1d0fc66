//! One key of a linearizable bucket, decided about by one region after the other, whose logs arrive in any
//! order that causality allows: what clients saw must have one order, whatever came late (ADR 0013).
//!
//! A region that lost its lease may still write what it had decided about, and never answers it. Who
//! decides next hears from a majority first. Cells merge by the shipped laws.

#[cfg(test)]
mod model;

#[cfg(test)]
const SEEDS: u64 = 20_000;

#[cfg(not(feature = "planted"))]
#[cfg(test)]
mod sound {
    use rhumb_check::Verdict;

    use super::{
        SEEDS,
        model::{Counts, World},
    };

    #[test]
    fn what_clients_saw_has_one_order_whatever_came_late() {
        let (mut all, mut undecided) = (Counts::default(), 0);
        for seed in 0..SEEDS {
            let (verdict, seen, counts) = World::new(seed).run();
            let calls: Vec<_> = seen.calls().collect();
            let broken = matches!(verdict, Verdict::Violation { .. });
            assert!(!broken, "seed {seed}: {verdict:?} {calls:#?}");
            undecided += u64::from(verdict != Verdict::Linearizable);
            all.late_settled += counts.late_settled;
            all.late_dropped += counts.late_dropped;
            all.forgotten += counts.forgotten;
            all.answered += counts.answered;
            all.unknown += counts.unknown;
        }
        assert!(undecided < SEEDS / 50, "{undecided} histories were too long to be checked");
        // Each of these happens in one run of twenty at least.
        let few = usize::try_from(SEEDS / 20).unwrap();
        let Counts { late_settled, late_dropped, forgotten, answered, unknown } = all;
        let rare = [late_settled, late_dropped, forgotten, answered, unknown];
        assert!(rare.iter().all(|count| *count > few), "{rare:?}");
    }
}

#[cfg(test)]
mod flawed {
    use rhumb_check::Verdict;

    use super::{SEEDS, model::World};

    #[test]
    fn deciding_that_nothing_is_there_without_a_trace_is_found() {
        let broken =
            |seed| matches!(World::new(seed).traceless().run().0, Verdict::Violation { .. });
        assert!((0..SEEDS).any(broken));
    }
}

#[cfg(feature = "planted")]
#[cfg(test)]
mod planted {
    use rhumb_check::Verdict;
    use rhumb_types::planted::{Planted, plant};

    use super::{SEEDS, model::World};

    fn is_found(fault: Planted) {
        plant(Some(fault));
        let broken = |seed| matches!(World::new(seed).run().0, Verdict::Violation { .. });
        let found = (0..SEEDS).any(broken);
        plant(None);
        assert!(found, "{fault:?}");
    }

    #[test]
    fn that_what_came_late_counts_all_the_same_is_found() {
        is_found(Planted::IgnoreFences);
    }

    #[test]
    fn forgetting_at_once_that_nothing_is_there_is_found() {
        is_found(Planted::ForgetAtOnce);
    }
}
