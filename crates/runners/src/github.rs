//! GitHub's REST API, as far as runners need it.
//!
//! Every answer is held against what was asked: an answer of another shape, or about something else, is
//! an error that says so, and never believed. Limits are kept to ([`pace`]); a call that would break one
//! is refused here with the time to wait.

mod answer;
mod auth;
mod hooks;
mod jobs;
mod pace;
mod runners;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use rhumb_engine::telemetry::metrics::runners::Runners as Meters;
use rhumb_types::{Timestamp, UnixMillis};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

pub use self::{
    answer::ApiError,
    auth::{Auth, AuthError},
    hooks::{Hook, ListedDelivery},
    jobs::{JobAnswer, ListedJob},
    runners::{Jit, JitRequest, ListedRunner, Removed},
};
use self::{answer::Failed, auth::App, pace::Pace};
use crate::{
    limits::{INSTALLATIONS_MAX, REQUESTS_MAX, TOKEN_MARGIN},
    payload::unix_millis,
    web::{Place, WebError},
};

/// The version of the API that this was written for.
const API_VERSION: &str = "2022-11-28";

/// What the client needs of the world besides the network.
#[derive(Clone)]
pub struct Outside {
    /// Reads the clocks.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Draws sixty-four random bits.
    pub random: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outside")
    }
}

/// GitHub, or a GitHub Enterprise Server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GitHub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    auth: Auth,
    outside: Outside,
    /// Locks, because any task asks; none is held over an await.
    pace: Mutex<Pace>,
    tokens: Mutex<BTreeMap<u64, (Arc<str>, UnixMillis)>>,
    turns: Semaphore,
    meters: Option<Meters>,
}

/// Through whom something is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum As {
    /// The app itself.
    App,
    /// An installation of it; where none is named, the configured one.
    Installation(Option<u64>),
}

impl GitHub {
    /// A client of the API at a place.
    #[must_use]
    pub fn new(place: Place, auth: Auth, outside: Outside) -> Self {
        Self::counting(place, auth, outside, None)
    }

    /// A client whose calls are counted.
    #[must_use]
    pub fn counting(place: Place, auth: Auth, outside: Outside, meters: Option<Meters>) -> Self {
        let (pace, tokens) = (Mutex::default(), Mutex::default());
        let turns = Semaphore::new(REQUESTS_MAX);
        Self { shared: Arc::new(Shared { place, auth, outside, pace, tokens, turns, meters }) }
    }

    /// How long nothing will be asked, because GitHub limits.
    #[must_use]
    pub fn limited(&self) -> Option<Duration> {
        let now = (self.shared.outside.now)().mono;
        self.pace(|pace| pace.wait(now))
    }

    fn pace<T>(&self, with: impl FnOnce(&mut Pace) -> T) -> T {
        with(&mut self.shared.pace.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for JSON of a known shape.
    async fn get<T: DeserializeOwned>(&self, who: As, path: String) -> Result<T, ApiError> {
        self.get_with_headers(who, path).await.map(|(answer, _)| answer)
    }

    async fn get_with_headers<T: DeserializeOwned>(
        &self,
        who: As,
        path: String,
    ) -> Result<(T, HeaderMap), ApiError> {
        let answer = self.ask(who, Method::GET, &path, Bytes::new()).await?;
        let headers = answer.headers().clone();
        Ok((read(&path, answer.status(), StatusCode::OK, answer.body())?, headers))
    }

    /// Asks as somebody; every status is an answer except limits and faults of the server.
    async fn ask(
        &self,
        who: As,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<http::Response<Bytes>, ApiError> {
        let bearer = self.bearer(who).await?;
        self.send(&bearer, method, path, body).await
    }

    async fn bearer(&self, who: As) -> Result<Arc<str>, ApiError> {
        let now = (self.shared.outside.now)().wall;
        match (&self.shared.auth, who) {
            (Auth::Token(_), As::App) => Err(ApiError::NoApp),
            (Auth::Token(token), As::Installation(_)) => Ok(token.clone()),
            (Auth::App(app), As::App) => Ok(app.jwt(now)?.into()),
            (Auth::App(app), As::Installation(named)) => {
                let installation = named.or(app.installation).ok_or(ApiError::NoInstallation)?;
                self.installation_token(app, installation, now).await
            }
        }
    }

    async fn installation_token(
        &self,
        app: &App,
        installation: u64,
        now: UnixMillis,
    ) -> Result<Arc<str>, ApiError> {
        let tokens = || self.shared.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let good = |(_, until): &&(Arc<str>, UnixMillis)| now.saturating_add(TOKEN_MARGIN) < *until;
        if let Some((token, _)) = tokens().get(&installation).filter(good) {
            return Ok(token.clone());
        }
        #[derive(serde::Deserialize)]
        struct Body {
            token: String,
            expires_at: String,
        }
        let path = format!("/app/installations/{installation}/access_tokens");
        let answer = self.send(&app.jwt(now)?, Method::POST, &path, Bytes::new()).await?;
        let body: Body = read(&path, answer.status(), StatusCode::CREATED, answer.body())?;
        let lie = |what| ApiError::Lie { path: path.clone(), what };
        let until =
            unix_millis(&body.expires_at).ok_or_else(|| lie("the token's end is no time"))?;
        let Auth::Token(token) = Auth::token(&body.token)? else {
            return Err(lie("the token is none"));
        };
        let mut kept = tokens();
        if kept.len() >= INSTALLATIONS_MAX {
            kept.clear();
        }
        kept.insert(installation, (token.clone(), until));
        Ok(token)
    }

    async fn send(
        &self,
        bearer: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<http::Response<Bytes>, ApiError> {
        let answer = self.exchange(bearer, method, path, body).await;
        if let Some(meters) = &self.shared.meters {
            meters.called(match &answer {
                Ok(answer) if answer.status().is_success() => "ok",
                Ok(_) => "refused",
                Err(error) => error.name(),
            });
        }
        answer
    }

    async fn exchange(
        &self,
        bearer: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<http::Response<Bytes>, ApiError> {
        let Shared { place, outside, turns, .. } = self.shared.as_ref();
        let _turn = turns.acquire().await.map_err(|_| ApiError::Later(Duration::ZERO))?;
        if let Some(wait) = self.limited() {
            return Err(ApiError::Later(wait));
        }
        let request = request(bearer, method, path, body)?;
        let answer = place.ask(request).await;
        let (now, random) = ((outside.now)(), (outside.random)());
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.pace(|pace| pace.trouble(now, random));
                return Err(error.into());
            }
        };
        let status = answer.status();
        let limited = self.pace(|pace| pace.answered(now, random, status, answer.headers()));
        if let Some(wait) = limited {
            return Err(ApiError::Later(wait));
        }
        if status == StatusCode::UNAUTHORIZED {
            // A token that was taken back is not used again.
            self.shared.tokens.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        if status.is_server_error() {
            return Err(Failed::of(path, status, answer.body()).into());
        }
        Ok(answer)
    }
}

fn request(
    bearer: &str,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Request<Bytes>, ApiError> {
    let bearer = HeaderValue::from_str(&format!("Bearer {bearer}"));
    let mut bearer = bearer.map_err(|_| AuthError::Token)?;
    bearer.set_sensitive(true);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, bearer)
        .header(header::ACCEPT, "application/vnd.github+json")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("rhumb/", env!("CARGO_PKG_VERSION")))
        .header("x-github-api-version", API_VERSION)
        .body(body);
    let what = "the path is none";
    request.map_err(|_| ApiError::Lie { path: path.to_owned(), what })
}

/// The body of an answer with the status that was expected.
fn read<T: DeserializeOwned>(
    path: &str,
    status: StatusCode,
    expected: StatusCode,
    body: &[u8],
) -> Result<T, ApiError> {
    if status != expected {
        return Err(Failed::of(path, status, body).into());
    }
    let shape = |error: serde_json::Error| ApiError::Shape {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    serde_json::from_slice(body).map_err(shape)
}

impl From<WebError> for ApiError {
    fn from(error: WebError) -> Self {
        Self::Web(error)
    }
}
