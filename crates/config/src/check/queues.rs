//! Queues of a new cluster.

use rhumb_types::{AckLevel, record::QueueName};

use super::Review;
use crate::{path::Path, settings::QueueSettings};

/// Refuses settings of queues that cannot be meant together.
pub(super) fn check(review: &mut Review<'_>) {
    let settings = review.settings();
    let all = Path::to("queues");
    let data = settings.regions.values().filter(|region| !region.witness).count();
    for (name, queue) in &settings.queues {
        let path = all.key(name.as_str());
        if let Err(error) = queue.definition().check() {
            review.refuse(&path.key(error.setting), error.to_string());
        }
        let remote = matches!(queue.ack, AckLevel::OneRemote | AckLevel::Quorum);
        if remote && data < 2 {
            let message = "no other region holds data, so nobody could acknowledge; use `local`";
            review.refuse(&path.key("ack"), message);
        }
        residency(review, &path, queue);
        dead_letters(review, &path, name, queue);
    }
}

fn residency(review: &mut Review<'_>, path: &Path, queue: &QueueSettings) {
    let path = path.key("residency");
    for (at, tag) in queue.residency.iter().enumerate() {
        let data = review.settings().regions.values().filter(|region| !region.witness);
        let carried = data.flat_map(|region| &region.residency).any(|it| it.as_str() == tag);
        if !carried {
            let message = format!(
                "no region that holds data lies in {tag}; add it to the `residency` of a region"
            );
            review.refuse(&path.index(at), message);
        }
    }
}

fn dead_letters(review: &mut Review<'_>, path: &Path, name: &QueueName, queue: &QueueSettings) {
    let Some(to) = &queue.dead_letters else { return };
    let path = path.key("dead_letters");
    let message = match review.settings().queues.get(to) {
        _ if to == name => format!("`{name}` cannot be its own dead letters; name another queue"),
        None => format!("there is no queue `{to}`; add it under `queues`"),
        Some(other) if other.fifo != queue.fifo => {
            "the dead letters of a FIFO queue are a FIFO queue, and of another not".to_owned()
        }
        Some(other) if other.residency != queue.residency => {
            "the dead letters of a queue have the same residency".to_owned()
        }
        Some(_) => return,
    };
    review.refuse(&path, message);
}
