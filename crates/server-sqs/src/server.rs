//! The server: built, listening, reloaded.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use rhumb_engine::{
    Engine, Tasks,
    telemetry::{Metrics, metrics::Command},
};
use rhumb_front::{Buckets, Entrance, Group, ListenerError, SignedConfig, SignedError};
use rhumb_tls::TlsError;
use rhumb_types::{
    MonoTime, UnixMillis,
    record::{JobKey, QueueName},
};
use tokio::sync::Semaphore;

use crate::{
    dispatch,
    door::Door,
    limits::{
        ATTEMPTS_MAX, BODIES_KIB_MAX, CONNECTIONS_MAX, FIRST_RECEIPTS_MAX, PURGES_MAX,
        REQUESTS_BURST, REQUESTS_PER_SECOND,
    },
    operation::Operation,
    receive::Attempts,
    recent::Recent,
    waiting::Waiting,
};

/// What all requests share. The locks are held for a few instructions, by requests of all threads.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) region: String,
    pub(crate) door: Door,
    /// Whether clients speak TLS.
    pub(crate) encrypted: bool,
    pub(crate) rates: Buckets,
    /// KiB of bodies that may be in hand at the same time.
    pub(crate) bodies: Semaphore,
    pub(crate) waiting: Waiting,
    pub(crate) commands: BTreeMap<Operation, Command>,
    /// When queues were emptied.
    pub(crate) purges: Mutex<Recent<QueueName, MonoTime>>,
    /// When messages were received first, as far as that was here and lately.
    pub(crate) first_receipts: Mutex<Recent<JobKey, UnixMillis>>,
    pub(crate) attempts: Mutex<Attempts>,
}

/// The SQS server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SqsServer {
    shared: Arc<Shared>,
    entrance: Entrance,
}

impl SqsServer {
    /// A server that is not listening yet.
    ///
    /// # Errors
    /// [`SignedError`]; above all [`ListenerError::Exposed`] for an address that others can reach
    /// without both keys and TLS.
    pub fn new(
        config: &SignedConfig,
        engine: Engine,
        region: &str,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, SignedError> {
        let group = Group::new(engine.tasks().clone(), Tasks::spawn, Tasks::until_stopping);
        let connections = metrics.connections("sqs");
        let entrance = Entrance::new(&config.listener, "SQS", CONNECTIONS_MAX, connections, group)?;
        let commands = Operation::ALL.iter().map(|it| (*it, metrics.command(it.metric())));
        let shared = Shared {
            region: region.to_owned(),
            door: Door::new(config, metrics.clone())?,
            encrypted: entrance.is_encrypted(),
            rates: Buckets::new(REQUESTS_PER_SECOND, REQUESTS_BURST),
            bodies: Semaphore::new(BODIES_KIB_MAX as usize),
            waiting: Waiting::default(),
            commands: commands.collect(),
            purges: Mutex::new(Recent::new(PURGES_MAX)),
            first_receipts: Mutex::new(Recent::new(FIRST_RECEIPTS_MAX)),
            attempts: Mutex::new(Attempts::new(ATTEMPTS_MAX)),
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
