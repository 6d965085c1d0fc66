//! Every bound of a transfer, in one place.

use std::time::Duration;

use rhumb_pack::limits::{CHUNK_BYTES_MAX, PACK_BYTES_MAX};

/// Bytes of files and packs that are in memory at a time, unless the caller says otherwise.
pub const STAGED_BYTES: usize = 96 << 20;
/// Least that may be asked for: a pack that fills while another is sent.
pub const STAGED_BYTES_MIN: usize = 2 * PACK_BYTES_MAX + CHUNK_BYTES_MAX;
/// Most that may be asked for.
pub const STAGED_BYTES_MAX: usize = 16 << 30;
/// What is read from a file at a time.
pub const READ_BYTES: usize = 1 << 20;
/// Of so many bytes of a file, and more, that is done ahead,
pub const LONG_RANGE_BYTES: u64 = 8 << 20;
/// by so many reads. They are in memory besides what is staged.
pub const READ_AHEAD: usize = 3;

/// Most requests that are under way to one region at a time, unless the caller says otherwise. How many
/// there are is measured.
pub const REQUESTS_PER_REGION: usize = 16;
/// Most that may be asked for.
pub const REQUESTS_PER_REGION_MAX: usize = 256;
/// How often it is looked how many bytes left for a region.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How often a request is tried again, unless the caller says otherwise.
pub const RETRIES: u32 = 2;
/// Pause before it is tried again, unless the caller says otherwise.
pub const RETRY_DELAY: Duration = Duration::from_secs(5);
/// How long a connection may take to stand.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long an answer may take to begin, or to go on,
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// or a request to move on by so many bytes,
pub const COUNTED_BYTES: usize = 64 << 10;
/// and how slow an upload may be, in bytes per second, before it counts as stalled.
pub const UPLOAD_RATE_MIN: u64 = 64 << 10;
/// What large objects are fetched in, in bytes.
pub const RANGE_BYTES: u64 = 16 << 20;
/// Of a stream whose length is not known, the shortest part doubles after so many parts, so that S3's
/// bound on their number is not met before its bytes are many.
pub const PARTS_PER_DOUBLING: usize = 1_000;
/// How long a region may take to forget an upload that was given up.
pub const ABORT_TIME_MAX: Duration = Duration::from_secs(10);
/// Most regions of a transfer.
pub const REGIONS_MAX: usize = 64;
/// Most objects that a listing is kept of in memory.
pub const LISTED_MAX: usize = 4 << 20;

/// Names of one directory that are looked at together.
pub const STAT_BATCH: usize = 1_024;
/// Threads that do so.
pub const STAT_THREADS: usize = 4;
/// Fewer names are looked at by one thread.
pub const STAT_ALONE_MAX: usize = 64;
/// Files with several names that are remembered until all their names were seen; names of others become
/// files of their own.
pub const HARD_LINKS_MAX: usize = 1 << 18;
/// Warnings about single files that are kept; more are counted.
pub const WARNINGS_MAX: usize = 100;
/// Parts of an archive that are on their way to the regions, or wait for it, at a time.
pub const PARTS_KEPT_MAX: usize = 512;
/// Bytes of parts that go from one region to another, besides those that are staged.
pub const REFILL_BYTES: usize = 2 * (PACK_BYTES_MAX + PACK_INDEX_BYTES_MAX);
/// How often a tree is read again because the only region that had its beginning was lost.
pub const REREADS_MAX: u32 = 2;
/// Samples of which an estimate is made, more or less,
pub const SAMPLES_MAX: u64 = 256;
/// and how long each is.
pub const SAMPLE_BYTES: usize = 256 << 10;
/// Steps of the reader that wait for the sender.
pub const STEPS_MAX: usize = 1;

/// How long other regions may take to tell of a manifest once one has.
pub const MANIFEST_GRACE: Duration = Duration::from_secs(3);
/// Longest text of an error that quotes all regions.
pub const TEXT_BYTES_MAX: usize = 4_096;
/// Lists of files that are fetched ahead.
pub const SEGMENTS_AHEAD: usize = 2;
/// Entries that are planned ahead of the one that is written.
pub const ENTRIES_AHEAD: usize = 16 << 10;
/// Packs that are fetched at a time.
pub const FETCHES_MAX: usize = 64;
/// What the index of a pack may add to its chunks.
pub const PACK_INDEX_BYTES_MAX: usize = 64 << 10;

/// Packs that are compressed at a time; each takes up to 8 MiB besides at the highest level.
pub const PACKERS_MAX: usize = 4;
/// zstd's levels, from the fastest to the one for slow links.
pub const LEVELS: [i32; 4] = [1, 3, 6, 8];
/// The level that a transfer begins with, as a place in [`LEVELS`].
pub const LEVEL_FIRST: usize = 1;

const _: () = assert!(LEVEL_FIRST < LEVELS.len() && STAGED_BYTES >= STAGED_BYTES_MIN);
