//! Webhooks on their way: signed, and remembered with how they were answered.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{Method, Request, header};
use rhumb_types::UnixMillis;
use serde_json::Value;

use super::{LocalJob, Shared, What, payloads};
use crate::job::Action;

/// A delivery that was tried.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) id: u64,
    pub(super) guid: String,
    pub(super) at: UnixMillis,
    pub(super) action: Action,
    pub(super) status: Option<u16>,
    pub(super) redelivery: bool,
    /// How long it took.
    pub(super) micros: u64,
    pub(super) job: u64,
    pub(super) body: Bytes,
}

impl Sent {
    pub(super) fn is_ok(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

impl Shared {
    /// Sends a webhook about a job, once; nobody is waited for longer than GitHub would.
    pub(super) async fn send(&self, job: &LocalJob, action: Action) {
        let (repository, guid) = {
            let state = self.state();
            if state.muted.contains(&action) {
                return;
            }
            let repository = state.repositories.get(&job.repository).copied().unwrap_or_default();
            (repository, format!("{:016x}", (self.outside.random)()))
        };
        let body = payloads::body(job, repository, action, self.now()).to_string();
        self.try_once(guid, job.id, action, body.into(), false).await;
    }

    /// Sends a delivery again.
    pub(super) fn repeat(self: &Arc<Self>, id: u64) -> bool {
        let sent = self.state().sent.iter().find(|sent| sent.id == id).cloned();
        let Some(sent) = sent else { return false };
        let shared = self.clone();
        self.tasks.spawn_until_stopped(async move {
            shared.try_once(sent.guid, sent.job, sent.action, sent.body, true).await;
        });
        true
    }

    pub(super) async fn try_once(
        &self,
        guid: String,
        job: u64,
        action: Action,
        body: Bytes,
        again: bool,
    ) {
        let hook = {
            let mut state = self.state();
            let turn = state.sent.len();
            let hooks = state.hooks.len().max(1);
            state.fresh_id();
            state.hooks.get(turn % hooks).cloned()
        };
        let began = Instant::now();
        let request = Request::builder()
            .method(Method::POST)
            .uri("/webhooks/github")
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-github-event", "workflow_job")
            .header("x-github-delivery", &guid)
            .header("x-hub-signature-256", self.secrets.sign(&body))
            .body(body.clone());
        let answer = match (hook, request) {
            (Some(hook), Ok(request)) => hook.ask(request).await.ok(),
            _ => None,
        };
        let status = answer.as_ref().map(|answer| answer.status().as_u16());
        let said: Option<Value> = answer.and_then(|it| serde_json::from_slice(it.body()).ok());
        let region = said.as_ref().and_then(|it| it.get("region")).and_then(Value::as_str);
        let region = region.map(str::to_owned);
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let millis = micros / 1_000;
        {
            let at = self.now();
            let mut state = self.state();
            let id = state.fresh_id();
            let redelivery = again;
            state.sent.push(Sent { id, guid, at, action, status, redelivery, micros, job, body });
        }
        self.happened(What::Sent { job, action, status, region, again, millis });
    }
}
