//! The server: built, listening, reloaded.

use std::{net::SocketAddr, sync::Arc};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use rhumb_engine::{Engine, Tasks};
use rhumb_front::{Buckets, Entrance, Group, ListenerError};
use rhumb_tls::TlsError;
use tokio::sync::Semaphore;
use tower_service::Service;

use crate::{
    api::origins::Origins,
    auth::Door,
    config::{self, HttpConfig, HttpError},
    dispatch::{self, Client},
    limits::{BODIES_KIB_MAX, CONNECTIONS_MAX, FEEDS_MAX, REQUESTS_BURST, REQUESTS_PER_SECOND},
    surroundings::Surroundings,
};

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
    /// Whether clients speak TLS.
    pub(crate) encrypted: bool,
    pub(crate) rates: Buckets,
    /// KiB of bodies that may be read at the same time.
    pub(crate) bodies: Semaphore,
    /// Streams of the change feed that may be open.
    pub(crate) feeds: Arc<Semaphore>,
    pub(crate) origins: Origins,
}

/// The HTTP server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpServer {
    shared: Arc<Shared>,
    entrance: Entrance,
}

impl HttpServer {
    /// A server that is not listening yet.
    ///
    /// # Errors
    /// [`HttpError`]; above all [`ListenerError::Exposed`] for an address that others can reach without
    /// both tokens and TLS.
    pub fn new(
        config: &HttpConfig,
        engine: Engine,
        surroundings: Surroundings,
    ) -> Result<Self, HttpError> {
        config::check(&config.tokens)?;
        engine.measure(&surroundings.metrics);
        let group = Group::new(engine.tasks().clone(), Tasks::spawn, Tasks::until_stopping);
        let connections = surroundings.metrics.connections("http");
        let entrance =
            Entrance::new(&config.listener, "HTTP", CONNECTIONS_MAX, connections, group)?;
        let shared = Shared {
            door: Door::new(
                config.listener.auth,
                config.tokens.clone(),
                surroundings.metrics.clone(),
            ),
            asks: config.listener.auth,
            encrypted: entrance.is_encrypted(),
            rates: Buckets::new(REQUESTS_PER_SECOND, REQUESTS_BURST),
            bodies: Semaphore::new(BODIES_KIB_MAX as usize),
            feeds: Arc::new(Semaphore::new(FEEDS_MAX)),
            origins: Origins::default(),
            engine,
            surroundings,
        };
        Ok(Self { shared: Arc::new(shared), entrance })
    }

    /// Takes connections until the engine's tasks are stopped; says on which address.
    ///
    /// # Errors
    /// [`ListenerError::Listen`].
    pub async fn listen(&self) -> Result<SocketAddr, ListenerError> {
        let router = dispatch::router(&self.shared);
        let service = move |client| {
            let router = router.clone();
            service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(Client(client));
                router.clone().call(request)
            })
        };
        self.entrance.open(service).await
    }

    /// Reads the certificate anew, for connections from now on.
    ///
    /// # Errors
    /// [`ReloadError`]; the old certificate stays in use.
    pub fn reload(&self) -> Result<(), ReloadError> {
        self.entrance.reload()
    }
}
