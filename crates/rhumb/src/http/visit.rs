//! One request to any address, of whose answer only the status counts.

use std::sync::Arc;

use http::{Method, StatusCode, Uri};

use super::{
    Ask, Client, HttpError,
    target::{Target, TargetError},
    trust::{self, Trust},
};

/// An address that can be asked again and again.
#[derive(Clone)]
pub(crate) struct Visit {
    client: Client,
    path: String,
}

impl Visit {
    /// The address, with the system's authorities where it is encrypted.
    pub(crate) fn to(url: &str) -> Result<Self, TargetError> {
        let wrong = || TargetError::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let secure = uri.scheme_str() == Some("https");
        let host = uri.host().ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tls = secure.then(|| trust::config(&Trust::System, None)).transpose()?;
        let target = Arc::new(Target { tls, ..Target::at(host, port, secure, None)? });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { client: Client { target, lines: Arc::default() }, path })
    }

    /// Reads from it.
    pub(crate) async fn get(&self) -> Result<StatusCode, HttpError> {
        self.client.status(Ask::new(Method::GET, &self.path)).await
    }

    /// Posts JSON to it.
    pub(crate) async fn post(&self, body: &serde_json::Value) -> Result<StatusCode, HttpError> {
        self.client.status(Ask::new(Method::POST, &self.path).json(body)).await
    }
}
