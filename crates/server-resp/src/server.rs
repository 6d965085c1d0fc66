//! Accepting connections.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rhumb_engine::{Engine, Tasks, telemetry::Metrics};
use rhumb_tls::{Tls, TlsError, TlsFiles};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    acl::{User, UserConfig, UserError},
    connection::{Connection, Stream},
    cursors::Cursors,
    guesses::Guesses,
    limits::{CONNECTIONS_MAX, HANDSHAKE_WAIT_MAX},
    meters::Meters,
};

/// How the server treats its clients.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RespConfig {
    /// The users. Without any, everybody may do everything but remove everything.
    pub users: Vec<UserConfig>,
    /// Whether a client must say who it is.
    pub auth: bool,
    /// The certificate; none means plain TCP.
    pub tls: Option<TlsFiles>,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum RespError {
    /// A user's rules are not understood.
    #[error(transparent)]
    User(#[from] UserError),
    /// The certificate cannot be used.
    #[error("TLS for Redis clients")]
    Tls(#[from] TlsError),
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) users: BTreeMap<String, Arc<User>>,
    pub(crate) auth: bool,
    tls: Option<Tls>,
    pub(crate) connections: AtomicUsize,
    pub(crate) region: String,
    pub(crate) cursors: Cursors,
    pub(crate) guesses: Guesses,
    pub(crate) meters: Meters,
    /// The turn of a transaction whose keys others change all the time.
    pub(crate) contended: tokio::sync::Mutex<()>,
}

impl Shared {
    /// Who a client is before it has said so; nobody while a password is asked for.
    pub(crate) fn stranger(&self) -> Option<Arc<User>> {
        if self.auth {
            return None;
        }
        let default = self.users.get("default").cloned();
        Some(default.unwrap_or_else(|| Arc::new(User::anybody())))
    }
}

/// The server.
#[derive(Clone, Debug)]
pub struct RespServer(Arc<Shared>);

impl RespServer {
    /// A server that is not listening yet.
    ///
    /// # Errors
    /// [`RespError`].
    pub fn new(
        config: &RespConfig,
        engine: Engine,
        region: &str,
        metrics: Arc<Metrics>,
    ) -> Result<Self, RespError> {
        let user = |config: &UserConfig| Ok((config.name.clone(), Arc::new(User::new(config)?)));
        let users = config.users.iter().map(user).collect::<Result<_, UserError>>()?;
        Ok(Self(Arc::new(Shared {
            engine,
            users,
            auth: config.auth,
            // RESP has no name among protocols, and clients offer none.
            tls: config.tls.clone().map(|files| Tls::load(files, &[])).transpose()?,
            connections: AtomicUsize::new(0),
            region: region.to_owned(),
            cursors: Cursors::default(),
            guesses: Guesses::default(),
            meters: Meters::new(metrics),
            contended: tokio::sync::Mutex::new(()),
        })))
    }

    /// Reads the certificate anew; connections that are open keep theirs. When something is wrong
    /// nothing changes.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn reload(&self) -> Result<(), TlsError> {
        self.0.tls.as_ref().map_or(Ok(()), Tls::reload)
    }

    /// Takes connections until the engine's tasks are stopped.
    pub fn serve(&self, listener: TcpListener) {
        let shared = self.0.clone();
        let tasks = self.0.engine.tasks().clone();
        let accepting = tasks.clone();
        tasks.spawn_until_stopped(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, address)) => {
                        let shared = shared.clone();
                        tracing::debug!(%address, "a client connects");
                        accepting.spawn(serve_one(shared, stream, address.ip()));
                    }
                    Err(error) => {
                        // Out of file descriptors, or the client has gone already.
                        tracing::warn!(%error, "a connection was not accepted");
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
    }
}

async fn serve_one(shared: Arc<Shared>, stream: TcpStream, address: IpAddr) {
    let meters = &shared.meters.connections;
    // Handshakes count: whoever opens connections and says nothing uses up no more than others.
    let open = shared.connections.fetch_add(1, Ordering::Relaxed);
    if open < CONNECTIONS_MAX {
        meters.accepted.inc();
        meters.open.inc();
        let tasks = shared.engine.tasks().clone();
        if let Err(error) = open_and_run(&shared, stream, address, &tasks).await {
            tracing::debug!(%error, "a client's connection ended");
        }
        meters.open.dec();
    } else {
        meters.refused.inc();
        tracing::warn!(most = CONNECTIONS_MAX, "a client was turned away: too many connections");
    }
    shared.connections.fetch_sub(1, Ordering::Relaxed);
}

async fn open_and_run(
    shared: &Arc<Shared>,
    stream: TcpStream,
    address: IpAddr,
    tasks: &Tasks,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = match &shared.tls {
        None => Stream::Left(stream),
        Some(tls) => {
            let handshake = timeout(HANDSHAKE_WAIT_MAX, tls.acceptor().accept(stream));
            let shaken = tokio::select! {
                () = tasks.stopping() => return Ok(()),
                shaken = handshake => shaken,
            };
            Stream::Right(Box::new(shaken.map_err(|_| io::ErrorKind::TimedOut)??))
        }
    };
    Connection::new(shared.clone(), stream, address).run(tasks).await
}
