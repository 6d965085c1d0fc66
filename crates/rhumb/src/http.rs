//! A small HTTP client, for the commands that ask a running node.
//!
//! Connections are kept for a while, because a worker asks again and again. Deliberately absent: retries (a person
//! or a script decides those), redirects (a node sends none), proxies.

mod line;
mod target;
mod trust;
mod visit;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Runtime,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use self::{
    line::{Lines, Said},
    target::{Target, TargetError},
};
pub(crate) use self::{target::local, visit::Visit};
use crate::cli::NodeArgs;

/// How long connecting may take, TLS included.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// How long an answer may take to begin and to end; longer than a node tries an agreement.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why a request had no good answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// Where to ask is not known.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// There is nobody there, or nobody who can be trusted.
    #[error("{url} cannot be reached: {reason}. Does the node run, and is this its address?")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// The connection ended in the middle.
    #[error("{url} did not answer: {reason}. What was asked may have been done")]
    Broken {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// The node said no.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// Something else answers there.
    #[error("{url} is not a node of Rhumb: {what}")]
    Stranger {
        /// Where.
        url: String,
        /// What it answered.
        what: String,
    },
    /// The runtime could not be started.
    #[error("a runtime cannot be started: {0}")]
    Runtime(#[from] std::io::Error),
}

/// A node's no, in its own words (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail} ({code}). {help}")]
pub(crate) struct Problem {
    /// The status.
    pub(crate) status: StatusCode,
    /// The name that programs rely on.
    pub(crate) code: String,
    /// What was wrong.
    pub(crate) detail: String,
    /// What to do.
    pub(crate) help: String,
}

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Ask {
    /// A request of a fixed path.
    pub(crate) fn new(method: Method, path: &str) -> Self {
        Self { method, path: path.to_owned(), headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// A request that reads.
    pub(crate) fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    /// Adds a part to the path.
    pub(crate) fn part(mut self, part: &[u8]) -> Self {
        self.path.push('/');
        encode(part, &mut self.path);
        self
    }

    /// Adds a parameter.
    pub(crate) fn param(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path.push_str(name);
        self.path.push('=');
        encode(value.as_ref(), &mut self.path);
        self
    }

    /// Adds a parameter where there is a value for it.
    pub(crate) fn maybe(self, name: &str, value: Option<impl AsRef<[u8]>>) -> Self {
        match value {
            Some(value) => self.param(name, value),
            None => self,
        }
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sends JSON along.
    pub(crate) fn json(self, body: &Value) -> Self {
        let json = HeaderValue::from_static("application/json");
        self.header(header::CONTENT_TYPE, json).body(body.to_string())
    }

    /// Sends bytes along.
    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// What was answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    headers: HeaderMap,
    /// The body.
    pub(crate) body: Bytes,
}

impl Answer {
    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A node that commands ask, one thing after the other.
pub(crate) struct Http {
    client: Client,
    runtime: Runtime,
}

impl Http {
    /// The node that the arguments, or the configuration, name.
    pub(crate) fn new(args: &NodeArgs) -> Result<Self, HttpError> {
        let client = Client::new(args)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { client, runtime })
    }

    /// Asks, and reads the answer to its end.
    pub(crate) fn send(&self, ask: Ask) -> Result<Answer, HttpError> {
        self.runtime.block_on(self.client.send(ask))
    }

    /// Asks for JSON.
    pub(crate) fn json(&self, ask: Ask) -> Result<Value, HttpError> {
        self.runtime.block_on(self.client.json(ask))
    }
}

/// A node that can be asked, on the runtime of the caller. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Client {
    target: Arc<Target>,
    lines: Arc<Lines>,
}

impl Client {
    /// The node that the arguments, or the configuration, name.
    pub(crate) fn new(args: &NodeArgs) -> Result<Self, HttpError> {
        Ok(Self::to(Target::find(args)?))
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        &self.target.url
    }

    /// The node at an address, without a token.
    pub(crate) fn open(url: &str) -> Result<Self, HttpError> {
        Ok(Self::to(Target::open(url)?))
    }

    fn to(target: Target) -> Self {
        Self { target: Arc::new(target), lines: Arc::default() }
    }

    /// Asks, and reads the answer to its end.
    pub(crate) async fn send(&self, ask: Ask) -> Result<Answer, HttpError> {
        let (answer, status) = self.exchange(ask).await?;
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        Err(self.problem(status, &answer).into())
    }

    /// Asks for JSON.
    pub(crate) async fn json(&self, ask: Ask) -> Result<Value, HttpError> {
        let answer = self.send(ask).await?;
        serde_json::from_slice(&answer.body)
            .map_err(|error| self.stranger(format!("its answer is not JSON: {error}")))
    }

    fn stranger(&self, what: String) -> HttpError {
        HttpError::Stranger { url: self.target.url.clone(), what }
    }

    fn problem(&self, status: StatusCode, answer: &Answer) -> Problem {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let words = status.canonical_reason().unwrap_or("refused").to_lowercase();
        Problem {
            status,
            code: text("code").unwrap_or_else(|| words.clone()),
            detail: text("detail").unwrap_or_else(|| format!("{} says {status}", self.target.url)),
            help: text("help").unwrap_or_default(),
        }
    }

    /// Asks, and reads only how it went.
    async fn status(&self, ask: Ask) -> Result<StatusCode, HttpError> {
        self.converse(ask, None).await.map(|(_, status)| status)
    }

    async fn exchange(&self, ask: Ask) -> Result<(Answer, StatusCode), HttpError> {
        self.converse(ask, Some(ANSWER_BYTES_MAX)).await
    }

    /// Asks, and reads so much of the answer's body, if any of it.
    async fn converse(
        &self,
        ask: Ask,
        body_max: Option<usize>,
    ) -> Result<(Answer, StatusCode), HttpError> {
        let url = || self.target.url.clone();
        let unreachable = |reason: String| HttpError::Unreachable { url: url(), reason };
        let broken = |reason: String| HttpError::Broken { url: url(), reason };
        let late = |wait: Duration| format!("nothing came within {} s", wait.as_secs());
        let mut request = self.request(ask)?;
        while let Some(line) = self.lines.take() {
            let asked = line.ask(request, body_max, &self.lines);
            match timeout(ANSWER_WAIT, asked).await.map_err(|_| broken(late(ANSWER_WAIT)))? {
                Said::Answer(answer, status) => return Ok((answer, status)),
                Said::Broken(reason) => return Err(broken(reason)),
                // The node closed it in the meantime: nothing was asked yet.
                Said::Nothing(unsent, _) => request = unsent,
            }
        }
        let stream = timeout(CONNECT_WAIT, self.connect())
            .await
            .map_err(|_| unreachable(late(CONNECT_WAIT)))?
            .map_err(unreachable)?;
        let asked = async {
            let line = line::Line::over(stream).await.map_err(broken)?;
            match line.ask(request, body_max, &self.lines).await {
                Said::Answer(answer, status) => Ok((answer, status)),
                Said::Broken(reason) => Err(broken(reason)),
                Said::Nothing(_, reason) => Err(unreachable(reason)),
            }
        };
        timeout(ANSWER_WAIT, asked).await.map_err(|_| broken(late(ANSWER_WAIT)))?
    }

    fn request(&self, ask: Ask) -> Result<Request<Full<Bytes>>, HttpError> {
        let mut request = Request::new(Full::new(ask.body));
        *request.method_mut() = ask.method;
        *request.uri_mut() = ask.path.parse().map_err(|_| {
            let what = format!("`{}` cannot be asked for", ask.path);
            HttpError::Stranger { url: self.target.url.clone(), what }
        })?;
        *request.headers_mut() = ask.headers;
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.target.authority.clone());
        if let Some(bearer) = &self.target.bearer {
            headers.insert(header::AUTHORIZATION, bearer.clone());
        }
        Ok(request)
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, String> {
        let Target { host, port, tls, .. } = self.target.as_ref();
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let Some(tls) = tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(host.clone()).map_err(|error| error.to_string())?;
        let secured = TlsConnector::from(tls.clone()).connect(name, stream).await;
        Ok(Box::new(secured.map_err(|error| error.to_string())?))
    }
}

/// A connection, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Percent-encodes all but the unreserved characters (RFC 3986 section 2.3).
fn encode(bytes: &[u8], out: &mut String) {
    use std::fmt::Write;
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_parameters_carry_any_bytes() {
        let ask =
            Ask::get("/v1/kv").part(b"a/b \xff").param("prefix", "x&y=").maybe("n", None::<&str>);
        assert_eq!(ask.path, "/v1/kv/a%2Fb%20%FF?prefix=x%26y%3D");
        let ask = ask.maybe("ttl", Some("1h"));
        assert!(ask.path.ends_with("&ttl=1h"), "{}", ask.path);
    }
}
