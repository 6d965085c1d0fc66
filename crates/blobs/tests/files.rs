//! The contract of the port, on a directory.

use std::{fs::OpenOptions, os::unix::fs::FileExt, path::Path};

use rhumb_blobs::{FileBlobs, Key, Keys, Options};
use rhumb_ports::contract::BlobsFactory;
use rhumb_types::record::BlobHash;
use tempfile::TempDir;

struct OnDirectory {
    path: TempDir,
    keys: Keys,
}

impl OnDirectory {
    fn new(keys: Keys) -> Self {
        Self { path: tempfile::tempdir().expect("a directory"), keys }
    }
}

/// Changes the last byte of a file.
fn damage(path: &Path) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("a file");
    let at = file.metadata().expect("its size").len() - 1;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("its last byte");
    file.write_all_at(&byte.map(|byte| !byte), at).expect("a write");
}

impl BlobsFactory for OnDirectory {
    type Blobs = FileBlobs;
    async fn open(&mut self) -> FileBlobs {
        let options = Options { keys: self.keys.clone(), ..Options::default() };
        FileBlobs::open(self.path.path(), options).expect("the directory opens")
    }
    async fn damage(&mut self, _: &FileBlobs, hash: BlobHash) {
        let name = hash.to_string();
        damage(&self.path.path().join(name.split_at(2).0).join(&name));
    }
}

mod plain {
    use super::*;
    rhumb_ports::blobs_contract!(
        attribute = tokio::test,
        factory = OnDirectory::new(Keys::default())
    );
}

mod sealed {
    use super::*;
    rhumb_ports::blobs_contract!(
        attribute = tokio::test,
        factory = OnDirectory::new(Keys::new(Some(Key::new([7; 32])), [])),
    );
}
