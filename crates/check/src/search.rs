//! The search for an order.

use std::collections::BTreeMap;

use crate::{Call, History, Model};

/// How far a search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most calls that are tried.
    pub steps_max: u64,
    /// Most states that are remembered; this bounds memory.
    pub states_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps_max: 2_000_000, states_max: 400_000 }
    }
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none.
    Violation {
        /// The most answered calls that any order explains.
        explained: usize,
        /// The calls, by their place in the history, of which one had to come next there and none
        /// could.
        stuck: Vec<usize>,
    },
    /// A limit was reached first.
    Undecided {
        /// How many calls were tried.
        steps: u64,
    },
}

/// Searches for an order of the calls that explains all answers.
#[must_use]
pub fn check<M: Model>(
    model: &M,
    history: &History<M::Call, M::Answer>,
    limits: Limits,
) -> Verdict {
    Search::new(model, history, limits).run()
}

type CallOf<M> = Call<<M as Model>::Call, <M as Model>::Answer>;

/// A set of calls, as bits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Done(Vec<u64>);

impl Done {
    fn none_of(calls: usize) -> Self {
        Self(vec![0; calls.div_ceil(64)])
    }

    fn has(&self, place: usize) -> bool {
        self.0.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    fn set(&mut self, place: usize, done: bool) {
        if let Some(word) = self.0.get_mut(place / 64) {
            let bit = 1 << (place % 64);
            *word = if done { *word | bit } else { *word & !bit };
        }
    }

    fn is_within(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(mine, others)| mine & !others == 0)
    }
}

/// A call, by its kind and its place among the calls of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Answered(usize),
    Unknown(usize),
}

/// A point of the search: what is left to try from a state.
struct Frame<S> {
    state: S,
    /// What to try, best last.
    left: Vec<Place>,
    /// What led here.
    via: Option<Place>,
    /// How many of the answered calls, by their start, are surely explained.
    low: usize,
}

struct Search<'a, M: Model> {
    model: &'a M,
    limits: Limits,
    /// Calls with an answer, by their start, with their places in the history.
    answered: Vec<(usize, &'a CallOf<M>)>,
    /// Calls without, by their start.
    unknown: Vec<&'a CallOf<M>>,
    done_answered: Done,
    done_unknown: Done,
    explained: usize,
    /// What was reached: by the answered calls that are explained and the state, the smallest
    /// sets of unknown calls that it took. Whoever took more of them can do no better, because
    /// they may as well never have happened.
    seen: BTreeMap<(Done, M::State), Vec<Done>>,
    seen_sets: usize,
    steps: u64,
    best: (usize, Vec<usize>),
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, history: &'a History<M::Call, M::Answer>, limits: Limits) -> Self {
        let (mut answered, unknown): (Vec<_>, Vec<_>) =
            history.calls().enumerate().partition(|(_, call)| call.answered.is_some());
        let mut unknown: Vec<_> = unknown.into_iter().map(|(_, call)| call).collect();
        answered.sort_by_key(|(_, call)| call.started);
        unknown.sort_by_key(|call| call.started);
        Self {
            model,
            limits,
            done_answered: Done::none_of(answered.len()),
            done_unknown: Done::none_of(unknown.len()),
            answered,
            unknown,
            explained: 0,
            seen: BTreeMap::new(),
            seen_sets: 0,
            steps: 0,
            best: (0, Vec::new()),
        }
    }

    fn run(mut self) -> Verdict {
        let mut stack = vec![self.frame(self.model.initial(), None, 0)];
        while let Some(frame) = stack.last_mut() {
            if self.explained == self.answered.len() {
                return Verdict::Linearizable;
            }
            let Some(place) = frame.left.pop() else {
                self.take_back(stack.pop().and_then(|frame| frame.via));
                continue;
            };
            self.steps += 1;
            if self.steps > self.limits.steps_max || self.seen_sets >= self.limits.states_max {
                return Verdict::Undecided { steps: self.steps };
            }
            let (state, low) = (frame.state.clone(), frame.low);
            if let Some(next) = self.try_call(&state, place) {
                let frame = self.frame(next, Some(place), low);
                stack.push(frame);
            }
        }
        let (explained, stuck) = self.best;
        Verdict::Violation { explained, stuck }
    }

    /// Does a call when the model allows it and the result is better than what was reached.
    fn try_call(&mut self, state: &M::State, place: Place) -> Option<M::State> {
        let call = match place {
            Place::Answered(place) => self.answered.get(place)?.1,
            Place::Unknown(place) => self.unknown.get(place)?,
        };
        let answer = call.answered.as_ref().map(|(_, answer)| answer);
        let next = self.model.step(state, &call.call, answer)?;
        if answer.is_none() && next == *state {
            // It may as well never have happened.
            return None;
        }
        self.mark(place, true);
        if self.is_new(&next) {
            return Some(next);
        }
        self.mark(place, false);
        None
    }

    fn is_new(&mut self, state: &M::State) -> bool {
        let sets = self.seen.entry((self.done_answered.clone(), state.clone())).or_default();
        if sets.iter().any(|set| set.is_within(&self.done_unknown)) {
            return false;
        }
        let before = sets.len();
        sets.retain(|set| !self.done_unknown.is_within(set));
        sets.push(self.done_unknown.clone());
        self.seen_sets = self.seen_sets + sets.len() - before;
        true
    }

    fn mark(&mut self, place: Place, done: bool) {
        match place {
            Place::Answered(place) => {
                self.done_answered.set(place, done);
                self.explained = if done { self.explained + 1 } else { self.explained - 1 };
            }
            Place::Unknown(place) => self.done_unknown.set(place, done),
        }
    }

    fn take_back(&mut self, via: Option<Place>) {
        if let Some(place) = via {
            self.mark(place, false);
        }
    }

    /// What can come next: every call that started before the first answer that is not explained.
    /// Answered calls are tried first, the earliest answer of all at first, because a guess about
    /// an unknown one is only needed when nothing else fits.
    fn frame(&mut self, state: M::State, via: Option<Place>, low: usize) -> Frame<M::State> {
        let left = (low..self.answered.len()).take_while(|place| self.done_answered.has(*place));
        let low = low + left.count();
        let mut first_answer = u64::MAX;
        let mut next: Vec<(u64, usize)> = Vec::new();
        for (place, (_, call)) in self.answered.iter().enumerate().skip(low) {
            if call.started > first_answer {
                break;
            }
            if let (false, Some((at, _))) = (self.done_answered.has(place), &call.answered) {
                first_answer = first_answer.min(*at);
                next.push((*at, place));
            }
        }
        let started = |call: &CallOf<M>| call.started < first_answer;
        next.retain(|(_, place)| self.answered.get(*place).is_some_and(|(_, c)| started(c)));
        next.sort_unstable_by(|one, two| two.cmp(one));
        if self.explained >= self.best.0 {
            let of_history =
                |(_, place): &(u64, usize)| self.answered.get(*place).map(|(of, _)| *of);
            self.best = (self.explained, next.iter().filter_map(of_history).collect());
        }
        let unknown = self.unknown.iter().take_while(|call| started(call)).enumerate();
        let unknown = unknown.map(|(place, _)| place).filter(|p| !self.done_unknown.has(*p));
        let answered = next.into_iter().map(|(_, place)| Place::Answered(place));
        Frame { state, left: unknown.map(Place::Unknown).chain(answered).collect(), via, low }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Lock, LockAnswer, LockCall, Register,
        RegisterAnswer::{Swapped, Value, Written},
        RegisterCall::{self, CompareAndSet, Read, Write},
    };

    type Registers = History<RegisterCall, crate::RegisterAnswer>;

    fn verdict(history: &Registers) -> Verdict {
        check(&Register, history, Limits::default())
    }

    fn is_violation(history: &Registers) -> bool {
        matches!(verdict(history), Verdict::Violation { .. })
    }

    #[test]
    fn an_empty_history_is_linearizable() {
        assert_eq!(verdict(&History::default()), Verdict::Linearizable);
    }

    #[test]
    fn a_read_during_a_write_sees_either_value() {
        for seen in [None, Some(1)] {
            let mut history = History::default();
            let write = history.start(Write(Some(1)));
            let read = history.start(Read);
            history.answer(read, Value(seen));
            history.answer(write, Written);
            assert_eq!(verdict(&history), Verdict::Linearizable, "{seen:?}");
        }
    }

    #[test]
    fn a_read_after_a_write_must_see_it() {
        let mut history = History::default();
        let write = history.start(Write(Some(1)));
        history.answer(write, Written);
        let read = history.start(Read);
        history.answer(read, Value(None));
        assert_eq!(verdict(&history), Verdict::Violation { explained: 1, stuck: vec![1] });
    }

    #[test]
    fn two_reads_may_not_see_a_write_come_and_go() {
        let mut history = History::default();
        let write = history.start(Write(Some(1)));
        for seen in [Some(1), None] {
            let read = history.start(Read);
            history.answer(read, Value(seen));
        }
        history.answer(write, Written);
        assert!(is_violation(&history));
    }

    #[test]
    fn an_unknown_write_may_take_effect_late_or_never() {
        for seen in [[None, None, None], [None, None, Some(1)], [None, Some(1), Some(1)]] {
            let mut history = History::default();
            history.start(Write(Some(1)));
            for value in seen {
                let read = history.start(Read);
                history.answer(read, Value(value));
            }
            assert_eq!(verdict(&history), Verdict::Linearizable, "{seen:?}");
        }
        let mut history = History::default();
        let read = history.start(Read);
        history.answer(read, Value(Some(1)));
        history.start(Write(Some(1)));
        assert!(is_violation(&history), "not before it started");
    }

    #[test]
    fn an_unknown_write_takes_effect_once() {
        let mut history = History::default();
        history.start(Write(Some(1)));
        for (call, answer) in
            [(Read, Value(Some(1))), (Write(Some(2)), Written), (Read, Value(Some(1)))]
        {
            let id = history.start(call);
            history.answer(id, answer);
        }
        assert!(is_violation(&history));
    }

    #[test]
    fn a_discarded_call_has_no_effect() {
        let mut history = History::default();
        let write = history.start(Write(Some(1)));
        history.discard(write);
        let read = history.start(Read);
        history.answer(read, Value(Some(1)));
        assert!(is_violation(&history));
    }

    #[test]
    fn only_one_of_two_equal_swaps_succeeds() {
        for (second, linearizable) in [(false, true), (true, false)] {
            let mut history = History::default();
            let one = history.start(CompareAndSet { expected: None, new: Some(1) });
            let two = history.start(CompareAndSet { expected: None, new: Some(2) });
            history.answer(one, Swapped(true));
            history.answer(two, Swapped(second));
            assert_eq!(verdict(&history) == Verdict::Linearizable, linearizable);
        }
    }

    #[test]
    fn who_takes_the_value_away_leaves_none() {
        let swap = CompareAndSet { expected: Some(1), new: None };
        for (call, answer) in [(Write(None), Written), (swap, Swapped(true))] {
            for (seen, linearizable) in [(None, true), (Some(1), false)] {
                let mut history = History::default();
                let calls = [(Write(Some(1)), Written), (call, answer), (Read, Value(seen))];
                for (call, answer) in calls {
                    let id = history.start(call);
                    history.answer(id, answer);
                }
                assert_eq!(verdict(&history) == Verdict::Linearizable, linearizable, "{call:?}");
            }
        }
    }

    #[test]
    fn a_lock_has_one_holder_and_rising_tokens() {
        let tokens = |first: u64, second: u64, released: bool| {
            let mut history = History::default();
            let id = history.start(LockCall::Acquire(1));
            history.answer(id, LockAnswer::Token(first));
            if released {
                let id = history.start(LockCall::Release(1));
                history.answer(id, LockAnswer::Released(true));
            }
            let id = history.start(LockCall::Acquire(2));
            history.answer(id, LockAnswer::Token(second));
            check(&Lock, &history, Limits::default())
        };
        assert_eq!(tokens(4, 9, true), Verdict::Linearizable);
        assert!(matches!(tokens(4, 9, false), Verdict::Violation { .. }), "two holders");
        assert!(matches!(tokens(9, 9, true), Verdict::Violation { .. }), "a token given twice");
    }

    #[test]
    fn a_search_that_is_too_long_is_undecided() {
        let mut history = History::default();
        for value in 0..40 {
            history.start(Write(Some(value)));
        }
        for value in 0..20 {
            let read = history.start(Read);
            history.answer(read, Value(Some(value)));
        }
        let write = history.start(Write(Some(7)));
        history.answer(write, Written);
        // Nobody wrote this, so that every order must be tried.
        let read = history.start(Read);
        history.answer(read, Value(Some(99)));
        let limits = Limits { steps_max: 1_000, states_max: 1_000 };
        assert!(matches!(check(&Register, &history, limits), Verdict::Undecided { .. }));
    }

    /// Every order, by brute force.
    fn linearizable_by_force(history: &Registers) -> bool {
        let calls: Vec<_> = history.calls().collect();
        fn search(calls: &[&CallOf<Register>], done: &mut [bool], state: Option<u64>) -> bool {
            let waiting = |place: &usize| !done[*place] && calls[*place].answered.is_some();
            let ends = (0..calls.len()).filter(waiting).filter_map(|p| calls[p].answered.as_ref());
            let Some(first) = ends.map(|(at, _)| *at).min() else { return true };
            let open = |place: &usize| !done[*place] && calls[*place].started <= first;
            let open: Vec<usize> = (0..calls.len()).filter(open).collect();
            open.into_iter().any(|place| {
                let answer = calls[place].answered.as_ref().map(|(_, answer)| answer);
                let next = Register.step(&state, &calls[place].call, answer);
                done[place] = true;
                let found = next.is_some_and(|next| search(calls, done, next));
                done[place] = found;
                found
            })
        }
        search(&calls, &mut vec![false; calls.len()], None)
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        /// One client's next move: a call, how its outcome is known, and what it claims to see.
        fn moves() -> impl Strategy<Value = Vec<(usize, u8, u64, u64, bool)>> {
            proptest::collection::vec(
                (0..3_usize, 0..3_u8, 0..3_u64, 0..3_u64, any::<bool>()),
                0..14,
            )
        }

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(2_000))]
            #[test]
            fn agrees_with_brute_force(moves in moves()) {
                let mut history = Registers::default();
                let mut open = [None; 3];
                let value = |number: u64| (number > 0).then_some(number);
                for (client, kind, one, two, flag) in moves {
                    if let Some((id, kind)) = open[client].take() {
                        let answer = match kind {
                            0_u8 => Value(value(one)),
                            1 => Written,
                            _ => Swapped(flag),
                        };
                        if two > 0 {
                            history.answer(id, answer);
                        }
                        continue;
                    }
                    let call = match kind {
                        0 => Read,
                        1 => Write(value(one)),
                        _ => CompareAndSet { expected: value(one), new: value(two) },
                    };
                    open[client] = Some((history.start(call), kind));
                }
                let expected = linearizable_by_force(&history);
                prop_assert_eq!(verdict(&history) == Verdict::Linearizable, expected);
            }
        }
    }
}
