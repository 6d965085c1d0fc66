//! Files of keys and certificates: written whole or not at all, keys for their owner only.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Why a file of an identity could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others could read the key.
    #[error("{path} can be read by others (mode {mode:o}): run `chmod 600 {path}`")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Replaces a file that only its owner may read. It is durable when this returns.
///
/// # Errors
/// [`FileError::Io`]; the old file is still there then.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), FileError> {
    write(path, content, PRIVATE)
}

/// Replaces a file that everybody may read. It is durable when this returns.
///
/// # Errors
/// [`FileError::Io`]; the old file is still there then.
pub fn write_public(path: &Path, content: &[u8]) -> Result<(), FileError> {
    write(path, content, PUBLIC)
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(failed("read", path))
}

pub(super) fn read_private(path: &Path) -> Result<Vec<u8>, FileError> {
    let mode = fs::metadata(path).map_err(failed("read", path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::Open { path: path.to_owned(), mode });
    }
    read(path)
}

pub(crate) fn make_private_folder(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(failed("create", path))?;
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed("protect", path))
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let fresh = path.with_extension("new");
    let attempt = || -> io::Result<()> {
        // A left-over of an interrupted write may have another mode.
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    attempt().map_err(failed("write", path))
}

pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::Io { action, path, source }
}
