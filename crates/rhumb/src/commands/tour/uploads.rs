//! Uploads that are under way when a region dies: one so slow that the region has been told to fetch a part of it
//! already, and others beside it.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    sync::mpsc::{self, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use rhumb_config::settings::Server;
use rhumb_types::RegionId;

use super::{
    objects::{BYTES, Shelf, content},
    report::{Report, millis},
    state::joined,
};
use crate::local::Local;

/// Clients that upload beside the slow one, how many objects each, and the pause after one.
const CLIENTS: usize = 2;
const UPLOADS: usize = 8;
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of the slow upload: some blobs. It is sent in pieces, with a pause after each.
const SLOW_BYTES: usize = 40 << 20;
const PIECE: usize = 512 << 10;
const PIECE_PAUSE: Duration = Duration::from_millis(25);
/// The region is killed when so many are sent: more than one blob, so that it has one or is fetching it.
const KILLED_AFTER: usize = 24 << 20;
/// How long the slow upload may wait for room to send, or for its answer.
const SLOW_WAIT: Duration = Duration::from_secs(60);
/// Where the slow upload goes.
const SLOW: &str = "upload/slow";
/// In which header an upload is told which regions have it.
const REGIONS: &str = "x-rhumb-regions:";

/// Uploads to the first region while the second dies.
pub(super) fn go_on(
    cluster: &mut Local,
    report: &mut Report,
    bucket: &str,
    [first, lost, third]: [&RegionId; 3],
) -> Result<()> {
    let address = cluster.address(first, Server::S3);
    let slow_body = content(10, SLOW_BYTES);
    let key = |client: usize, nth: usize| format!("upload/{client}.{nth}");
    let body = |client: usize, nth: usize| content(100 + client * UPLOADS + nth, BYTES);
    let (half, at_half) = mpsc::channel();
    let (sent, slow) = thread::scope(|scope| {
        let slow_body = &slow_body;
        let slow = scope.spawn(move || slowly(address, bucket, slow_body, half));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || {
                    let shelf = Shelf::at(address, first, bucket)?;
                    let puts = (0..UPLOADS).map(|nth| {
                        let began = Instant::now();
                        let put = shelf.put(&key(client, nth), &body(client, nth));
                        let took = began.elapsed();
                        thread::sleep(PAUSE);
                        put.map(|()| took)
                    });
                    puts.collect::<Result<Vec<Duration>>>()
                })
            })
            .collect();
        // Without half of it there is nothing to kill for: the thread says why.
        let killed = at_half.recv().ok().map(|()| {
            report
                .step(&format!("{lost} is killed with SIGKILL in the midst of uploads to {first}"));
            cluster.kill(lost)
        });
        let slow = joined(slow.join());
        let sent: Result<Vec<_>> = clients.into_iter().map(|it| joined(it.join())).collect();
        killed.transpose()?;
        anyhow::Ok((sent?, slow?))
    })?;
    let (here, there) = (
        Shelf::at(address, first, bucket)?,
        Shelf::at(cluster.address(third, Server::S3), third, bucket)?,
    );
    let whole = |key: &str, body: &Bytes| {
        [&here, &there].iter().all(|shelf| shelf.get(key).is_ok_and(|read| read == body))
    };
    let all = (0..CLIENTS).flat_map(|client| (0..UPLOADS).map(move |nth| (client, nth)));
    let count =
        all.filter(|(client, nth)| whole(&key(*client, *nth), &body(*client, *nth))).count();
    let slowest = sent.iter().flatten().max().copied().unwrap_or_default();
    report.row(
        format!("uploads go on, twice each, while {lost} dies"),
        format!(
            "{count} of {} whole in {first} and {third}, the slowest in {}",
            CLIENTS * UPLOADS,
            millis(slowest)
        ),
        count == CLIENTS * UPLOADS,
    );
    let did = |region: &RegionId, how: &str| slow.regions.contains(&format!("{region}={how}"));
    report.row(
        format!("an upload in the midst of which {lost} dies goes to {third} instead"),
        format!(
            "{} MiB, {} of them sent when {lost} died, {}, {} after the last byte",
            SLOW_BYTES >> 20,
            KILLED_AFTER >> 20,
            slow.regions,
            millis(slow.answered)
        ),
        did(first, "ok") && did(third, "ok") && did(lost, "failed") && whole(SLOW, &slow_body),
    );
    Ok(())
}

/// What came of the slow upload.
struct Slow {
    /// How the regions did, in words.
    regions: String,
    /// How long the answer took once all was sent.
    answered: Duration,
}

/// Uploads piece by piece, and says when enough is sent.
fn slowly(address: SocketAddr, bucket: &str, body: &Bytes, enough: Sender<()>) -> Result<Slow> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SLOW_WAIT))?;
    stream.set_write_timeout(Some(SLOW_WAIT))?;
    let length = body.len();
    write!(
        stream,
        "PUT /{bucket}/{SLOW} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    )?;
    for (nth, piece) in body.chunks(PIECE).enumerate() {
        stream.write_all(piece).context("the slow upload broke off")?;
        if nth * PIECE == KILLED_AFTER {
            enough.send(())?;
        }
        thread::sleep(PIECE_PAUSE);
    }
    let sent = Instant::now();
    let mut lines = BufReader::new(stream).lines();
    let status = lines.next().context("the slow upload had no answer")??;
    ensure!(status.contains(" 200 "), "the slow upload was answered with `{status}`");
    for line in lines {
        let line = line?.to_lowercase();
        if let Some(regions) = line.strip_prefix(REGIONS) {
            return Ok(Slow { regions: regions.trim().to_owned(), answered: sent.elapsed() });
        }
        if line.is_empty() {
            break;
        }
    }
    bail!("the slow upload was not told which regions have it")
}
