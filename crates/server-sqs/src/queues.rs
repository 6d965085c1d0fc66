//! Operations on queues.

use std::{collections::BTreeMap, sync::PoisonError};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rhumb_engine::{DefineError, Expect};
use rhumb_queue::Stats;
use rhumb_types::{
    UnixMillis,
    control::QueueAct,
    record::{QueueDefinition, QueueEntry, QueueName},
};
use serde::{Deserialize, Serialize};

use crate::{
    call::{Call, Queue},
    door::check_queue,
    fault::{Code, Fault},
    limits::{LIST_MAX, PURGE_PAUSE, TAG_KEY_MAX, TAG_VALUE_MAX, TAGS_MAX},
    names,
    reply::{Outcome, json, nothing},
    settings::{self, Attributes, Setting},
};

/// How often a change is tried when others change the same queue.
const TRIES_MAX: u32 = 4;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct QueueUrl {
    queue_url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Create {
    queue_name: String,
    attributes: Attributes,
    #[serde(rename = "tags")]
    tags: BTreeMap<String, String>,
}

pub(crate) async fn create(call: &Call) -> Outcome {
    let Create { queue_name, attributes, tags } = call.read()?;
    if queue_name.is_empty() {
        return Err(Fault::missing("QueueName"));
    }
    let fifo = settings::asks_for_fifo(&attributes)?;
    let name = names::new_queue(&queue_name, fifo)?;
    check_queue(&call.grant, &name)?;
    check_tags(&tags, tags.len())?;
    let url = QueueUrl { queue_url: call.url(&name) };
    match call.queue_named(&name) {
        Ok(queue) => check_same(&queue, &attributes)?,
        Err(_) => make(call, &name, fifo, &attributes, tags).await?,
    }
    json(&url)
}

async fn make(
    call: &Call,
    name: &QueueName,
    fifo: bool,
    attributes: &Attributes,
    tags: BTreeMap<String, String>,
) -> Result<(), Fault> {
    let mut definition = settings::fresh(fifo);
    settings::apply(&mut definition, attributes)?;
    check_target(call, name, &definition)?;
    let change = |entry: &mut QueueEntry| {
        entry.definition = definition;
        entry.tags = tags;
    };
    call.note(name, QueueAct::Create).await?;
    match call.queues()?.define_with(name.clone(), Expect::Absent, change).await {
        // Somebody else made it meanwhile, perhaps the same.
        Err(DefineError::Changed(_)) => check_same(&call.queue_named(name)?, attributes),
        other => Ok(other?),
    }
}

fn check_same(queue: &Queue, attributes: &Attributes) -> Result<(), Fault> {
    let Some(setting) = settings::differs(queue.definition(), attributes)? else { return Ok(()) };
    let message = format!(
        "A queue already exists with the same name and a different value for attribute {}.",
        setting.name()
    );
    Err(Fault::new(Code::QueueNameExists, message))
}

fn check_target(call: &Call, name: &QueueName, definition: &QueueDefinition) -> Result<(), Fault> {
    let agreed = call.queues()?.agreed();
    let agreed = agreed.borrow();
    let target = definition.dead_letters.as_ref().and_then(|target| agreed.entries.get(target));
    settings::check_target(name, definition, target.map(|it| &it.entry.definition))
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct OfUrl {
    queue_url: String,
}

pub(crate) async fn delete(call: &Call) -> Outcome {
    let OfUrl { queue_url } = call.read()?;
    let queue = call.queue(&queue_url)?;
    call.note(&queue.name, QueueAct::Delete).await?;
    call.queues()?.delete(&queue.name).await?;
    nothing()
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct GetUrl {
    queue_name: String,
    #[serde(rename = "QueueOwnerAWSAccountId")]
    owner: Option<String>,
}

pub(crate) fn url(call: &Call) -> Outcome {
    let GetUrl { queue_name, owner } = call.read()?;
    if queue_name.is_empty() {
        return Err(Fault::missing("QueueName"));
    }
    if owner.is_some_and(|owner| owner != names::ACCOUNT) {
        return Err(Fault::no_queue());
    }
    let name = QueueName::new(&queue_name).map_err(|_| Fault::no_queue())?;
    let queue = call.queue_named(&name)?;
    json(&QueueUrl { queue_url: call.url(&queue.name) })
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Page {
    queue_url: String,
    queue_name_prefix: String,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Page {
    /// The names of a page, and where the next one begins.
    fn of(
        &self,
        names: impl Iterator<Item = QueueName>,
    ) -> Result<(Vec<QueueName>, Option<String>), Fault> {
        let most = match self.max_results {
            None => LIST_MAX,
            Some(most) => {
                let most = usize::try_from(most).ok().filter(|most| (1..=LIST_MAX).contains(most));
                most.ok_or_else(|| Fault::value("MaxResults", "Must be between 1 and 1000"))?
            }
        };
        let after = self.next_token.as_ref().map(|token| read_token(token)).transpose()?;
        let rest = names.filter(|name| after.as_ref().is_none_or(|after| name > after));
        let mut page: Vec<QueueName> = rest.take(most + 1).collect();
        let more = page.len() > most;
        page.truncate(most);
        // Without a size, SQS gives one page and no token.
        let token = page.last().filter(|_| more && self.max_results.is_some());
        let token = token.map(|last| URL_SAFE_NO_PAD.encode(last.as_str()));
        Ok((page, token))
    }
}

fn read_token(token: &str) -> Result<QueueName, Fault> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let name = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let name = name.and_then(|name| QueueName::new(&name).ok());
    name.ok_or_else(|| Fault::value("NextToken", "It is not one that this server gave"))
}

/// The queues that a client may know of, in the order of their names.
fn known(call: &Call) -> Result<Vec<(QueueName, QueueDefinition)>, Fault> {
    let definitions = call.queues()?.definitions();
    let definitions = definitions.borrow();
    let known = definitions.iter().filter(|(name, _)| call.grant.covers(name.as_str()));
    Ok(known.map(|(name, definition)| (name.clone(), definition.clone())).collect())
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Urls {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    queue_urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

pub(crate) fn list(call: &Call) -> Outcome {
    let page: Page = call.read()?;
    let names = known(call)?.into_iter().map(|(name, _)| name);
    let (names, next_token) =
        page.of(names.filter(|name| name.as_str().starts_with(&page.queue_name_prefix)))?;
    json(&Urls { queue_urls: names.iter().map(|name| call.url(name)).collect(), next_token })
}

#[derive(Serialize)]
struct Sources {
    #[serde(rename = "queueUrls")]
    queue_urls: Vec<String>,
    #[serde(rename = "NextToken", skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

pub(crate) fn sources(call: &Call) -> Outcome {
    let page: Page = call.read()?;
    let target = call.queue(&page.queue_url)?.name;
    let sources = known(call)?.into_iter();
    let sources =
        sources.filter(|(_, definition)| definition.dead_letters.as_ref() == Some(&target));
    let (names, next_token) = page.of(sources.map(|(name, _)| name))?;
    json(&Sources { queue_urls: names.iter().map(|name| call.url(name)).collect(), next_token })
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct GetAttributes {
    queue_url: String,
    attribute_names: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AttributesOf {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: Attributes,
}

/// Attributes that nobody sets.
const COUNTS: [&str; 3] = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
];
const TOLD: [&str; 3] = ["CreatedTimestamp", "LastModifiedTimestamp", "QueueArn"];

pub(crate) async fn attributes(call: &Call) -> Outcome {
    let GetAttributes { queue_url, attribute_names } = call.read()?;
    let queue = call.queue(&queue_url)?;
    let settable = Setting::ALL.map(Setting::name);
    for name in &attribute_names {
        let known = |names: &[&str]| names.contains(&name.as_str());
        if name != "All" && !known(&settable) && !known(&COUNTS) && !known(&TOLD) {
            let message = format!("Unknown Attribute {name}.");
            return Err(Fault::new(Code::InvalidAttributeName, message));
        }
    }
    let asks = |name: &str| attribute_names.iter().any(|asked| asked == name || asked == "All");
    let mut all = settings::attributes(queue.definition(), &call.shared.region);
    let seconds = |time: UnixMillis| (time.0 / 1_000).to_string();
    let told = [
        seconds(queue.entry.created_at),
        seconds(queue.entry.changed_at),
        names::arn(&call.shared.region, &queue.name),
    ];
    all.extend(TOLD.iter().map(|name| (*name).to_owned()).zip(told));
    if COUNTS.iter().any(|name| asks(name)) {
        let by_home = call.queues()?.stats(&queue.name).await;
        all.extend(COUNTS.iter().map(|name| (*name).to_owned()).zip(counts(by_home.values())));
    }
    all.retain(|name, _| asks(name));
    json(&AttributesOf { attributes: all })
}

/// Visible, delayed, and in flight, in the order of [`COUNTS`]. What an earlier owner may have leased
/// counts as in flight.
fn counts<'s>(by_home: impl Iterator<Item = &'s Stats>) -> [String; 3] {
    let sums = by_home.fold([0; 3], |[visible, delayed, flying], it| {
        [visible + it.ready + it.behind, delayed + it.delayed, flying + it.leased + it.held]
    });
    sums.map(|sum: u64| sum.to_string())
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct SetAttributes {
    queue_url: String,
    attributes: Attributes,
}

pub(crate) async fn set_attributes(call: &Call) -> Outcome {
    let SetAttributes { queue_url, attributes } = call.read()?;
    let queue = call.queue(&queue_url)?;
    let mut wanted = queue.entry.definition.clone();
    settings::apply(&mut wanted, &attributes)?;
    check_target(call, &queue.name, &wanted)?;
    call.note(&queue.name, QueueAct::Change).await?;
    change(call, &queue_url, |queue| {
        let mut entry = queue.entry.clone();
        settings::apply(&mut entry.definition, &attributes)?;
        check_target(call, &queue.name, &entry.definition)?;
        Ok(entry)
    })
    .await
}

/// Changes a queue, again when somebody else has changed it meanwhile.
async fn change(
    call: &Call,
    url: &str,
    changed: impl Fn(&Queue) -> Result<QueueEntry, Fault>,
) -> Outcome {
    for _ in 1..TRIES_MAX {
        let queue = call.queue(url)?;
        let entry = changed(&queue)?;
        let expect = Expect::Version(queue.version);
        let defined = call.queues()?.define_with(queue.name, expect, |old| *old = entry).await;
        match defined {
            Err(DefineError::Changed(_)) => {}
            other => {
                other?;
                return nothing();
            }
        }
    }
    let message = "The queue is being changed by others; try again.";
    Err(Fault::new(Code::ServiceUnavailable, message))
}

pub(crate) async fn purge(call: &Call) -> Outcome {
    let OfUrl { queue_url } = call.read()?;
    let queue = call.queue(&queue_url)?;
    let now = call.shared.engine.clock().now().mono;
    {
        let mut purges = call.shared.purges.lock().unwrap_or_else(PoisonError::into_inner);
        let last = purges.get(&queue.name).copied();
        if last.is_some_and(|last| now.saturating_since(last) < PURGE_PAUSE) {
            let message = format!(
                "Only one PurgeQueue operation on {} is allowed every 60 seconds.",
                queue.name
            );
            return Err(Fault::new(Code::PurgeQueueInProgress, message));
        }
        purges.put(queue.name.clone(), now);
    }
    let purged = async {
        call.note(&queue.name, QueueAct::Purge).await?;
        Ok::<_, Fault>(call.queues()?.purge(&queue.name).await?)
    };
    let purged = purged.await;
    if purged.is_err() {
        // What was not done may be tried again at once.
        call.shared.purges.lock().unwrap_or_else(PoisonError::into_inner).remove(&queue.name);
    }
    purged?;
    nothing()
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Tag {
    queue_url: String,
    tags: BTreeMap<String, String>,
    tag_keys: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Tags {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
}

pub(crate) fn tags(call: &Call) -> Outcome {
    let OfUrl { queue_url } = call.read()?;
    json(&Tags { tags: call.queue(&queue_url)?.entry.tags })
}

pub(crate) async fn tag(call: &Call) -> Outcome {
    let Tag { queue_url, tags, .. } = call.read()?;
    if tags.is_empty() {
        return Err(Fault::missing("Tags"));
    }
    change(call, &queue_url, |queue| {
        let mut entry = queue.entry.clone();
        entry.tags.extend(tags.clone());
        check_tags(&tags, entry.tags.len())?;
        Ok(entry)
    })
    .await
}

pub(crate) async fn untag(call: &Call) -> Outcome {
    let Tag { queue_url, tag_keys, .. } = call.read()?;
    if tag_keys.is_empty() {
        return Err(Fault::missing("TagKeys"));
    }
    change(call, &queue_url, |queue| {
        let mut entry = queue.entry.clone();
        entry.tags.retain(|key, _| !tag_keys.contains(key));
        Ok(entry)
    })
    .await
}

fn check_tags(tags: &BTreeMap<String, String>, together: usize) -> Result<(), Fault> {
    if together > TAGS_MAX {
        return Err(Fault::value("Tags", format!("A queue has at most {TAGS_MAX} tags")));
    }
    let fits = |(key, value): (&String, &String)| {
        (1..=TAG_KEY_MAX).contains(&key.chars().count()) && value.chars().count() <= TAG_VALUE_MAX
    };
    if tags.iter().all(fits) {
        return Ok(());
    }
    let reason = "A tag's key has 1 to 128 characters, and its value at most 256";
    Err(Fault::value("Tags", reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<QueueName> {
        (0..count).map(|nth| QueueName::new(&format!("q{nth:04}")).unwrap()).collect()
    }

    #[test]
    fn pages_follow_each_other_without_gaps() {
        let all = names(7);
        let mut seen = Vec::new();
        let mut page = Page { max_results: Some(3), ..Page::default() };
        loop {
            let (names, token) = page.of(all.iter().cloned()).unwrap();
            seen.extend(names);
            match token {
                Some(token) => page.next_token = Some(token),
                None => break,
            }
        }
        assert_eq!(seen, all);
        let whole = Page::default().of(names(1_001).into_iter()).unwrap();
        assert_eq!((whole.0.len(), whole.1), (1_000, None), "no token was asked for");
        for bad in [0, -1, 1_001] {
            let page = Page { max_results: Some(bad), ..Page::default() };
            assert!(page.of(names(1).into_iter()).is_err(), "{bad}");
        }
        let page = Page { next_token: Some("?".to_owned()), ..Page::default() };
        assert!(page.of(names(1).into_iter()).is_err());
    }
}
