//! A connection to a node, kept between requests.
//!
//! A kept connection is driven only while it is asked, so that nothing runs beside the caller. It is not
//! used again after [`IDLE_MAX`]: a node closes one that lies still for 30 s.

use std::{
    fmt,
    pin::{Pin, pin},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::{Answer, Stream};

/// How long a connection is kept that nobody uses.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// Connections that are kept.
const LINES_MAX: usize = 8;

/// Connections that nobody uses now. A lock, because a client is shared; it is held for a few
/// instructions.
#[derive(Default)]
pub(super) struct Lines(Mutex<Vec<Line>>);

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines(..)")
    }
}

impl Lines {
    /// The one that was used last, unless that is long ago.
    pub(super) fn take(&self) -> Option<Line> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|line| line.used.elapsed() < IDLE_MAX);
        lines.pop()
    }

    fn keep(&self, line: Line) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < LINES_MAX {
            lines.push(line);
        }
    }
}

/// What came of a request.
pub(super) enum Said {
    Answer(Answer, StatusCode),
    /// It was not sent, and why.
    Nothing(Request<Full<Bytes>>, String),
    /// It may have been done.
    Broken(String),
}

/// What moves the bytes of a connection.
type Driven = Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// A connection.
pub(super) struct Line {
    sender: SendRequest<Full<Bytes>>,
    connection: Pin<Box<Driven>>,
    used: Instant,
}

impl Line {
    pub(super) async fn over(stream: Box<dyn Stream>) -> Result<Self, String> {
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| error.to_string())?;
        Ok(Self { sender, connection: Box::pin(connection), used: Instant::now() })
    }

    /// Asks, and reads so much of the answer's body; a connection whose answer was read to its end is
    /// kept.
    pub(super) async fn ask(
        self,
        request: Request<Full<Bytes>>,
        body_max: Option<usize>,
        kept: &Lines,
    ) -> Said {
        let Self { mut sender, mut connection, .. } = self;
        let exchange = async {
            let said = exchange(&mut sender, request, body_max).await;
            (said, sender)
        };
        let mut exchange = pin!(exchange);
        let (said, sender) = tokio::select! {
            biased;
            done = exchange.as_mut() => done,
            // The other side may close once it has said all; what it said is then all there is.
            _ended = connection.as_mut() => {
                return exchange.await.0;
            }
        };
        if body_max.is_some() && matches!(said, Said::Answer(..)) {
            kept.keep(Self { sender, connection, used: Instant::now() });
        }
        said
    }
}

async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
    body_max: Option<usize>,
) -> Said {
    if let Err(error) = sender.ready().await {
        return Said::Nothing(request, error.to_string());
    }
    let response = match sender.try_send_request(request).await {
        Ok(response) => response,
        Err(mut error) => {
            return match error.take_message() {
                Some(request) => Said::Nothing(request, error.into_error().to_string()),
                None => Said::Broken(error.into_error().to_string()),
            };
        }
    };
    let (head, body) = response.into_parts();
    let body = match body_max {
        None => Bytes::new(),
        Some(most) => match Limited::new(body, most).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return Said::Broken(error.to_string()),
        },
    };
    Said::Answer(Answer { headers: head.headers, body }, head.status)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        task::LocalSet,
    };

    use super::super::{Ask, Client, HttpError};

    /// A node that answers so many requests on each connection, and says in every answer the how-manieth
    /// connection it is.
    async fn node(per_connection: usize) -> SocketAddr {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            for nth in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                answer(stream, per_connection, nth).await;
            }
        });
        address
    }

    async fn answer(mut stream: TcpStream, times: usize, nth: u32) {
        let mut head = [0; 4_096];
        for _ in 0..times {
            if stream.read(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
            let body = nth.to_string();
            let length = body.len();
            let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    }

    async fn asked(client: &Client) -> Result<String, HttpError> {
        let answer = client.send(Ask::get("/v1/status")).await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    #[tokio::test]
    async fn a_connection_is_used_again_and_a_closed_one_is_replaced_before_anything_is_asked() {
        LocalSet::new()
            .run_until(async {
                let client = Client::open(&format!("http://{}", node(3).await)).unwrap();
                for expected in ["1", "1", "1", "2", "2", "2", "3"] {
                    assert_eq!(asked(&client).await.unwrap(), expected);
                    // The end of the third answer and that of the connection are two packets.
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            })
            .await;
    }

    #[tokio::test]
    async fn nobody_there_is_an_error() {
        let client = Client::open("http://127.0.0.1:1").unwrap();
        assert!(matches!(asked(&client).await, Err(HttpError::Unreachable { .. })));
    }
}
