//! The servers of a node.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The port of the HTTP server, unless another is set.
pub const HTTP_PORT: u16 = 7400;
/// The port on which nodes reach each other, unless another is set.
pub const PEER_PORT: u16 = 7401;
/// The port of the RESP server, unless another is set.
pub const RESP_PORT: u16 = 7402;
/// The port of the S3 server, unless another is set.
pub const S3_PORT: u16 = 7403;
/// The port of the SQS server, unless another is set.
pub const SQS_PORT: u16 = 7404;
/// The port of the cache server, unless another is set.
pub const CACHE_PORT: u16 = 7405;

/// A server of a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Server {
    /// API, administration, metrics.
    Http,
    /// The other nodes.
    Peer,
    /// Redis clients.
    Resp,
    /// Clients of Amazon S3.
    S3,
    /// Clients of Amazon SQS.
    Sqs,
    /// Builds that keep what they made.
    Cache,
}

impl Server {
    /// Every server, in the order of their ports.
    pub const ALL: [Self; 6] =
        [Self::Http, Self::Peer, Self::Resp, Self::S3, Self::Sqs, Self::Cache];

    /// Its key in the file.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Peer => "peer",
            Self::Resp => "resp",
            Self::S3 => "s3",
            Self::Sqs => "sqs",
            Self::Cache => "cache",
        }
    }

    /// Its port, unless another is set.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Http => HTTP_PORT,
            Self::Peer => PEER_PORT,
            Self::Resp => RESP_PORT,
            Self::S3 => S3_PORT,
            Self::Sqs => SQS_PORT,
            Self::Cache => CACHE_PORT,
        }
    }
}

/// What listens on a node. A server that is not named is off.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListenersSettings {
    /// API, administration, metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<ListenerSettings>,
    /// The other nodes. Always with mutual TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<ListenerSettings>,
    /// Redis clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resp: Option<ListenerSettings>,
    /// Clients of Amazon S3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<ListenerSettings>,
    /// Clients of Amazon SQS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqs: Option<ListenerSettings>,
    /// Builds that keep what they made: the HTTP protocol of Bazel's remote cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<ListenerSettings>,
}

/// One server.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerSettings {
    /// The address and port. Without it: the loopback address and the server's own port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// Whether connections are encrypted with the certificate under `tls`.
    pub tls: bool,
    /// Whether clients must say who they are: a token for HTTP, a user under `acl` for RESP, an
    /// access key under `acl` for S3 and SQS, either of token and access key for the cache.
    pub auth: bool,
}

impl ListenersSettings {
    /// A server, if it is on.
    #[must_use]
    pub const fn get(&self, server: Server) -> Option<&ListenerSettings> {
        match server {
            Server::Http => self.http.as_ref(),
            Server::Peer => self.peer.as_ref(),
            Server::Resp => self.resp.as_ref(),
            Server::S3 => self.s3.as_ref(),
            Server::Sqs => self.sqs.as_ref(),
            Server::Cache => self.cache.as_ref(),
        }
    }
}

impl ListenerSettings {
    /// Where it listens.
    #[must_use]
    pub fn address(&self, server: Server) -> SocketAddr {
        let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), server.port());
        self.address.unwrap_or(loopback)
    }
}
