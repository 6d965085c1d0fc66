//! The HTTP client below the S3 client, with a count of the bytes that leave: a request of many megabytes
//! says how far it is while it is under way.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
        HttpResponse, HttpResponseBody, HttpService,
    },
};

use crate::limits::{ANSWER_TIME_MAX, CONNECT_TIME_MAX, COUNTED_BYTES};

/// Bytes that left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Arc<AtomicU64>);

impl Meter {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A client whose uploads are counted.
#[derive(Clone, Debug)]
pub(crate) struct Metered {
    client: reqwest::Client,
    meter: Meter,
}

impl Metered {
    /// A client that trusts these authorities besides the system's.
    pub(crate) fn new(authority: Option<&[u8]>, meter: Meter) -> reqwest::Result<Self> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("rhumb/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIME_MAX)
            .read_timeout(ANSWER_TIME_MAX)
            .redirect(reqwest::redirect::Policy::none())
            // One connection per request that is under way, each with its own share of the link.
            .http1_only();
        if let Some(pem) = authority {
            for certificate in reqwest::Certificate::from_pem_bundle(pem)? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        Ok(Self { client: builder.build()?, meter })
    }
}

impl HttpConnector for Metered {
    /// The options are those of this client already.
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Metered {
    // What `async_trait` makes of `async fn call(&self, request: HttpRequest)`.
    fn call<'a, 'b>(&'a self, request: HttpRequest) -> Answer<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let address = parts.uri.to_string().parse();
            let address = address.map_err(|error| HttpError::new(HttpErrorKind::Request, error))?;
            let mut sent = reqwest::Request::new(parts.method, address);
            *sent.headers_mut() = parts.headers;
            let left = Meter::default();
            let counted =
                Counted { body, rest: Bytes::new(), meters: [self.meter.clone(), left.clone()] };
            *sent.body_mut() = Some(reqwest::Body::wrap(counted));
            let answer = unless_stalled(self.client.execute(sent), &left, ANSWER_TIME_MAX).await?;
            let answer = answer.map_err(told)?;
            let answer: hyper::Response<reqwest::Body> = answer.into();
            let (parts, body) = answer.into_parts();
            Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body.map_err(told))))
        })
    }
}

fn told(error: reqwest::Error) -> HttpError {
    let kind = if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_decode() {
        HttpErrorKind::Decode
    } else {
        HttpErrorKind::Interrupted
    };
    HttpError::new(kind, error)
}

/// Waits for an answer as long as the request moves.
async fn unless_stalled<T>(
    request: impl Future<Output = T>,
    left: &Meter,
    patience: Duration,
) -> Result<T, HttpError> {
    let mut request = std::pin::pin!(request);
    loop {
        let before = left.bytes();
        match tokio::time::timeout(patience, &mut request).await {
            Ok(answer) => return Ok(answer),
            Err(late) if left.bytes() == before => {
                return Err(HttpError::new(HttpErrorKind::Timeout, late));
            }
            Err(_) => {}
        }
    }
}

/// A body whose bytes are counted as they are taken, a little at a time.
struct Counted {
    body: HttpRequestBody,
    /// What is left of the frame that is being taken.
    rest: Bytes,
    meters: [Meter; 2],
}

impl Counted {
    fn piece(&mut self) -> Frame<Bytes> {
        let piece = self.rest.split_to(self.rest.len().min(COUNTED_BYTES));
        for meter in &self.meters {
            meter.0.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        Frame::data(piece)
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        Poll::Ready(Some(Ok(self.piece())))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, hint) = (self.rest.len() as u64, self.body.size_hint());
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + rest);
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(500);

    #[tokio::test]
    async fn a_request_that_moves_is_waited_for_and_one_that_stalls_is_not() {
        let left = Meter::default();
        let stalled = unless_stalled(pending::<()>(), &left, PATIENCE).await;
        assert_eq!(stalled.unwrap_err().kind(), HttpErrorKind::Timeout);

        let slow = async {
            for _ in 0..12 {
                sleep(PATIENCE / 6).await;
                left.0.fetch_add(1, Ordering::Relaxed);
            }
        };
        assert!(unless_stalled(slow, &left, PATIENCE).await.is_ok());
    }

    #[tokio::test]
    async fn a_body_is_counted_a_little_at_a_time_and_stays_what_it_is() {
        let (whole, meter) = (Bytes::from(vec![7; COUNTED_BYTES * 2 + 1]), Meter::default());
        let meters = [meter.clone(), Meter::default()];
        let mut body = Counted { body: whole.clone().into(), rest: Bytes::new(), meters };
        assert_eq!(body.size_hint().exact(), Some(whole.len() as u64));
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((first.len(), meter.bytes()), (COUNTED_BYTES, COUNTED_BYTES as u64));
        assert_eq!(body.size_hint().exact(), Some(COUNTED_BYTES as u64 + 1));
        let rest = body.collect().await.unwrap().to_bytes();
        assert_eq!((rest, meter.bytes()), (whole.slice(COUNTED_BYTES..), whole.len() as u64));
    }
}
