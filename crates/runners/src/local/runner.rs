//! A runner for the GitHub-shaped API: it takes one job, does nothing for a while, and ends.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::web::{Place, PlaceError, WebError};

/// What stands in the configuration of a runner here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct JitConfig {
    pub(super) url: String,
    pub(super) id: u64,
    pub(super) name: String,
}

/// How often a runner that has no job asks again.
const ASKS_MAX: u32 = 10_000;
/// Pause after an answer that is none.
const PAUSE: Duration = Duration::from_millis(200);

/// Why a runner ended without a job.
#[derive(Debug, thiserror::Error)]
pub enum LocalRunnerError {
    /// The configuration is none of the GitHub-shaped API's.
    #[error("this is no configuration of a runner of `rhumb runners demo`")]
    Config,
    /// The API's address is none.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The API is gone.
    #[error(transparent)]
    Web(#[from] WebError),
    /// The runner was removed, or had no job for long.
    #[error("the runner is not wanted any more")]
    Unwanted,
}

impl JitConfig {
    pub(super) fn encode(&self) -> String {
        STANDARD.encode(json!(self).to_string())
    }

    fn decode(text: &str) -> Option<Self> {
        serde_json::from_slice(&STANDARD.decode(text.trim()).ok()?).ok()
    }
}

/// Connects, takes a job, works for a while, and reports it done; says which job.
///
/// # Errors
/// [`LocalRunnerError`].
pub async fn run_as_runner(jit_config: &str, work: Duration) -> Result<u64, LocalRunnerError> {
    let config = JitConfig::decode(jit_config).ok_or(LocalRunnerError::Config)?;
    let place = Place::new(&config.url, None)?;
    for _ in 0..ASKS_MAX {
        let answer = post(&place, "/_local/take", &json!({ "id": config.id })).await?;
        match answer.status() {
            StatusCode::OK => {
                let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
                let job = body.get("job").and_then(Value::as_u64);
                let job = job.ok_or(LocalRunnerError::Unwanted)?;
                sleep(work).await;
                post(&place, "/_local/done", &json!({ "id": config.id, "job": job })).await?;
                return Ok(job);
            }
            StatusCode::NO_CONTENT => sleep(PAUSE).await,
            _ => return Err(LocalRunnerError::Unwanted),
        }
    }
    Err(LocalRunnerError::Unwanted)
}

async fn post(place: &Place, path: &str, body: &Value) -> Result<Response<Bytes>, WebError> {
    let request = Request::builder().method(Method::POST).uri(path);
    let request = request.body(Bytes::from(body.to_string()));
    let request = request.map_err(|error| WebError::Broken(path.to_owned(), error.to_string()))?;
    place.ask(request).await
}
