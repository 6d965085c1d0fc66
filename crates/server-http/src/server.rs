//! The server: built, listening, reloaded.

use std::{net::SocketAddr, sync::Arc};

use axum::Router;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use rhumb_engine::Engine;
use rhumb_engine::telemetry::metrics::Connections;
use rhumb_front::{Buckets, ConnectionError, Spawner};
use rhumb_tls::{Tls, TlsError};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tower_service::Service;

use crate::{
    api::origins::Origins,
    auth::Door,
    config::{self, HttpConfig, HttpError},
    dispatch::{self, Client},
    limits::{
        ACCEPT_PAUSE, BODIES_KIB_MAX, CONNECTIONS_MAX, FEEDS_MAX, REQUESTS_BURST,
        REQUESTS_PER_SECOND,
    },
    surroundings::Surroundings,
};

/// What is spoken inside TLS.
const PROTOCOLS: &[&str] = &["h2", "http/1.1"];

/// Why certificates were not read anew; the old ones stay in use.
pub type ReloadError = TlsError;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) surroundings: Surroundings,
    pub(crate) door: Door,
    /// Whether a request must carry a token.
    pub(crate) asks: bool,
    pub(crate) tls: Option<Tls>,
    pub(crate) rates: Buckets,
    /// KiB of bodies that may be read at the same time.
    pub(crate) bodies: Semaphore,
    /// Streams of the change feed that may be open.
    pub(crate) feeds: Arc<Semaphore>,
    pub(crate) origins: Origins,
    pub(crate) connections: Connections,
    places: Arc<Semaphore>,
}

/// The HTTP server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpServer {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl HttpServer {
    /// A server that is not listening yet.
    ///
    /// # Errors
    /// [`HttpError`]; above all [`HttpError::Exposed`] for an address that others can reach without
    /// both tokens and TLS.
    pub fn new(
        config: &HttpConfig,
        engine: Engine,
        surroundings: Surroundings,
    ) -> Result<Self, HttpError> {
        config::check(config)?;
        let tls = config.tls.clone().map(|files| Tls::load(files, PROTOCOLS)).transpose()?;
        if !config.auth {
            let address = config.address;
            tracing::warn!(%address, "HTTP asks for no token: everything is allowed to this machine");
        }
        engine.measure(&surroundings.metrics);
        let shared = Shared {
            door: Door::new(config.auth, config.tokens.clone(), surroundings.metrics.clone()),
            asks: config.auth,
            tls,
            rates: Buckets::new(REQUESTS_PER_SECOND, REQUESTS_BURST),
            bodies: Semaphore::new(BODIES_KIB_MAX as usize),
            feeds: Arc::new(Semaphore::new(FEEDS_MAX)),
            origins: Origins::default(),
            connections: surroundings.metrics.connections("http"),
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            engine,
            surroundings,
        };
        Ok(Self { shared: Arc::new(shared), address: config.address })
    }

    /// Takes connections until the engine's tasks are stopped; says on which address. The server
    /// opens the configured address itself, so that it serves on no other.
    ///
    /// # Errors
    /// [`HttpError::Listen`].
    pub async fn listen(&self) -> Result<SocketAddr, HttpError> {
        let failed = |source| HttpError::Listen { address: self.address, source };
        let listener = TcpListener::bind(self.address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let (shared, router) = (self.shared.clone(), dispatch::router(&self.shared));
        self.shared.engine.tasks().spawn_until_stopped(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, client)) => accept(&shared, &router, stream, client),
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

    /// Reads the certificate anew, for connections from now on.
    ///
    /// # Errors
    /// [`ReloadError`]; the old certificate stays in use.
    pub fn reload(&self) -> Result<(), ReloadError> {
        self.shared.tls.as_ref().map_or(Ok(()), Tls::reload)
    }
}

fn accept(shared: &Arc<Shared>, router: &Router, stream: TcpStream, client: SocketAddr) {
    let Ok(place) = shared.places.clone().try_acquire_owned() else {
        shared.connections.refused.inc();
        tracing::warn!(%client, most = CONNECTIONS_MAX, "turned away: too many connections");
        return;
    };
    let (shared, router) = (shared.clone(), router.clone());
    shared.connections.accepted.inc();
    let tasks = shared.engine.tasks().clone();
    tasks.spawn(async move {
        shared.connections.open.inc();
        if let Err(error) = serve_one(&shared, router, stream, client).await {
            tracing::debug!(%client, %error, "a connection ended");
        }
        shared.connections.open.dec();
        drop(place);
    });
}

async fn serve_one(
    shared: &Shared,
    router: Router,
    stream: TcpStream,
    client: SocketAddr,
) -> Result<(), ConnectionError> {
    let tasks = shared.engine.tasks();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Client(client));
        router.clone().call(request)
    });
    let group = tasks.clone();
    let spawner = Spawner::new(move |task| group.spawn(task));
    rhumb_front::serve(stream, shared.tls.as_ref(), service, spawner, tasks.stopping()).await
}
