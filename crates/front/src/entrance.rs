//! Where clients come in: one address, so many places, and a count of who is inside.

use std::{
    convert::Infallible, error::Error, fmt, future::Future, net::SocketAddr, pin::Pin, sync::Arc,
};

use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    service::{Service, service_fn},
};
use rhumb_telemetry::metrics::Connections;
use rhumb_tls::{Tls, TlsError};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};

use crate::{Listener, ListenerError, connection::Spawner, limits::ACCEPT_PAUSE, serve};

type BoxTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The node's tasks, as far as an entrance needs them: what runs a task, and what resolves when all of
/// them are asked to stop.
#[derive(Clone)]
pub struct Group {
    spawner: Spawner,
    stopping: Arc<dyn Fn() -> BoxTask + Send + Sync>,
}

impl Group {
    /// Of tasks, with a function that gives them one more, and one that makes what resolves at their stop.
    pub fn new<T, F>(
        tasks: T,
        spawn: impl Fn(&T, BoxTask) + Send + Sync + 'static,
        stopping: impl Fn(T) -> F + Send + Sync + 'static,
    ) -> Self
    where
        T: Clone + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let watched = tasks.clone();
        let stopping = Arc::new(move || -> BoxTask { Box::pin(stopping(watched.clone())) });
        Self { spawner: Spawner::new(move |task| spawn(&tasks, task)), stopping }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Group(..)")
    }
}

/// What is inside a server's address: its certificate, its places and its tasks. Cheap to clone.
///
/// Who finds no place is turned away before the handshake, and counted.
#[derive(Clone, Debug)]
pub struct Entrance {
    inside: Arc<Inside>,
}

#[derive(Debug)]
struct Inside {
    address: SocketAddr,
    tls: Option<Tls>,
    places: Arc<Semaphore>,
    most: usize,
    connections: Connections,
    group: Group,
}

impl Entrance {
    /// An entrance with so many places that nobody has come through yet. `protocol` is how the operator
    /// knows what is spoken inside.
    ///
    /// # Errors
    /// [`ListenerError`]; above all [`ListenerError::Exposed`] for an address that others can reach
    /// without both proofs and TLS.
    pub fn new(
        listener: &Listener,
        protocol: &'static str,
        most: usize,
        connections: Connections,
        group: Group,
    ) -> Result<Self, ListenerError> {
        let (address, tls) = (listener.address, listener.prepare(protocol)?);
        let places = Arc::new(Semaphore::new(most));
        Ok(Self { inside: Arc::new(Inside { address, tls, places, most, connections, group }) })
    }

    /// Whether clients speak TLS here.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.inside.tls.is_some()
    }

    /// Takes connections until the group is asked to stop; says on which address. Each is served by what
    /// `service` makes for the client's address. The entrance opens the address itself, so that nothing
    /// is served on another than the one that was looked at.
    ///
    /// # Errors
    /// [`ListenerError::Listen`].
    pub async fn open<S, B>(
        &self,
        service: impl Fn(SocketAddr) -> S + Send + 'static,
    ) -> Result<SocketAddr, ListenerError>
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let address = self.inside.address;
        let failed = |source| ListenerError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let own = self.clone();
        self.spawn(async move {
            let mut stopping = (own.inside.group.stopping)();
            loop {
                let accepted = tokio::select! {
                    () = &mut stopping => return,
                    accepted = listener.accept() => accepted,
                };
                match accepted {
                    Ok((stream, client)) => own.admit(stream, client, service(client)),
                    Err(error) => {
                        // Out of file descriptors, or the client has gone already.
                        tracing::warn!(%error, "a connection was not accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        });
        Ok(bound)
    }

    /// As [`Entrance::open`], where one function answers every request of every client.
    ///
    /// # Errors
    /// [`ListenerError::Listen`].
    pub async fn answer<F, B>(
        &self,
        answer: impl Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
    ) -> Result<SocketAddr, ListenerError>
    where
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let service = move |client| {
            let answer = answer.clone();
            service_fn(move |request| {
                let answered = answer(request, client);
                async move { Ok::<_, Infallible>(answered.await) }
            })
        };
        self.open(service).await
    }

    /// Reads the certificate anew, for connections from now on.
    ///
    /// # Errors
    /// [`TlsError`]; the old certificate stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.inside.tls.as_ref().map_or(Ok(()), Tls::reload)
    }

    fn admit<S, B>(&self, stream: TcpStream, client: SocketAddr, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Inside { places, most, connections, .. } = self.inside.as_ref();
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            connections.refused.inc();
            tracing::warn!(%client, most, "turned away: too many connections");
            return;
        };
        connections.accepted.inc();
        connections.open.inc();
        let own = self.clone();
        self.spawn(async move {
            let Inside { tls, connections, group, .. } = own.inside.as_ref();
            let (spawner, stopping) = (group.spawner.clone(), (group.stopping)());
            if let Err(error) = serve(stream, tls.as_ref(), service, spawner, stopping).await {
                tracing::debug!(%client, %error, "a connection ended");
            }
            connections.open.dec();
            drop(place);
        });
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inside.group.spawner.spawn(Box::pin(task));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::Full;
    use hyper::body::Bytes;
    use rhumb_telemetry::Metrics;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::watch,
        time::timeout,
    };

    use super::*;

    /// A server with two places that says who asks, and what stops it.
    #[expect(
        clippy::disallowed_methods,
        reason = "there is no engine here whose group it could be"
    )]
    async fn open() -> (SocketAddr, Connections, watch::Sender<bool>) {
        let metrics = Metrics::new("0", &"here".parse().unwrap());
        let connections = metrics.connections("test");
        let (stop, stopped) = watch::channel(false);
        let group = Group::new(
            stopped,
            |_, task| drop(tokio::spawn(task)),
            |mut stopped| async move {
                let _gone = stopped.wait_for(|stopped| *stopped).await;
            },
        );
        let listener = Listener::open(([127, 0, 0, 1], 0).into());
        let entrance = Entrance::new(&listener, "test", 2, connections.clone(), group).unwrap();
        let answer = |_, client: SocketAddr| async move {
            Response::new(Full::new(Bytes::from(client.to_string())))
        };
        let address = entrance.answer(answer).await.unwrap();
        (address, connections, stop)
    }

    /// Asks once; says what came, which is nothing for somebody who was turned away.
    async fn ask(stream: &mut TcpStream) -> String {
        let _reset = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let mut answer = [0; 512];
        let read = timeout(Duration::from_secs(10), stream.read(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer[..read.unwrap_or_default()]).into_owned()
    }

    #[tokio::test]
    async fn who_finds_no_place_is_turned_away_and_a_place_is_free_again_after_its_client() {
        let (address, connections, _stop) = open().await;
        let mut clients = Vec::new();
        for _ in 0..2 {
            let mut client = TcpStream::connect(address).await.unwrap();
            let own = client.local_addr().unwrap().to_string();
            assert!(ask(&mut client).await.ends_with(&own));
            clients.push(client);
        }
        let mut third = TcpStream::connect(address).await.unwrap();
        assert_eq!(ask(&mut third).await, "");
        assert_eq!((connections.open.get(), connections.refused.get()), (2, 1));
        clients.pop();
        timeout(Duration::from_secs(10), async {
            while connections.open.get() > 1 {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .unwrap();
        let mut third = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut third).await.starts_with("HTTP/1.1 200"));
        assert_eq!((connections.open.get(), connections.accepted.get()), (2, 3));
    }

    #[tokio::test]
    async fn after_a_stop_nobody_comes_in_and_idle_connections_end() {
        let (address, connections, stop) = open().await;
        let mut client = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut client).await.starts_with("HTTP/1.1 200"));
        stop.send(true).unwrap();
        let mut rest = Vec::new();
        timeout(Duration::from_secs(10), client.read_to_end(&mut rest)).await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "it listens no more");
        assert_eq!(connections.open.get(), 0);
    }
}
