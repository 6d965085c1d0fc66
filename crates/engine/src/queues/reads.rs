//! The thread that reads rows for the queues, and hands their writes to the loop: in the order in which
//! they were asked for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc as std_mpsc,
    },
    time::Duration,
};

use rhumb_node::{Event, SubmitError, SubmitOwned, reads::read_rows};
use rhumb_ports::store::ReadStore;
use rhumb_queue::{Token, WriteError as Failed};
use rhumb_state::RowId;
use rhumb_types::{
    AckLevel, ErrorCode,
    record::{OwnedId, OwnedRow},
};
use tokio::sync::mpsc;

use super::driver::Input;
use crate::{
    driver::{self, OwnedReply},
    limits::ACK_WAIT,
    own::OwnedAnswer,
    request::WriteError,
};

/// What the machine wants of the store or the loop.
#[derive(Debug)]
pub(super) enum Work {
    /// A write, and which of its rows the loop does not have at hand.
    Own {
        token: Token,
        submit: SubmitOwned,
        unknown: Vec<RowId>,
    },
    Fetch {
        token: Token,
        rows: Vec<OwnedId>,
    },
}

/// The thread's parts.
pub(super) struct Reader {
    pub(super) store: Arc<dyn ReadStore>,
    pub(super) inputs: mpsc::Sender<driver::Input>,
    pub(super) inbox: mpsc::Sender<Input>,
    /// Writes that were given to this thread and are not yet with the loop.
    pub(super) writes: Arc<AtomicUsize>,
}

impl Reader {
    /// Runs until the machine is gone.
    pub(super) fn run(self, works: &std_mpsc::Receiver<Work>) {
        while let Ok(work) = works.recv() {
            let told = match work {
                Work::Own { token, submit, unknown } => {
                    let handed = self.own(token, submit, unknown);
                    self.writes.fetch_sub(1, Ordering::Release);
                    let Err(error) = handed else { continue };
                    Input::Owned { token, result: Err(error) }
                }
                Work::Fetch { token, rows } => {
                    let read = |id: &OwnedId| self.store.owned(id);
                    let rows: Result<Vec<Option<OwnedRow>>, _> = rows.iter().map(read).collect();
                    Input::Fetched { token, rows: rows.map_err(|error| error.to_string()) }
                }
            };
            if self.inbox.blocking_send(told).is_err() {
                return;
            }
        }
    }

    /// Hands a write to the loop, which answers it into the inbox.
    fn own(
        &self,
        token: Token,
        mut submit: SubmitOwned,
        unknown: Vec<RowId>,
    ) -> Result<(), Failed> {
        if !unknown.is_empty() {
            let reads = read_rows(self.store.as_ref(), unknown.into_iter());
            submit.reads = reads.map_err(|error| failed(WriteError::Store(error)))?;
        }
        let request = submit.request;
        let reply = OwnedReply::Queues(token, self.inbox.clone());
        let input = driver::Input::Own(Event::Own(submit), request, reply);
        self.inputs.blocking_send(input).map_err(|_| stopped())
    }
}

pub(super) fn stopped() -> Failed {
    let why = WriteError::Stopped.to_string().into();
    Failed::Refused { code: ErrorCode::Unavailable, why }
}

/// How long a write waits for other regions.
pub(super) const fn wait(ack: AckLevel) -> Duration {
    match ack {
        AckLevel::Memory | AckLevel::Local => Duration::ZERO,
        AckLevel::OneRemote | AckLevel::Quorum => ACK_WAIT,
    }
}

/// The answer of the loop, in the machine's words.
pub(crate) fn answered(result: Result<OwnedAnswer, WriteError>) -> Result<Vec<OwnedRow>, Failed> {
    result.map(|answer| answer.rows).map_err(failed)
}

/// What may have been written is told apart from what certainly was not.
fn failed(error: WriteError) -> Failed {
    let why: Arc<str> = error.to_string().into();
    match error {
        WriteError::Refused(
            SubmitError::Fenced { .. } | SubmitError::Unconfirmed { .. } | SubmitError::Disk(_),
        )
        | WriteError::Stopped => Failed::Unknown(why),
        error => Failed::Refused { code: error.code(), why },
    }
}
