//! The contract of the port, on a directory.

use rhumb_ports::contract::StoreFactory;
use rhumb_store_fjall::FjallStore;
use tempfile::TempDir;

struct OnDirectory(TempDir);

impl StoreFactory for OnDirectory {
    type Store = FjallStore;
    fn open(&mut self) -> FjallStore {
        FjallStore::open(self.0.path()).expect("the directory opens")
    }
}

rhumb_ports::store_contract!(OnDirectory(tempfile::tempdir().expect("a directory")));
