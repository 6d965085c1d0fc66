//! How commands on a node's machine get in without a token of a person.
//!
//! Whoever can read the cluster's secret in a node's folder can do everything there already. So the
//! HTTP server takes a token that is derived from it, and the command line shows that one when it is
//! given no other: the first operator needs no password, and nothing has to be configured. In the
//! audit chain its bearer is `machine`.

use std::fmt::Write;

use rhumb_peer::ClusterSecret;
use rhumb_types::control::Digest;
use sha2::Sha256;

/// What the token is derived for.
const PURPOSE: &str = "http machine token";
/// What the secret of the machines' access key is derived for.
const ACCESS_KEY_PURPOSE: &str = "sqs machine access key";

/// The token of this cluster's machines.
pub(crate) struct MachineToken(String);

impl MachineToken {
    /// Its public name.
    pub(crate) const ID: &str = "machine";

    /// The token of the cluster with a secret.
    pub(crate) fn of(secret: &ClusterSecret) -> Self {
        Self(derived(secret, PURPOSE))
    }

    /// What the server compares with.
    pub(crate) fn digest(&self) -> Digest {
        use sha2::Digest as _;
        Digest(Sha256::digest(self.0.as_bytes()).into())
    }

    /// What a client sends.
    pub(crate) fn bearer(&self) -> String {
        format!("rhumb_{}_{}", Self::ID, self.0)
    }
}

/// The secret of the access key with the same name, for clients of the S3 server and the SQS server.
pub(crate) fn access_key_secret(secret: &ClusterSecret) -> String {
    derived(secret, ACCESS_KEY_PURPOSE)
}

/// What clients of the S3 server and the SQS server read from their environment to use that key: the
/// address of each server by the name of its service, the region, the key.
pub(crate) fn aws_environment(
    servers: &[(&str, String)],
    region: &str,
    secret: &ClusterSecret,
) -> Vec<String> {
    let endpoint = |(service, endpoint): &(&str, String)| {
        format!("AWS_ENDPOINT_URL_{}={endpoint}", service.to_uppercase())
    };
    let endpoints = servers.iter().map(endpoint);
    let key = [
        format!("AWS_DEFAULT_REGION={region}"),
        format!("AWS_ACCESS_KEY_ID={}", MachineToken::ID),
        format!("AWS_SECRET_ACCESS_KEY={}", access_key_secret(secret)),
    ];
    endpoints.chain(key).collect()
}

fn derived(secret: &ClusterSecret, purpose: &'static str) -> String {
    let mut text = String::new();
    for byte in secret.derive(purpose) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
