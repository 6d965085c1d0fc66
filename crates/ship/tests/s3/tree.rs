//! Trees of files with everything that an archive keeps, and how two of them differ.

use std::{
    collections::BTreeMap,
    fs::{self, File, FileTimes, Permissions},
    os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Bytes without structure, the same for the same seed.
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut noise);
    noise
}

fn dated(path: &Path, mode: u32, nanos: u64) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("permissions");
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_000_000_000_000_000_000 + nanos);
    let times = FileTimes::new().set_modified(time);
    File::open(path).expect("a file").set_times(times).expect("times");
}

/// A tree with so many small files, and one of each kind besides.
pub(crate) fn plant(top: &Path, small: usize) {
    for nth in 0..small {
        let folder = top.join(format!("many/{:03}", nth % 100));
        fs::create_dir_all(&folder).expect("a folder");
        let bytes = noise(nth as u64, nth % 3_000);
        fs::write(folder.join(format!("{nth:06}")), bytes).expect("a file");
    }
    fs::create_dir_all(top.join("odd/deeper")).expect("a folder");
    let at = |name: &str| top.join("odd").join(name);
    fs::write(at("empty"), "").expect("a file");
    fs::write(at("text"), "a line of text\n".repeat(400_000)).expect("a file");
    fs::write(at("large"), noise(1, 30 << 20)).expect("a file");
    fs::write(at("deeper/read only"), "x").expect("a file");
    fs::write(at("\u{e9}\n\u{1b}"), "a name that is hard to show").expect("a file");
    fs::hard_link(at("large"), at("deeper/again")).expect("a link");
    symlink("../large", at("deeper/up")).expect("a link");
    symlink("/nowhere", at("dangling")).expect("a link");
    let sparse = File::create(at("sparse")).expect("a file");
    sparse.write_all_at(b"begin", 1 << 20).expect("bytes");
    sparse.write_all_at(b"end", 40 << 20).expect("bytes");
    sparse.set_len(1 << 28).expect("a hole");
    dated(&at("text"), 0o640, 123_456_789);
    dated(&at("deeper/read only"), 0o400, 1);
    dated(&at("large"), 0o755, 2);
    dated(&at("sparse"), 0o4711, 3);
    dated(&at("deeper"), 0o500, 999_999_999);
    dated(&top.join("odd"), 0o2750, 4);
}

/// What can be said of something, apart from its place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Looks {
    mode: u32,
    mtime: (i64, i64),
    links: u64,
    bytes: u64,
    /// The hash of a file, or where a link points.
    content: String,
}

/// All of a tree.
pub(crate) fn looks(top: &Path) -> BTreeMap<PathBuf, Looks> {
    let mut all = BTreeMap::new();
    let mut waiting = vec![top.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path).expect("metadata");
        let kind = metadata.file_type();
        let content = if kind.is_symlink() {
            fs::read_link(&path).expect("a link").display().to_string()
        } else if kind.is_file() {
            hash(&path)
        } else {
            let inside = fs::read_dir(&path).expect("a folder");
            waiting.extend(inside.map(|entry| entry.expect("an entry").path()));
            String::new()
        };
        let looks = Looks {
            mode: metadata.mode(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            links: if kind.is_dir() { 0 } else { metadata.nlink() },
            bytes: if kind.is_dir() { 0 } else { metadata.len() },
            content,
        };
        all.insert(path.strip_prefix(top).expect("below the top").to_owned(), looks);
    }
    all
}

/// The hash of a file, read in pieces.
fn hash(path: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path).expect("a file")).expect("its bytes");
    hasher.finalize().to_hex().to_string()
}
