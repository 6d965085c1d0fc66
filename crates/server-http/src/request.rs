//! A request on its way to its handler.

use std::{net::SocketAddr, sync::Arc};

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri, header};
use rhumb_engine::{AdminClient, Engine};
use rhumb_types::{ErrorCode, record::VersionVector};
use serde::Deserialize;

use crate::{
    auth::Principal,
    params::{Params, percent_decode},
    problem::Problem,
    routes::Route,
    server::Shared,
    session::{self, SESSION_HEADER},
};

/// What a handler answers.
pub(crate) type Outcome = Result<Response, Problem>;

/// An authenticated request, read to its end.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) route: &'static Route,
    pub(crate) principal: Principal,
    pub(crate) client: SocketAddr,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    /// The engine.
    pub(crate) fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// The administrative group.
    pub(crate) fn admin(&self) -> Result<&AdminClient, Problem> {
        let away = "the control plane of this node has not started";
        self.engine().admin().ok_or_else(|| Problem::new(ErrorCode::Unavailable, away))
    }

    /// The query.
    pub(crate) fn params(&self) -> Result<Params, Problem> {
        Params::of(&self.uri)
    }

    /// The bytes of a named part of the path; of a part named with `*`, all that follows.
    pub(crate) fn part(&self, name: &str) -> Result<Bytes, Problem> {
        let mut path = self.uri.path();
        for template in self.route.path.split('/') {
            if template.strip_prefix("{*").is_some() {
                return percent_decode(path);
            }
            let (part, rest) = path.split_once('/').unwrap_or((path, ""));
            if template.strip_prefix('{').and_then(|t| t.strip_suffix('}')) == Some(name) {
                return percent_decode(part);
            }
            path = rest;
        }
        Err(Problem::invalid(format!("the path has no part `{name}`")))
    }

    /// A named part of the path as something that texts can be read as.
    pub(crate) fn read_part<T>(
        &self,
        name: &str,
        what: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Problem> {
        let bytes = self.part(name)?;
        let value = std::str::from_utf8(&bytes).ok().and_then(read);
        value.ok_or_else(|| {
            Problem::invalid(format!("`{}` in the path is not {what}", bytes.escape_ascii()))
        })
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Result<Option<&str>, Problem> {
        let Some(value) = self.headers.get(name) else { return Ok(None) };
        let text = value.to_str().map(Some);
        text.map_err(|_| Problem::invalid(format!("the header `{name}` is not plain text")))
    }

    /// Whether the client names a content type among those that it takes.
    pub(crate) fn accepts(&self, content_type: &str) -> Result<bool, Problem> {
        let accept = self.header(header::ACCEPT.as_str())?.unwrap_or_default();
        let named = |part: &str| part.split(';').next().unwrap_or_default().trim().to_owned();
        Ok(accept.split(',').any(|part| named(part).eq_ignore_ascii_case(content_type)))
    }

    /// What the client's session has written and seen, if it says so.
    pub(crate) fn session(&self) -> Result<Option<VersionVector>, Problem> {
        let Some(text) = self.header(SESSION_HEADER)? else { return Ok(None) };
        session::decode("the header `rhumb-session`", text.as_bytes()).map(Some)
    }

    /// The body as JSON of a known shape.
    pub(crate) fn json<'c, T: Deserialize<'c>>(&'c self) -> Result<T, Problem> {
        serde_json::from_slice(self.json_text()?).map_err(|error| unexpected(&error))
    }

    /// The body, which says that it is JSON.
    pub(crate) fn json_text(&self) -> Result<&[u8], Problem> {
        let sent = self.header(header::CONTENT_TYPE.as_str())?.unwrap_or_default();
        let kind = sent.split(';').next().unwrap_or_default().trim();
        // Asked for in earnest: a browser sends other kinds to other sites without asking first.
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(Problem::http(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                format!("the body is `{}`, not JSON", kind.escape_default()),
                "Send JSON, with `content-type: application/json`.",
            ));
        }
        Ok(&self.body)
    }
}

/// JSON that is not of the shape that was expected.
pub(crate) fn unexpected(error: &serde_json::Error) -> Problem {
    Problem::invalid(format!("the body is not as expected: {error}"))
}
