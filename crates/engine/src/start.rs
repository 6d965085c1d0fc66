//! What a start finds in the store, and why it may not go on.

use rhumb_node::{Boot, Identity, NodeConfig, Origins};
use rhumb_ports::{
    clock::Entropy,
    store::{MetaName, ReadStore, Store, StoreError},
};
use rhumb_state::ClearedPrefixes;
use rhumb_types::record::{CodecError, Record, Space};

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Store(#[from] StoreError),
    /// One of the node's own records is damaged or newer.
    #[error("the record `{name}` cannot be read")]
    Record {
        /// Which.
        name: &'static str,
        /// What is wrong with it.
        #[source]
        source: CodecError,
    },
    /// The data directory belongs to another node.
    #[error(
        "the data directory belongs to {found}, and this is {own}: point to the right directory, or start with an empty one"
    )]
    ForeignData {
        /// Whose data it is.
        found: String,
        /// Who we are.
        own: String,
    },
    /// A thread could not be started.
    #[error("a thread cannot be started")]
    Thread(#[from] std::io::Error),
}

/// Reads what the store knows of this node.
pub(crate) fn boot(
    store: &impl Store,
    config: &NodeConfig,
    entropy: &dyn Entropy,
) -> Result<Boot, StartError> {
    let identity = meta::<Identity>(store, &MetaName::Identity, "identity")?;
    if let Some(found) = &identity
        && (found.cluster != config.cluster
            || found.region != config.region
            || found.node != config.node)
    {
        let name = |cluster, region, node| format!("node {node} of {region} in cluster {cluster}");
        return Err(StartError::ForeignData {
            found: name(found.cluster, &found.region, found.node),
            own: name(config.cluster, &config.region, config.node),
        });
    }
    let cleared =
        meta::<ClearedPrefixes>(store, &MetaName::Cleared(Space::USER), "cleared prefixes")?;
    let newest = store.conflicts(1)?.first().map(|(sequence, _)| sequence + 1);
    Ok(Boot {
        commit: store.commit_number(),
        cleared: cleared.map(|cleared| (Space::USER, cleared)).into_iter().collect(),
        conflicts: newest.unwrap_or_default(),
        recovered: store.recovered().clone(),
        identity,
        origins: meta::<Origins>(store, &MetaName::Origins, "origins")?.unwrap_or_default(),
        entropy: entropy.next_u64(),
    })
}

/// Reads one of the node's own records.
pub(crate) fn meta<R: Record>(
    store: &impl ReadStore,
    name: &MetaName,
    words: &'static str,
) -> Result<Option<R>, StartError> {
    let Some(bytes) = store.meta(name)? else { return Ok(None) };
    R::decode(&bytes).map(Some).map_err(|source| StartError::Record { name: words, source })
}
