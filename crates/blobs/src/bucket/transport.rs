//! HTTP for the object store client: hyper with rustls, as everything else here has it.
//!
//! A request has a time-out for all of it, its answer is read whole within a bound, and an answer
//! that only says that the server cannot now counts as none. All that is asked of a bucket here can
//! be asked twice, so every such failure may be tried again.

use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector as TcpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
        HttpResponse, HttpResponseBody, HttpService,
    },
};
use rhumb_ports::blobs::BLOB_BYTES_MAX;
use rustls::ClientConfig;
use tokio::time::timeout;

/// Longest answer, in bytes: a blob with what is before it, or a page of a list.
const ANSWER_BYTES_MAX: usize = 20 << 20;
const _: () = assert!(ANSWER_BYTES_MAX as u64 >= BLOB_BYTES_MAX + (4 << 20));
/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection without a request is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Most connections without a request per host.
const IDLE_MAX: usize = 64;
/// The status of AWS, among others, for a request too many; not in every list of such codes.
const TOO_MANY_REQUESTS: u16 = 429;
const REQUEST_TIMEOUT: u16 = 408;
const NOT_IMPLEMENTED: u16 = 501;

/// Makes clients that share the settings.
#[derive(Debug, Clone)]
pub(super) struct Transport {
    pub(super) tls: ClientConfig,
    /// Longest time of one request with its answer.
    pub(super) attempt: Duration,
}

impl HttpConnector for Transport {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(self.tls.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .build(https);
        Ok(HttpClient::new(Sender { client, attempt: self.attempt }))
    }
}

#[derive(Debug)]
struct Sender {
    client: Client<HttpsConnector<TcpConnector>, HttpRequestBody>,
    attempt: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("{0}")]
    Lost(#[from] hyper_util::client::legacy::Error),
    #[error("the answer broke off: {0}")]
    Cut(Box<dyn std::error::Error + Send + Sync>),
    #[error("it answered {status}: {body}")]
    NotNow { status: u16, body: String },
}

/// Most characters of an answer that an error repeats.
const SAID_MAX: usize = 300;

impl From<NoAnswer> for HttpError {
    fn from(error: NoAnswer) -> Self {
        Self::new(HttpErrorKind::Request, error)
    }
}

impl Sender {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, NoAnswer> {
        let answer = self.client.request(request).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(NoAnswer::Cut)?;
        let body = body.to_bytes();
        let status = head.status.as_u16();
        let is_passing = head.status.is_server_error() && status != NOT_IMPLEMENTED;
        if is_passing || status == TOO_MANY_REQUESTS || status == REQUEST_TIMEOUT {
            let body = String::from_utf8_lossy(&body).chars().take(SAID_MAX).collect();
            return Err(NoAnswer::NotNow { status, body });
        }
        let body = HttpResponseBody::new(Full::new(body).map_err(|never| match never {}));
        Ok(HttpResponse::from_parts(head, body))
    }
}

#[async_trait]
impl HttpService for Sender {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let sent = timeout(self.attempt, self.send(request)).await;
        Ok(sent.map_err(|_| NoAnswer::Late(self.attempt))??)
    }
}
