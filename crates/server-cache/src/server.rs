//! The server: built, listening, reloaded.

use std::{net::SocketAddr, sync::Arc};

use rhumb_engine::{
    Engine, Tasks,
    telemetry::{
        Metrics,
        metrics::{Caches, Command},
    },
};
use rhumb_front::{Buckets, Entrance, Group, ListenerError, SignedConfig, SignedError};
use rhumb_tls::TlsError;
use tokio::sync::Semaphore;

use crate::{
    dispatch,
    door::Door,
    limits::{CONNECTIONS_MAX, IN_HAND_KIB_MAX, REQUESTS_BURST, REQUESTS_PER_SECOND},
};

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) door: Door,
    pub(crate) rates: Buckets,
    /// KiB of action results and trees that may be in hand at the same time.
    pub(crate) in_hand: Semaphore,
    pub(crate) caches: Caches,
    pub(crate) commands: Commands,
}

/// How requests are counted.
#[derive(Debug)]
pub(crate) struct Commands {
    pub(crate) get: Command,
    pub(crate) head: Command,
    pub(crate) put: Command,
    pub(crate) delete: Command,
    pub(crate) other: Command,
}

/// The cache server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CacheServer {
    shared: Arc<Shared>,
    entrance: Entrance,
}

impl CacheServer {
    /// A server that is not listening yet. The keys of the configuration are users and passwords here,
    /// and nothing is signed.
    ///
    /// # Errors
    /// [`SignedError`]; above all [`ListenerError::Exposed`] for an address that others can reach
    /// without both keys and TLS.
    pub fn new(
        config: &SignedConfig,
        engine: Engine,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, SignedError> {
        let group = Group::new(engine.tasks().clone(), Tasks::spawn, Tasks::until_stopping);
        let connections = metrics.connections("cache");
        let entrance =
            Entrance::new(&config.listener, "the cache", CONNECTIONS_MAX, connections, group)?;
        let shared = Shared {
            door: Door::new(config, metrics.clone())?,
            rates: Buckets::new(REQUESTS_PER_SECOND, REQUESTS_BURST),
            in_hand: Semaphore::new(IN_HAND_KIB_MAX as usize),
            caches: metrics.caches(),
            commands: Commands {
                get: metrics.command("cache_get"),
                head: metrics.command("cache_head"),
                put: metrics.command("cache_put"),
                delete: metrics.command("cache_delete"),
                other: metrics.command("cache_other"),
            },
            engine,
        };
        Ok(Self { shared: Arc::new(shared), entrance })
    }

    /// Takes connections until the engine's tasks are stopped; says on which address.
    ///
    /// # Errors
    /// [`ListenerError::Listen`].
    pub async fn listen(&self) -> Result<SocketAddr, ListenerError> {
        let shared = self.shared.clone();
        let answer = move |request, client| {
            let shared = shared.clone();
            async move { dispatch::answer(&shared, request, client).await }
        };
        self.entrance.answer(answer).await
    }

    /// Reads the certificate anew, for connections from now on.
    ///
    /// # Errors
    /// [`TlsError`]; the old certificate stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.entrance.reload()
    }
}
