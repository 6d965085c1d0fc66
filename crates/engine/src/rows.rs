//! The reading thread: rows that the node asks for, so that its loop never waits for the disk.

use rhumb_node::{
    Effect,
    reads::{self, Transfers},
};
use rhumb_ports::store::Store;
use tokio::sync::mpsc;

use crate::driver::Input;

/// A read for the node.
#[derive(Debug)]
pub(crate) struct Read(pub(crate) Effect);

/// Runs until the loop closes the channel.
pub(crate) fn run<S: Store>(
    store: &S,
    mut reads: mpsc::Receiver<Read>,
    inputs: &mpsc::Sender<Input>,
) {
    let mut transfers = Transfers::<S>::new();
    while let Some(Read(effect)) = reads.blocking_recv() {
        let Some(event) = reads::answer(store, &mut transfers, effect) else { continue };
        if inputs.blocking_send(Input::Event(event)).is_err() {
            return;
        }
    }
}
