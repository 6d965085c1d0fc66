//! What goes wrong with GitHub, and what to do about it.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use super::auth::AuthError;
use crate::{payload::cut, web::WebError};

/// Why GitHub has not done what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// It wants to be left alone for so long.
    #[error("GitHub limits requests: the next one goes out in {} s", .0.as_secs())]
    Later(Duration),
    /// It cannot be reached, or says nothing.
    #[error(transparent)]
    Web(WebError),
    /// It said no.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// Its answer has another shape than its documentation.
    #[error(
        "GitHub's answer to {path} is not understood ({reason}): is `api` the address of a GitHub API?"
    )]
    Shape {
        /// What was asked.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Its answer is about something else, or contradicts itself.
    #[error("GitHub's answer to {path} is not believed: {what}")]
    Lie {
        /// What was asked.
        path: String,
        /// What is wrong.
        what: &'static str,
    },
    /// An app has no token for an account without its installation.
    #[error("it is not known which installation of the app to use: set `installation` in the file")]
    NoInstallation,
    /// Only an app has a hook of its own.
    #[error(
        "the deliveries of an app's hook can only be asked for with the app's key, not a token"
    )]
    NoApp,
    /// What names Rhumb at GitHub is not usable.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

impl ApiError {
    /// How long to wait at least before asking again.
    #[must_use]
    pub const fn wait(&self) -> Option<Duration> {
        match self {
            Self::Later(wait) => Some(*wait),
            _ => None,
        }
    }

    /// The status, if there is one.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Failed(failed) => Some(failed.status),
            _ => None,
        }
    }

    /// A name for metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Later(_) => "limited",
            Self::Web(_) => "unreachable",
            Self::Failed(failed) if failed.status.is_server_error() => "server",
            Self::Failed(_) => "refused",
            Self::Shape { .. } | Self::Lie { .. } => "not_believed",
            Self::NoInstallation | Self::NoApp | Self::Auth(_) => "not_authorised",
        }
    }
}

/// A no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("GitHub answered {path} with {status}: {message}. {}", advice(*.status))]
pub struct Failed {
    /// What was asked.
    pub path: String,
    /// How it was answered.
    pub status: StatusCode,
    /// In GitHub's words, cut.
    pub message: String,
}

impl Failed {
    pub(super) fn of(path: &str, status: StatusCode, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            message: String,
        }
        let said = serde_json::from_slice::<Body>(body).map(|body| body.message);
        let message = cut(said.as_deref().unwrap_or("without a message"));
        Self { path: path.to_owned(), status, message }
    }
}

const fn advice(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "The token or the app's key is not good any more: make a new one",
        403 => {
            "The token or app needs `Self-hosted runners: write` (organisation) or `Administration: write` (repository)"
        }
        404 => "The account does not exist, or the token or app may not see it",
        422 => "GitHub does not take these values: look at labels, runner group and name",
        500.. => "GitHub has trouble: it is tried again",
        _ => "See docs/runners.md",
    }
}
