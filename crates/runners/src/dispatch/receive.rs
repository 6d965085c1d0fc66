//! Jobs from the queues, as many as there is room for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rhumb_engine::ReceiveRequest;
use rhumb_types::record::QueueName;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};

use super::{Input, Shared};
use crate::limits::{LEASE, RECEIVE_MAX, RECEIVE_WAIT, TRY_AGAIN};

/// Leases the jobs of a queue whenever there is room for runners of its set.
pub(super) fn listen(
    shared: &Arc<Shared>,
    queue: QueueName,
    set: String,
    mut rooms: watch::Receiver<BTreeMap<String, usize>>,
    sender: mpsc::Sender<Input>,
) {
    let (shared, tasks) = (shared.clone(), shared.engine.tasks().clone());
    tasks.spawn_until_stopped(async move {
        let worker: Arc<str> = format!("runners:{}:{queue}", shared.region).into();
        // A runner belongs where its job does. Only a region that had nothing to do for a whole wait looks
        // once for what has no room elsewhere.
        let mut idle = false;
        loop {
            let enough =
                |rooms: &BTreeMap<String, usize>| rooms.get(&set).is_some_and(|it| *it > 0);
            let room = match rooms.wait_for(enough).await {
                Ok(rooms) => rooms.get(&set).copied().unwrap_or(0),
                Err(_) => return,
            };
            let request = ReceiveRequest {
                queue: queue.clone(),
                jobs_max: room.min(RECEIVE_MAX),
                visibility: Some(LEASE),
                wait: if idle { Duration::ZERO } else { RECEIVE_WAIT },
                worker: worker.clone(),
                elsewhere: idle,
            };
            let received = shared.queues.receive(request).await;
            idle = !idle && received.as_ref().is_ok_and(Vec::is_empty);
            match received {
                Ok(jobs) if jobs.is_empty() => {}
                Ok(jobs) => {
                    let (taken, done) = oneshot::channel();
                    let leased = Input::Leased { set: set.clone(), jobs, taken };
                    // Waits until they are counted, so that room is never given twice.
                    if sender.send(leased).await.is_err() || done.await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, %queue, "no jobs are received");
                    sleep(TRY_AGAIN).await;
                }
            }
        }
    });
}
