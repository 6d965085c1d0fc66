//! One connection: the handshake, HTTP/1.1 or HTTP/2, and its end.

use std::{
    error::Error,
    fmt,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderValue, Request, Response, Version, header};
use hyper::{
    body::{Body, Incoming},
    rt::Executor,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use rhumb_tls::Tls;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep, timeout},
};

use crate::limits::{
    DRAIN_WAIT_MAX, HANDSHAKE_WAIT_MAX, HEAD_BYTES_MAX, HEAD_WAIT_MAX, HEADER_LIST_BYTES_MAX,
    HEADERS_MAX, PING_INTERVAL, STREAMS_PER_CONNECTION_MAX, WRITE_WAIT_MAX,
};

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The client did not shake hands in time.
    #[error("the handshake took too long")]
    Late,
    /// The handshake failed.
    #[error("the handshake failed: {0}")]
    Handshake(#[source] io::Error),
    /// The socket failed.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// What was said is not HTTP, or nothing was said for too long.
    #[error("{0}")]
    Http(Box<dyn std::error::Error + Send + Sync>),
}

/// How the tasks of a connection run: in the node's group, so that shutdown waits for them.
#[derive(Clone)]
pub struct Spawner(Arc<dyn Fn(BoxTask) + Send + Sync>);

type BoxTask = Pin<Box<dyn Future<Output = ()> + Send>>;

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spawner(..)")
    }
}

impl Spawner {
    /// Tasks are given to a function.
    pub fn new(spawn: impl Fn(BoxTask) + Send + Sync + 'static) -> Self {
        Self(Arc::new(spawn))
    }

    pub(crate) fn spawn(&self, task: BoxTask) {
        (self.0)(task);
    }
}

impl<F> Executor<F> for Spawner
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, work: F) {
        (self.0)(Box::pin(async move {
            let _nothing = work.await;
        }));
    }
}

/// Serves a connection to its end. Once `stopping` resolves, requests in flight have a while to end.
///
/// # Errors
/// [`ConnectionError`].
pub async fn serve<S, B>(
    stream: TcpStream,
    tls: Option<&Tls>,
    service: S,
    spawner: Spawner,
    stopping: impl Future<Output = ()>,
) -> Result<(), ConnectionError>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        return speak(stream, service, builder(spawner, false), stopping).await;
    };
    let handshake = timeout(HANDSHAKE_WAIT_MAX, tls.acceptor().accept(stream));
    let stream = handshake.await.map_err(|_| ConnectionError::Late)?;
    let stream = stream.map_err(ConnectionError::Handshake)?;
    let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    speak(stream, service, builder(spawner, two), stopping).await
}

async fn speak<S, B>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: S,
    builder: Builder<Spawner>,
    stopping: impl Future<Output = ()>,
) -> Result<(), ConnectionError>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let stream = TokioIo::new(Patient::new(stream));
    // A body that is refused before its client had leave to send it is never read, and the connection
    // ends. Unless that is said, the client's next request goes into it and is lost. A body without bytes
    // is given no leave either, and there are clients, the AWS command line among them, that take the
    // status of an answer without leave for that of the connection's next answer.
    let service = service_fn(move |request: Request<Incoming>| {
        let (waits, empty) = (waits_for_leave(&request), request.body().is_end_stream());
        let answer = service.call(request);
        async move {
            let mut response = answer.await?;
            if waits && (empty || !response.status().is_success()) {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, S::Error>(response)
        }
    });
    let mut connection = pin!(builder.serve_connection(stream, service));
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(ConnectionError::Http),
        () = stopping => {}
    }
    connection.as_mut().graceful_shutdown();
    // What has not ended by then is cut off.
    timeout(DRAIN_WAIT_MAX, connection).await.unwrap_or(Ok(())).map_err(ConnectionError::Http)
}

/// Whether a client sends its body only once it is asked to (RFC 9110, 10.1.1). Streams of HTTP/2 end one
/// by one.
fn waits_for_leave(request: &Request<Incoming>) -> bool {
    request.version() == Version::HTTP_11 && request.headers().contains_key(header::EXPECT)
}

/// HTTP/2 where the handshake agreed on it, else HTTP/1.1. Which one is never guessed from the first
/// bytes: a client that sends none would hold its place for ever.
fn builder(spawner: Spawner, two: bool) -> Builder<Spawner> {
    let mut builder = Builder::new(spawner);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL);
    if two { builder.http2_only() } else { builder.http1_only() }
}

/// A stream that gives up on a peer that leaves what is sent to it unread, or on which nothing
/// moves at all.
#[derive(Debug)]
struct Patient<S> {
    stream: S,
    /// Runs out when nothing has been read or written for a while.
    idle: Pin<Box<Sleep>>,
    /// Runs out when a write has waited for a while.
    stuck: Pin<Box<Sleep>>,
    writing: bool,
}

impl<S> Patient<S> {
    fn new(stream: S) -> Self {
        let clock = || Box::pin(sleep(WRITE_WAIT_MAX));
        Self { stream, idle: clock(), stuck: clock(), writing: false }
    }

    fn moved(&mut self) {
        self.idle.as_mut().reset(Instant::now() + WRITE_WAIT_MAX);
    }

    /// The outcome of a write; an error when it has waited too long.
    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.writing = false;
            self.moved();
            return outcome;
        }
        if !self.writing {
            self.writing = true;
            self.stuck.as_mut().reset(Instant::now() + WRITE_WAIT_MAX);
        }
        ready!(self.stuck.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(outcome) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            this.moved();
            return Poll::Ready(outcome);
        }
        ready!(this.idle.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.written(context, outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.written(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_flush(context);
        if outcome.is_ready() && !this.writing {
            // A flush of nothing is no movement.
            return outcome;
        }
        this.written(context, outcome)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_shutdown(context);
        this.written(context, outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::StatusCode;
    use http_body_util::Empty;
    use hyper::body::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const PART: std::time::Duration = std::time::Duration::from_secs(40);

    /// Refuses what it is asked at `/refused`, without a look at the body.
    async fn answer(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
        let mut response = Response::new(Empty::new());
        if request.uri().path() == "/refused" {
            *response.status_mut() = StatusCode::FORBIDDEN;
        }
        Ok(response)
    }

    /// What comes back of a request until the line is silent or ends, and whether it ended.
    async fn ask(head: &str) -> (String, bool) {
        let (near, mut far) = duplex(1 << 10);
        let one = builder(Spawner::new(|_| ()), false);
        let speaking = speak(near, service_fn(answer), one, std::future::pending());
        let client = async {
            far.write_all(head.as_bytes()).await.unwrap();
            let (mut heard, mut part) = (Vec::new(), [0; 256]);
            loop {
                match timeout(PART, far.read(&mut part)).await {
                    Ok(Ok(count)) if count > 0 => heard.extend_from_slice(&part[..count]),
                    Ok(_) => return (String::from_utf8(heard).unwrap(), true),
                    Err(_) => return (String::from_utf8(heard).unwrap(), false),
                }
            }
        };
        tokio::select! {
            heard = client => heard,
            _ = async { let _ended = speaking.await; std::future::pending::<()>().await } => {
                unreachable!("the client ends")
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_leave_and_gets_none_is_told_that_the_line_ends() {
        let expect = "host: x\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";
        let (heard, ended) = ask(&format!("PUT /refused HTTP/1.1\r\n{expect}")).await;
        assert!(heard.starts_with("HTTP/1.1 403"), "{heard}");
        assert!(heard.contains("connection: close\r\n") && ended, "{heard}");
        let empty = expect.replace("length: 5", "length: 0");
        let (heard, ended) = ask(&format!("PUT / HTTP/1.1\r\n{empty}")).await;
        assert!(heard.starts_with("HTTP/1.1 200") && heard.contains("connection: close\r\n"));
        assert!(ended, "{heard}");
        let (heard, _) = ask("GET /refused HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(heard.starts_with("HTTP/1.1 403") && !heard.contains("close"), "{heard}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_on_which_nothing_moves_is_given_up() {
        let (near, mut far) = duplex(64);
        let mut near = Patient::new(near);
        let mut byte = [0];
        for _ in 0..3 {
            sleep(PART).await;
            far.write_all(b"x").await.unwrap();
            near.read_exact(&mut byte).await.unwrap();
        }
        let began = Instant::now();
        let error = near.read_exact(&mut byte).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), WRITE_WAIT_MAX.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn writing_keeps_a_silent_reader_alive_until_it_stops_reading() {
        let (near, mut far) = duplex(64);
        let mut near = Patient::new(near);
        let mut bytes = [0; 64];
        for _ in 0..3 {
            let mut byte = [0];
            let silence = timeout(PART, near.read_exact(&mut byte)).await;
            assert!(silence.is_err(), "still open");
            near.write_all(b":").await.unwrap();
            far.read_exact(&mut byte).await.unwrap();
        }
        // The buffer between takes one part; the next waits for a reader that does not come.
        near.write_all(&[0; 64]).await.unwrap();
        let began = Instant::now();
        let error = near.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), WRITE_WAIT_MAX.as_secs());
        far.read_exact(&mut bytes).await.unwrap();
    }
}
