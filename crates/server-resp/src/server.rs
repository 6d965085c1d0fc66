//! Accepting connections.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rhumb_engine::Engine;
use tokio::net::{TcpListener, TcpStream};

use crate::{
    acl::{User, UserConfig, UserError},
    connection::Connection,
    limits::CONNECTIONS_MAX,
};

/// How the server treats its clients.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RespConfig {
    /// The users. Without any, everybody may do everything but remove everything.
    pub users: Vec<UserConfig>,
    /// Whether a client must say who it is.
    pub auth: bool,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) users: BTreeMap<String, Arc<User>>,
    pub(crate) auth: bool,
    pub(crate) connections: AtomicUsize,
    pub(crate) region: String,
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
    /// [`UserError`] when a user's rules are not understood.
    pub fn new(config: &RespConfig, engine: Engine, region: &str) -> Result<Self, UserError> {
        let user = |config: &UserConfig| Ok((config.name.clone(), Arc::new(User::new(config)?)));
        let users = config.users.iter().map(user).collect::<Result<_, UserError>>()?;
        Ok(Self(Arc::new(Shared {
            engine,
            users,
            auth: config.auth,
            connections: AtomicUsize::new(0),
            region: region.to_owned(),
        })))
    }

    /// Takes connections until the engine's tasks are stopped.
    pub fn serve(self, listener: TcpListener) {
        let tasks = self.0.engine.tasks().clone();
        let accepting = tasks.clone();
        tasks.spawn_until_stopped(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, address)) => {
                        let shared = self.0.clone();
                        tracing::debug!(%address, "a client connects");
                        accepting.spawn(serve_one(shared, stream));
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

async fn serve_one(shared: Arc<Shared>, stream: TcpStream) {
    let open = shared.connections.fetch_add(1, Ordering::Relaxed);
    if open < CONNECTIONS_MAX {
        let tasks = shared.engine.tasks().clone();
        if let Err(error) = Connection::new(shared.clone(), stream).run(&tasks).await {
            tracing::debug!(%error, "a client's connection ended");
        }
    } else {
        tracing::warn!(most = CONNECTIONS_MAX, "a client was turned away: too many connections");
    }
    shared.connections.fetch_sub(1, Ordering::Relaxed);
}
