//! A damaged disk: what is found out, and how it is mended.

use std::{fs, path::PathBuf};

use redis::Commands;
use rhumb_integration::{Cluster, Layout, READY_WAIT_MAX, eventually};

/// Keys that are written in a pipeline.
const PIPELINE: usize = 100;

fn value(nth: usize, bytes: usize) -> String {
    format!("{nth:08}").repeat(bytes.div_ceil(8))
}

/// Three regions with so many keys from the last of them, known everywhere; then it is stopped.
fn stopped_after(keys: usize, bytes: usize) -> Cluster {
    let mut cluster = Layout::regions(3).start().unwrap();
    let mut connection = cluster.connect(2).unwrap();
    for first in (0..keys).step_by(PIPELINE) {
        let mut pipe = redis::pipe();
        for nth in first..first + PIPELINE {
            pipe.set(format!("k{nth}"), value(nth, bytes)).ignore();
        }
        pipe.exec(&mut connection).unwrap();
    }
    for reader in [0, 1] {
        let mut reader = cluster.connect(reader).unwrap();
        eventually(READY_WAIT_MAX, || {
            let there: bool = reader.exists(format!("k{}", keys - 1))?;
            anyhow::ensure!(there, "it has not arrived");
            Ok(())
        })
        .unwrap();
    }
    cluster.terminate(2).unwrap();
    cluster
}

/// Changes some bytes in the middle of what a file holds.
fn damage(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    for byte in bytes.iter_mut().skip(used / 2).take(200) {
        *byte ^= 0x5a;
    }
    fs::write(path, bytes).unwrap();
}

/// The files of the last node's store whose path holds a text, the largest last.
fn files(cluster: &Cluster, part: &str) -> Vec<PathBuf> {
    let mut folders = vec![cluster.data(2).join("store")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if entry.path().to_string_lossy().contains(part) {
                found.push((entry.metadata().unwrap().len(), entry.path()));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

fn has_all(cluster: &Cluster, keys: usize, bytes: usize) {
    let mut connection = cluster.connect(2).unwrap();
    eventually(READY_WAIT_MAX, || {
        for nth in 0..keys {
            let found: Option<String> = connection.get(format!("k{nth}"))?;
            anyhow::ensure!(found == Some(value(nth, bytes)), "k{nth} is not what it was");
        }
        Ok(())
    })
    .unwrap();
}

/// Starts the damaged node, and does as it advises where it does not serve everything as it is. Says
/// whether there was advice.
fn start_as_advised(cluster: &mut Cluster, keys: usize) -> bool {
    cluster.start(2).unwrap();
    let mut part = None;
    // A start reads the journals and the ends of the logs, and reading the keys finds the rest.
    if let Ok(mut connection) = cluster.wait_until_ready(2).and_then(|()| cluster.connect(2)) {
        let read = (0..keys).map(|nth| connection.get::<_, Option<String>>(format!("k{nth}")));
        let Some(failed) = read.filter_map(Result::err).next() else { return false };
        assert!(failed.to_string().contains("move this folder aside"), "{failed}");
        cluster.terminate(2).unwrap();
    } else {
        let said = cluster.log(2);
        part = said.contains("Move `records` inside it away").then_some("records");
        assert!(part.is_some() || said.contains("move this folder aside"), "{said}");
        cluster.kill(2).unwrap();
    }
    let store = cluster.data(2).join("store");
    let aside = part.map_or(store.clone(), |part| store.join(part));
    fs::rename(&aside, aside.with_extension("damaged")).unwrap();
    cluster.start(2).unwrap();
    cluster.wait_until_ready(2).unwrap();
    true
}

/// Where the damage lies decides whether the store opens without what it hit, or is refused.
#[test]
fn a_damaged_journal_is_said_and_mended_from_the_peers() {
    const KEYS: usize = 2_000;
    let mut cluster = stopped_after(KEYS, 80);
    damage(files(&cluster, ".jnl").last().unwrap());
    start_as_advised(&mut cluster, KEYS);
    assert!(cluster.log(2).contains("damage"), "{}", cluster.log(2));
    has_all(&cluster, KEYS, 80);
}

#[test]
fn a_damaged_table_is_found_out_with_advice_that_works() {
    const KEYS: usize = 2_000;
    let mut cluster = stopped_after(KEYS, 12_000);
    // The largest may be of the log, of which nobody reads the middle.
    let tables = files(&cluster, "/tables/");
    assert!(!tables.is_empty());
    tables.iter().for_each(damage);
    assert!(start_as_advised(&mut cluster, KEYS), "a damaged block was read");
    has_all(&cluster, KEYS, 12_000);
}
