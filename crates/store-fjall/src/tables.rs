//! The key spaces of a store, and how each is tuned.

use fjall::{Database, Keyspace, KeyspaceCreateOptions, config::HashRatioPolicy};

/// Bytes of blocks that all tables together keep in memory. Small, because an idle node must stay
/// under 60 MB, and because the operating system caches files as well.
pub(crate) const BLOCK_CACHE_BYTES: u64 = 32 << 20;
/// Bytes that a busy table collects in memory before it writes a file. At most
/// [`SEALED_MEMTABLES_MAX`] more wait to be written.
pub(crate) const MEMTABLE_BYTES: u64 = 16 << 20;
/// As [`MEMTABLE_BYTES`], for tables that change rarely.
pub(crate) const MEMTABLE_BYTES_QUIET: u64 = 4 << 20;
/// How many full memtables of one table wait before fjall halts writers; fixed in fjall 3.1.
pub(crate) const SEALED_MEMTABLES_MAX: u64 = 4;
/// Bytes of journals that may have to be replayed at open; past that fjall flushes the tables that
/// hold the oldest journal back.
pub(crate) const JOURNAL_BYTES_MAX: u64 = 128 << 20;
/// Threads that flush and compact. fjall 3.1 keeps the first for flushes: it is handed compactions all the
/// same, and hands them back without a pause until one of the others is free. With one other that is
/// however long it compacts; with three there is nearly always one that finds nothing more to do. One
/// thread alone could wait for room in its own inbox for ever.
pub(crate) const WORKER_THREADS: usize = 4;
/// Files kept open.
pub(crate) const OPEN_FILES_MAX: usize = 256;

const _: () = assert!(JOURNAL_BYTES_MAX >= SEALED_MEMTABLES_MAX * MEMTABLE_BYTES);

/// How many tables there are.
pub(crate) const TABLES: usize = 8;

/// A table, and its place in [`Tables::all`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Heads,
    Members,
    Scores,
    Expiry,
    Log,
    Owned,
    Conflicts,
    Meta,
}

impl Table {
    pub(crate) const ALL: [Self; TABLES] = [
        Self::Heads,
        Self::Members,
        Self::Scores,
        Self::Expiry,
        Self::Log,
        Self::Owned,
        Self::Conflicts,
        Self::Meta,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Heads => "heads",
            Self::Members => "members",
            Self::Scores => "scores",
            Self::Expiry => "expiry",
            Self::Log => "log",
            Self::Owned => "owned",
            Self::Conflicts => "conflicts",
            Self::Meta => "meta",
        }
    }

    fn options(self) -> KeyspaceCreateOptions {
        let busy =
            matches!(self, Self::Heads | Self::Members | Self::Scores | Self::Log | Self::Owned);
        let memtable = if busy { MEMTABLE_BYTES } else { MEMTABLE_BYTES_QUIET };
        // fjall's own policy suits: the two hottest levels as they are, the rest in LZ4.
        let options = KeyspaceCreateOptions::default().max_memtable_size(memtable);
        match self {
            // Read row by row, and usually to find something.
            Self::Heads | Self::Members | Self::Owned | Self::Meta => options
                .expect_point_read_hits(true)
                .data_block_hash_ratio_policy(HashRatioPolicy::all(1.0)),
            Self::Scores | Self::Expiry | Self::Log | Self::Conflicts => options,
        }
    }
}

/// Every table of a store.
#[derive(Clone)]
pub(crate) struct Tables {
    all: [Keyspace; TABLES],
}

impl Tables {
    pub(crate) fn open(database: &Database) -> fjall::Result<Self> {
        let open = |table: Table| database.keyspace(table.name(), || table.options());
        let [heads, members, scores, expiry, log, owned, conflicts, meta] = Table::ALL;
        Ok(Self {
            all: [
                open(heads)?,
                open(members)?,
                open(scores)?,
                open(expiry)?,
                open(log)?,
                open(owned)?,
                open(conflicts)?,
                open(meta)?,
            ],
        })
    }

    pub(crate) const fn get(&self, table: Table) -> &Keyspace {
        let [heads, members, scores, expiry, log, owned, conflicts, meta] = &self.all;
        match table {
            Table::Heads => heads,
            Table::Members => members,
            Table::Scores => scores,
            Table::Expiry => expiry,
            Table::Log => log,
            Table::Owned => owned,
            Table::Conflicts => conflicts,
            Table::Meta => meta,
        }
    }
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables").finish_non_exhaustive()
    }
}
