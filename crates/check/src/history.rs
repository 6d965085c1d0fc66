//! Recording what callers saw.

/// Names a call of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(usize);

/// A call and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call<C, A> {
    /// What was asked.
    pub call: C,
    /// When, as the number of an event.
    pub started: u64,
    /// The answer, and when it came. `None` while the outcome is unknown, perhaps for ever.
    pub answered: Option<(u64, A)>,
}

/// Calls in the order in which they started. Events are numbered as they are recorded, so
/// recording must happen in the real order: a start before the request leaves, an answer after it
/// arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History<C, A> {
    calls: Vec<Option<Call<C, A>>>,
    events: u64,
}

impl<C, A> Default for History<C, A> {
    fn default() -> Self {
        Self { calls: Vec::new(), events: 0 }
    }
}

impl<C, A> History<C, A> {
    /// A call starts.
    pub fn start(&mut self, call: C) -> CallId {
        let started = self.next();
        self.calls.push(Some(Call { call, started, answered: None }));
        CallId(self.calls.len() - 1)
    }

    /// Its answer came.
    pub fn answer(&mut self, id: CallId, answer: A) {
        let now = self.next();
        if let Some(Some(call)) = self.calls.get_mut(id.0) {
            call.answered = Some((now, answer));
        }
    }

    /// It surely had no effect and never will.
    pub fn discard(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(id.0) {
            *call = None;
        }
    }

    /// The calls that count.
    pub fn calls(&self) -> impl Iterator<Item = &Call<C, A>> {
        self.calls.iter().flatten()
    }

    /// How many calls count.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls().count()
    }

    /// Whether no call counts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn next(&mut self) -> u64 {
        self.events += 1;
        self.events
    }
}
