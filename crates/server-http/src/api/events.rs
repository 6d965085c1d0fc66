//! `/v1/events/{topic}`: CloudEvents in, durable at once; the node delivers them to the queues that
//! subscribe.

use http::{StatusCode, header};
use rhumb_engine::{
    DefineError, EnqueueRequest, Expect, HomeChoice, OsEntropy, QueueClient, queue::NewJob,
    random_id,
};
use rhumb_events::{Event, Malformed, read, subscribers};
use rhumb_types::{
    ErrorCode,
    record::{
        QueueName, Topic,
        queue::{OWN_TOPICS, events_queue, events_settings},
    },
};
use serde_json::json;

use crate::{
    encode,
    problem::Problem,
    request::{Call, Outcome},
};

/// What a topic has before it in a token's scopes.
const SCOPE: &str = "event:";

impl From<Malformed> for Problem {
    fn from(malformed: Malformed) -> Self {
        Self::invalid(malformed.to_string())
            .help("See docs/queues.md for the forms that events have.")
    }
}

pub(crate) async fn publish(call: Call) -> Outcome {
    let topic = call.read_part("topic", "a topic", |text| Topic::new(text).ok())?;
    call.principal.check(format!("{SCOPE}{topic}").as_bytes())?;
    call.params()?.done()?;
    if topic.as_str().split('.').next() == Some(OWN_TOPICS) {
        let detail = "topics that begin with `rhumb` are the cluster's own";
        return Err(Problem::new(ErrorCode::Forbidden, detail).help("Choose another topic."));
    }
    let events = events(&call, &topic)?;
    let client = call.queues()?;
    let queues = subscribers(&client.definitions().borrow(), &topic);
    if !queues.is_empty() {
        keep(&client, &call, &events).await?;
    }
    let queues: Vec<&QueueName> = queues.iter().map(|it| &it.queue).collect();
    let body = json!({ "accepted": events.len(), "queues": queues });
    Ok(encode::json_as(StatusCode::ACCEPTED, &body))
}

/// The events of a request, by the mode that its content type says.
fn events(call: &Call, topic: &Topic) -> Result<Vec<Event>, Problem> {
    let sent = call.header(header::CONTENT_TYPE.as_str())?.unwrap_or_default();
    let kind = sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        read::STRUCTURED => Ok(vec![read::structured(topic, &call.body)?]),
        read::BATCH => Ok(read::batch(topic, &call.body)?),
        other if other.starts_with("application/cloudevents") => Err(Problem::http(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            format!("events in the form `{}` are not read", other.escape_default()),
            "Send them as application/cloudevents+json, as a batch of those, or in binary mode.",
        )),
        _ => {
            let headers = call.headers.iter();
            let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
            Ok(vec![read::binary(topic, headers, call.body.clone())?])
        }
    }
}

/// Makes events durable in this region, in the queue from which they are delivered.
async fn keep(client: &QueueClient, call: &Call, events: &[Event]) -> Result<(), Problem> {
    let queue = events_queue();
    if !client.definitions().borrow().contains_key(&queue) {
        match client.define(queue.clone(), events_settings(), Expect::Absent).await {
            Ok(()) | Err(DefineError::Changed(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let job =
        |event: &Event| NewJob::new(random_id(&OsEntropy), event.data.clone(), event.attributes());
    let jobs = events.iter().map(job).collect();
    let home = HomeChoice::Region(call.shared.surroundings.region.clone());
    let taken = client.enqueue(EnqueueRequest { queue, home, jobs }).await?;
    taken.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(())
}
