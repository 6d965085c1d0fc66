//! The operations, as the codec calls them.

use std::{collections::BTreeSet, sync::Arc};

use rhumb_engine::Engine;
use s3s::S3;

/// The operations over a node's objects. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    engine: Engine,
    region: Arc<str>,
    regions: Arc<BTreeSet<String>>,
}

impl Objects {
    pub(crate) fn new(engine: Engine, region: &str, regions: &BTreeSet<String>) -> Self {
        Self { engine, region: region.into(), regions: Arc::new(regions.clone()) }
    }
}

#[async_trait::async_trait]
impl S3 for Objects {}
