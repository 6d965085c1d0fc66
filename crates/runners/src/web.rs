//! A thin HTTP/1.1 client, for GitHub's API and for launchers.
//!
//! One connection per request: there are few, and none is kept that a proxy on the way forgot. Deliberately
//! absent: redirects (neither side sends any that should be followed with a secret), retries, proxies.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rhumb_tls::system_authorities;
use rustls::{ClientConfig, crypto::ring};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::limits::{ANSWER_BYTES_MAX, ANSWER_WAIT, CONNECT_WAIT};

/// Why there is no place to ask.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The address is none.
    #[error("`{0}` is no address: write https://HOST or https://HOST:PORT/PATH")]
    Url(String),
    /// Secrets would be readable on their way.
    #[error("`{0}` is not encrypted and not this machine: use https://")]
    Plain(String),
    /// There are no authorities to believe.
    #[error("the authorities in {path} cannot be used: {reason}")]
    Authorities {
        /// Where.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebError {
    /// There is nobody there, or nobody who can be trusted. Nothing was done.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, String),
    /// The connection ended, or nothing came in time. It may have been done.
    #[error("{0} did not answer: {1}")]
    Broken(String, String),
}

/// A place that can be asked.
#[derive(Clone)]
pub struct Place {
    /// Scheme, host and port, for people.
    name: String,
    host: String,
    port: u16,
    authority: HeaderValue,
    /// What stands before every path; without a slash at its end.
    prefix: String,
    tls: Option<Arc<ClientConfig>>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, self.prefix)
    }
}

impl Place {
    /// The place at an address; `authorities` is a file of those to believe instead of the system's.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn new(url: &str, authorities: Option<&Path>) -> Result<Self, PlaceError> {
        let bad = || PlaceError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad()),
        };
        let authority = uri.authority().ok_or_else(bad)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(bad());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if !secure && !is_this_machine(&host) {
            return Err(PlaceError::Plain(url.to_owned()));
        }
        let scheme = if secure { "https" } else { "http" };
        Ok(Self {
            name: format!("{scheme}://{authority}"),
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| bad())?,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            tls: secure.then(|| trust(authorities)).transpose()?,
            host,
        })
    }

    /// Asks for a path below this place, or with `/` for the place itself, and reads the answer to its end.
    ///
    /// # Errors
    /// [`WebError`].
    pub async fn ask(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, WebError> {
        let broken = |reason: String| WebError::Broken(self.name.clone(), reason);
        let unreachable = |reason: String| WebError::Unreachable(self.name.clone(), reason);
        let asked = request.uri().path_and_query().map_or("", |it| it.as_str());
        let below = if asked == "/" && !self.prefix.is_empty() { "" } else { asked };
        let path = format!("{}{below}", self.prefix).parse();
        *request.uri_mut() = path.map_err(|_| unreachable("the path is none".to_owned()))?;
        request.headers_mut().insert(header::HOST, self.authority.clone());
        let stream = timeout(CONNECT_WAIT, self.connect()).await;
        let late = |_| unreachable(format!("no connection within {CONNECT_WAIT:?}"));
        let stream = stream.map_err(late)?.map_err(unreachable)?;
        let answer = timeout(ANSWER_WAIT, converse(stream, request.map(Full::new))).await;
        let late = |_| broken(format!("nothing came within {ANSWER_WAIT:?}"));
        answer.map_err(late)?.map_err(broken)
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, String> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(self.host.clone()).map_err(|error| error.to_string())?;
        let secured = TlsConnector::from(tls.clone()).connect(name, stream).await;
        Ok(Box::new(secured.map_err(|error| error.to_string())?))
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|it| it.to_canonical().is_loopback())
}

fn trust(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, PlaceError> {
    let named = authorities.map(Path::to_owned).or_else(system_authorities);
    let path = named.unwrap_or_else(|| PathBuf::from("/etc/ssl"));
    let refused = |reason: String| PlaceError::Authorities { path: path.clone(), reason };
    let roots = rhumb_tls::authorities(&path).map_err(|error| refused(error.to_string()))?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(error.to_string()))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// A connection, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn converse(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, String> {
    let words = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(words)?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await.map_err(words)?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok(Response::from_parts(head, body))
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        answered = exchange.as_mut() => return answered,
        // The other side may close once it has said all; what it said is then all there is.
        ended = connection.as_mut() => ended.map_err(words)?,
    }
    exchange.await
}

/// Percent-encodes all but the unreserved characters (RFC 3986 section 2.3).
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_leave_the_machine_in_the_clear() {
        assert!(Place::new("http://127.0.0.1:8080/api/v3/", None).is_ok());
        assert!(matches!(Place::new("http://ghe.acme.net", None), Err(PlaceError::Plain(_))));
        for bad in ["", "api.github.com", "ftp://x", "https://user:pass@x", "http://localhost?x=1"]
        {
            assert!(matches!(Place::new(bad, None), Err(PlaceError::Url(_))), "{bad}");
        }
        let nowhere = Path::new("/nowhere/ca.pem");
        let refused = Place::new("https://ghe.acme.net", Some(nowhere));
        assert!(matches!(refused, Err(PlaceError::Authorities { .. })));
    }

    #[test]
    fn parts_of_paths_carry_any_text() {
        assert_eq!(encode("a/b c&ü"), "a%2Fb%20c%26%C3%BC");
    }
}
