//! The server: built, listening, reloaded.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use rhumb_engine::{
    Engine, Tasks,
    telemetry::{Metrics, metrics::Command},
};
use rhumb_front::{Buckets, Entrance, Group, ListenerError, SignedConfig, SignedError};
use rhumb_tls::TlsError;
use s3s::{
    config::{S3Config as CodecConfig, StaticConfigProvider},
    service::{S3Service, S3ServiceBuilder},
};
use tokio::sync::Semaphore;

use crate::{
    access::{Access, NoSignatures, OPERATIONS},
    dispatch,
    door::Door,
    limits::{
        CONNECTIONS_MAX, DOCUMENT_BYTES_MAX, DOCUMENTS_KIB_MAX, REQUESTS_BURST, REQUESTS_PER_SECOND,
    },
    service::Objects,
};

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) door: Door,
    pub(crate) rates: Buckets,
    /// KiB of bodies that are no objects and may be in hand at the same time.
    pub(crate) documents: Semaphore,
    pub(crate) commands: BTreeMap<&'static str, Command>,
    /// The codec of the protocol, with the operations behind it.
    pub(crate) codec: S3Service,
}

/// The S3 server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct S3Server {
    shared: Arc<Shared>,
    entrance: Entrance,
}

impl S3Server {
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
        let entrance = Entrance::new(
            &config.listener,
            "S3",
            CONNECTIONS_MAX,
            metrics.connections("s3"),
            group,
        )?;
        let commands = OPERATIONS.iter().map(|it| (it.name, metrics.command(it.metric)));
        let objects = Objects::new(engine.clone(), region, &config.regions);
        let shared = Shared {
            door: Door::new(config, metrics.clone())?,
            rates: Buckets::new(REQUESTS_PER_SECOND, REQUESTS_BURST),
            documents: Semaphore::new(DOCUMENTS_KIB_MAX as usize),
            commands: commands.collect(),
            codec: codec(objects),
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

fn codec(objects: Objects) -> S3Service {
    let access = Access::new(objects.clone());
    let mut builder = S3ServiceBuilder::new(objects);
    let mut bounds = CodecConfig::default();
    bounds.xml_max_body_size = DOCUMENT_BYTES_MAX;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(bounds))));
    // Without something that knows signatures the codec would not ask whether access is allowed.
    builder.set_auth(NoSignatures);
    builder.set_access(access);
    builder.build()
}
