//! `GET /v1/log`: the change feed, in pages of newline-delimited JSON or as a stream of events.
//!
//! A cursor is what has been read of every origin's log. Each transaction carries the cursor after
//! it, so that a reader goes on wherever it stopped, at this node or another.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, header};
use rhumb_engine::{Engine, LogCursorError, LogPage};
use rhumb_types::{ErrorCode, record::VersionVector};
use serde_json::Value;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

mod shape;

use shape::View;

use crate::{
    encode,
    limits::{
        FEED_BYTES_MAX, FEED_HEARTBEAT, FEED_WAIT_MAX, TRANSACTION_BYTES_USUAL,
        TRANSACTIONS_DEFAULT, TRANSACTIONS_MAX, TRANSACTIONS_TOGETHER_MAX, TRIMS_MAX,
    },
    params::{Params, duration_millis},
    problem::Problem,
    request::{Call, Outcome},
    routes::Route,
    server::Shared,
    session,
};

/// The content type of a stream of events.
const EVENTS: &str = "text/event-stream";
/// What a stream says first, so that its head is sent, and how soon to come back after a break.
const GREETING: &[u8] = b"retry: 1000\n\n";
/// What a stream says while there is nothing to say.
const HEARTBEAT: &[u8] = b":\n\n";

pub(crate) async fn read(call: Call) -> Outcome {
    let mut params = call.params()?;
    let cursor = cursor_of(&call, &mut params)?;
    let prefix = params.bytes("prefix").unwrap_or_default();
    let view = View { principal: call.principal.clone(), prefix };
    if call.accepts(EVENTS)? {
        params.done()?;
        return follow(call, view, cursor);
    }
    let limit = params.number("limit", 1..=TRANSACTIONS_MAX as u64)?;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(TRANSACTIONS_DEFAULT);
    let longest = u64::try_from(FEED_WAIT_MAX.as_millis()).unwrap_or(u64::MAX);
    let wait = params.read("wait", "a time up to 20s", |text| {
        duration_millis(text).filter(|millis| *millis <= longest)
    })?;
    params.done()?;
    if let Some(millis) = wait {
        let wait = std::time::Duration::from_millis(millis);
        call.engine().log_grows(&cursor, wait).await;
    }
    let page = page(call.engine(), &cursor, limit)?;
    let mut text = String::new();
    for (line, _) in lines(&view, cursor, &page) {
        text.push_str(&line.to_string());
        text.push('\n');
    }
    let mut response = encode::bytes(text.into(), crate::admin::audit::NDJSON);
    encode::set(&mut response, "rhumb-cursor", session::encode(&page.cursor));
    let more = !page.cursor.includes(&call.engine().status().durable);
    encode::set(&mut response, "rhumb-more", more);
    Ok(response)
}

/// Where to start: after the last event that a reconnecting reader has seen, else where it says,
/// else at the beginning.
fn cursor_of(call: &Call, params: &mut Params) -> Result<VersionVector, Problem> {
    let asked = params.bytes("cursor");
    let seen = call.header("last-event-id")?.filter(|id| !id.is_empty());
    if let Some(id) = seen {
        return session::decode("the header `last-event-id`", id.as_bytes());
    }
    match asked.as_deref() {
        None | Some(b"") => Ok(VersionVector::new()),
        Some(b"present") => Ok(call.engine().status().durable.clone()),
        Some(b"oldest") => Ok(oldest(call.engine(), VersionVector::new())),
        Some(text) => session::decode("`cursor`", text),
    }
}

/// The first cursor at or after one that the logs still reach back to.
fn oldest(engine: &Engine, mut cursor: VersionVector) -> VersionVector {
    for _ in 0..TRIMS_MAX {
        match engine.log(&cursor) {
            Err(LogCursorError::Gone { origin, first, .. }) => {
                cursor.raise(origin, first.saturating_sub(1));
            }
            _ => break,
        }
    }
    cursor
}

/// A page of at most so many transactions. Few transactions are few bytes, most likely, so that a
/// short page costs little; where they are large, the page is shorter.
fn page(engine: &Engine, cursor: &VersionVector, limit: usize) -> Result<LogPage, Problem> {
    let bytes_max = limit.saturating_mul(TRANSACTION_BYTES_USUAL).min(FEED_BYTES_MAX);
    let page = engine.log_up_to(cursor, bytes_max);
    let mut page = page.map_err(|error| gone(engine, cursor, error))?;
    if page.transactions.len() > limit {
        page.transactions.truncate(limit);
        page.cursor = cursor.clone();
        for transaction in &page.transactions {
            page.cursor.raise(transaction.origin, transaction.version);
        }
    }
    Ok(page)
}

/// A cursor that is too old is told where to go on.
fn gone(engine: &Engine, cursor: &VersionVector, error: LogCursorError) -> Problem {
    let too_old = matches!(error, LogCursorError::Gone { .. });
    let problem = Problem::from(error);
    if !too_old {
        return problem;
    }
    problem
        .with("oldest", session::encode(&oldest(engine, cursor.clone())))
        .with("present", session::encode(&engine.status().durable))
}

/// What a feed shows of a page, each with the cursor after it.
fn lines(
    view: &View,
    mut cursor: VersionVector,
    page: &LogPage,
) -> impl Iterator<Item = (Value, String)> {
    page.transactions.iter().filter_map(move |transaction| {
        cursor.raise(transaction.origin, transaction.version);
        let mut line = shape::transaction(view, transaction)?;
        let after = session::encode(&cursor);
        encode::put(&mut line, "cursor", after.clone());
        Some((line, after))
    })
}

/// A reader of a stream.
struct Follower {
    shared: Arc<Shared>,
    route: &'static Route,
    view: View,
    headers: HeaderMap,
    client: std::net::SocketAddr,
    cursor: VersionVector,
    greeted: bool,
    ended: bool,
    /// When the bearer was let in last.
    admitted: Instant,
    _place: OwnedSemaphorePermit,
}

fn follow(call: Call, view: View, cursor: VersionVector) -> Outcome {
    let place = call.shared.feeds.clone().try_acquire_owned().map_err(|_| {
        Problem::new(ErrorCode::Overloaded, "too many streams of the change feed are open")
    })?;
    // A cursor that is too old is refused before the stream begins.
    page(call.engine(), &cursor, 1)?;
    let Call { shared, route, headers, client, .. } = call;
    let follower = Follower {
        shared,
        route,
        view,
        headers,
        client,
        cursor,
        greeted: false,
        ended: false,
        admitted: Instant::now(),
        _place: place,
    };
    let events = stream::unfold(follower, |mut follower| async move {
        let bytes = follower.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), follower))
    });
    let mut response = Response::new(Body::from_stream(events));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENTS));
    // nginx holds answers back until they are whole, unless it is told.
    encode::set(&mut response, "x-accel-buffering", "no");
    Ok(response)
}

impl Follower {
    /// What comes next; `None` at the end: the node stops, the token is no longer good, or the log
    /// was trimmed past a reader that is too slow.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(Bytes::from_static(GREETING));
        }
        if self.ended || self.shared.engine.tasks().is_stopping() || !self.is_welcome() {
            return None;
        }
        let engine = self.shared.engine.clone();
        loop {
            let page = match page(&engine, &self.cursor, TRANSACTIONS_TOGETHER_MAX) {
                Ok(page) => page,
                Err(problem) => {
                    self.ended = true;
                    return Some(event("problem", None, &problem.body()));
                }
            };
            let before = std::mem::replace(&mut self.cursor, page.cursor.clone());
            let mut events = Vec::new();
            for (line, after) in lines(&self.view, before.clone(), &page) {
                events.extend_from_slice(&event("transaction", Some(&after), &line));
            }
            if !events.is_empty() {
                return Some(events.into());
            }
            if before != self.cursor {
                // All of it is out of the bearer's reach; there may be more.
                continue;
            }
            let grown = tokio::select! {
                () = engine.tasks().stopping() => return None,
                () = engine.log_grows(&self.cursor, FEED_HEARTBEAT) => {
                    !self.cursor.includes(&engine.status().durable)
                }
            };
            if !self.is_welcome() {
                return None;
            }
            if !grown {
                return Some(Bytes::from_static(HEARTBEAT));
            }
        }
    }

    /// Whether the bearer would still be let in; looked at as often as a quiet stream shows signs of
    /// life.
    fn is_welcome(&mut self) -> bool {
        if self.admitted.elapsed() < FEED_HEARTBEAT {
            return true;
        }
        self.admitted = Instant::now();
        let Shared { door, engine, .. } = &*self.shared;
        let bearer = door.identify(engine, self.route, &self.headers, self.client);
        bearer.is_ok_and(|bearer| door.allow(self.route, &bearer, self.client).is_ok())
    }
}

/// One event. JSON has no line breaks, so it is one line of data.
fn event(name: &str, id: Option<&str>, data: &Value) -> Bytes {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("event: {name}\n{id}data: {data}\n\n").into()
}
