//! The file operations that a group needs, few enough to be simulated faithfully.
//!
//! A group owns one directory. Names are flat. Nothing here knows what the files mean.

use std::io;

use bytes::Bytes;
use rhumb_ports::BoxFuture;

mod file;
#[cfg(any(test, feature = "sim"))]
mod sim;

pub use file::{FileDisk, OpenError};
#[cfg(any(test, feature = "sim"))]
pub use sim::{Faults, SimDisk};

/// A directory of files.
///
/// Operations of one caller are awaited one after another. A future that was polled may finish
/// its operation even when it is dropped.
pub trait Disk: Send + Sync + 'static {
    /// The names of all files.
    fn list(&self) -> BoxFuture<'_, io::Result<Vec<String>>>;
    /// A file's whole content; `None` when there is no such file.
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Option<Bytes>>>;
    /// Puts a file in place of what had its name, or of nothing, all or nothing; content and name
    /// are durable once this returns.
    fn replace<'a>(&'a self, name: &'a str, content: Bytes) -> BoxFuture<'a, io::Result<()>>;
    /// Writes at the end of an existing file; durable only after [`Disk::sync`].
    fn append<'a>(&'a self, name: &'a str, content: Bytes) -> BoxFuture<'a, io::Result<()>>;
    /// Makes what was appended to a file durable.
    fn sync<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<()>>;
    /// Overwrites a small file in place, creating it when needed, with no promise that it, or
    /// any part of it, survives a crash.
    fn hint<'a>(&'a self, name: &'a str, content: Bytes) -> BoxFuture<'a, io::Result<()>>;
    /// Removes a file if it exists; a crash may bring it back.
    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<()>>;
}
