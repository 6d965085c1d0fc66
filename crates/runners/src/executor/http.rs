//! A launcher that is reached over HTTP: `POST` starts a runner, `DELETE` ends it.
//!
//! Requests are signed like GitHub signs its webhooks, and carry the runner's name as the idempotency
//! key, so that a launcher that is told twice starts once.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, header};

use super::{Executor, Launch, LaunchError};
use crate::{
    capacity::{Failure, Task},
    job::RunnerName,
    limits::LIMITED_MAX,
    signature::Secrets,
    web::Place,
};

/// Where the launcher is.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// The address that runners are posted to.
    pub place: Place,
    /// What signs requests.
    pub secrets: Secrets,
}

/// Runners that a launcher runs.
#[derive(Debug)]
pub struct HttpExecutor {
    config: HttpConfig,
}

impl HttpExecutor {
    /// An executor over a launcher.
    #[must_use]
    pub const fn new(config: HttpConfig) -> Self {
        Self { config }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        name: &RunnerName,
        body: Bytes,
    ) -> Result<Response<Bytes>, LaunchError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", name.as_str())
            .header("x-rhumb-signature-256", self.config.secrets.sign(&body))
            .body(body)
            .map_err(LaunchError::failed)?;
        self.config.place.ask(request).await.map_err(LaunchError::failed)
    }
}

impl Executor for HttpExecutor {
    fn start(&self, launch: Launch) -> BoxFuture<'_, Result<(), LaunchError>> {
        Box::pin(async move {
            let body = serde_json::to_vec(&launch).map_err(LaunchError::failed)?;
            let answer = self.ask(Method::POST, "/", &launch.name, body.into()).await?;
            verdict(&answer)
        })
    }

    fn stop<'a>(&'a self, name: &'a RunnerName) -> BoxFuture<'a, Result<(), LaunchError>> {
        Box::pin(async move {
            let path = format!("/{name}");
            let answer = self.ask(Method::DELETE, &path, name, Bytes::new()).await?;
            match answer.status() {
                StatusCode::NOT_FOUND | StatusCode::GONE => Ok(()),
                _ => verdict(&answer),
            }
        })
    }

    fn tasks(&self) -> Option<Vec<Task>> {
        None
    }
}

fn verdict(answer: &Response<Bytes>) -> Result<(), LaunchError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let said = answer.headers().get(header::RETRY_AFTER);
    let seconds = said.and_then(|it| it.to_str().ok()?.trim().parse().ok());
    let wait = seconds.map(Duration::from_secs).map(|wait| wait.min(LIMITED_MAX));
    let failure = wait.map_or(Failure::Failed, Failure::Later);
    Err(LaunchError { why: format!("the launcher answered {status}"), failure })
}

#[cfg(test)]
mod tests;
