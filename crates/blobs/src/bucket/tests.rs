//! The contract of the port, on a bucket in memory.

use std::sync::Arc;

use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use rhumb_ports::contract::BlobsFactory;
use rhumb_types::record::BlobHash;

use super::BucketBlobs;
use crate::seal::{Key, Keys};

struct InBucket {
    store: Arc<InMemory>,
    keys: Keys,
}

impl InBucket {
    fn new(keys: Keys) -> Self {
        Self { store: Arc::new(InMemory::new()), keys }
    }
}

impl BlobsFactory for InBucket {
    type Blobs = BucketBlobs;
    async fn open(&mut self) -> BucketBlobs {
        let store: Arc<dyn ObjectStore> = Arc::<InMemory>::clone(&self.store);
        BucketBlobs::over(store, "memory".to_owned(), &Path::from("some/where"), self.keys.clone())
    }
    async fn damage(&mut self, blobs: &BucketBlobs, hash: BlobHash) {
        let path = blobs.bucket.object(hash);
        let mut bytes = self.store.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
        if let Some(last) = bytes.last_mut() {
            *last = !*last;
        }
        self.store.put(&path, bytes.into()).await.unwrap();
    }
}

mod plain {
    use super::*;
    rhumb_ports::blobs_contract!(attribute = tokio::test, factory = InBucket::new(Keys::default()));
}

mod sealed {
    use super::*;
    rhumb_ports::blobs_contract!(
        attribute = tokio::test,
        factory = InBucket::new(Keys::new(Some(Key::new([7; 32])), [])),
    );
}
