//! Single objects whose region is lost when it has some of them, by what they are read from.

use std::{io::Cursor, sync::Arc, time::Duration};

use bytes::Bytes;
use rhumb_ship::{Progress, Remote, UploadSettings, UploadSource, Uploaded, Uploader, Verdict};
use tempfile::TempDir;

use crate::{
    progress,
    server::{Line, Moto, Terms, remote},
    tree::noise,
};

const BYTES: usize = 60 << 20;
const PART_BYTES: u64 = 5 << 20;
/// So many parts at a time.
const PARTS: u64 = 3;
const MEMORY: usize = 15 << 20;

/// Uploads to the first regions, of which the line is one. It is cut once it has so many parts that the first
/// of all is not in memory any more, and never has all.
async fn cut(
    source: UploadSource,
    key: &str,
    line: Line,
    remotes: Vec<Remote>,
    copies: usize,
) -> Uploaded {
    let settings = UploadSettings {
        copies,
        min_copies: Some(1),
        retries: 1,
        retry_delay: Duration::ZERO,
        memory: MEMORY,
        ..UploadSettings::default()
    };
    let shown: Arc<Progress> = progress(&remotes);
    let uploader = Uploader::new(remotes, settings).unwrap();
    let (uploaded, ()) = tokio::join!(uploader.upload_shown(key, source, &shown), async {
        while shown.regions[0].objects.get() < PARTS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(line);
    });
    let uploaded = uploaded.unwrap();
    let lost = &uploaded.regions[0];
    assert!(lost.result.is_err() && lost.bytes >= PARTS * PART_BYTES, "{uploaded:?}");
    uploaded
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_read_again_for_the_region_that_comes_in() {
    let (Some(east), Some(west)) = (Moto::with_bucket(), Moto::with_bucket()) else {
        eprintln!("SKIPPED: there is no moto; `cargo xtask test` installs it");
        return;
    };
    let (folder, bytes) = (TempDir::new().unwrap(), Bytes::from(noise(21, BYTES)));
    let file = folder.path().join("file");
    std::fs::write(&file, &bytes).unwrap();
    let stream = || Box::new(Cursor::new(bytes.clone()));
    // Room for so many parts whole while as many are on their way, and for far less than all.
    let room = 2 * PARTS * PART_BYTES;
    let line = || Line::with(east.address, Terms { room, ..Terms::default() });
    let west = || remote("west", west.address);

    for (key, source) in [
        ("file", UploadSource::File(file)),
        ("bytes", UploadSource::Bytes(bytes.clone())),
        ("spooled", UploadSource::Spooled(stream())),
    ] {
        let line = line().await;
        let remotes = vec![remote("east", line.address), west()];
        let uploaded = cut(source, key, line, remotes, 1).await;
        assert_eq!((uploaded.verdict, uploaded.bytes), (Verdict::Whole, BYTES as u64), "{key}");
        assert_eq!(uploaded.regions[1].in_place_of.as_ref().unwrap().as_str(), "east");
        assert!(west().get(key, BYTES).await.unwrap() == bytes, "{key} is another one there");
    }

    // A stream is gone. Where another region was sent to from the begin, that copy is left.
    let line_of_one = line().await;
    let remotes = vec![remote("east", line_of_one.address), west()];
    let failed = cut(UploadSource::Stream(stream()), "gone", line_of_one, remotes, 1).await;
    assert_eq!(failed.verdict, Verdict::Failed, "{failed:?}");
    assert!(failed.reasons().contains("west: the source cannot be read again"), "{failed:?}");
    let line_of_two = line().await;
    let south = remote("south", east.address);
    let remotes = vec![remote("east", line_of_two.address), west(), south.clone()];
    let fewer = cut(UploadSource::Stream(stream()), "fewer", line_of_two, remotes, 2).await;
    assert_eq!(fewer.verdict, Verdict::Degraded, "{fewer:?}");
    assert!(fewer.reasons().contains("south: the source cannot be read again"), "{fewer:?}");
    assert!(west().get("fewer", BYTES).await.unwrap() == bytes);
    assert!(south.head("fewer").await.is_err() && west().head("gone").await.is_err());
}
