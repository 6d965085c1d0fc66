//! The order of entries, and what it rules out.

use bytes::Bytes;

use crate::{ArchivePath, Entry, EntryError, Kind};

/// Checks the entries of an archive as they come: each is well-formed, stands in a directory that the
/// archive has, and comes after everything before it in the order of a walk. So nothing stands twice,
/// and nothing stands in what the archive has as a file or a link.
///
/// Memory: one name per level of the tree.
#[derive(Debug, Default)]
pub struct Order {
    /// The directories from the top to the last entry, each with the last name that was seen in it.
    open: Vec<Level>,
    /// The last name at the top.
    last: Option<Bytes>,
    begun: bool,
}

#[derive(Debug)]
struct Level {
    name: Bytes,
    last: Option<Bytes>,
}

/// Why an entry is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// It contradicts itself.
    #[error("`{path}` is refused")]
    Entry {
        /// Which entry.
        path: ArchivePath,
        /// What is wrong with it.
        source: EntryError,
    },
    /// It stands twice, or too late.
    #[error("`{0}` stands twice, or out of order")]
    Late(ArchivePath),
    /// It stands in what is no directory of the archive.
    #[error("`{0}` stands in what is no directory of the archive")]
    Astray(ArchivePath),
}

impl Order {
    /// Before the first entry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// When it is not allowed to come now; then the archive as a whole is refused.
    pub fn admit(&mut self, entry: &Entry) -> Result<(), OrderError> {
        let path = &entry.path;
        entry.check().map_err(|source| OrderError::Entry { path: path.clone(), source })?;
        let begun = std::mem::replace(&mut self.begun, true);
        let Some((parent, name)) = path.split() else {
            let first_directory = !begun && entry.kind == Kind::Directory;
            return if first_directory { Ok(()) } else { Err(OrderError::Late(path.clone())) };
        };
        let depth = parent.names().count();
        let same = self.open.iter().zip(parent.names()).all(|(level, name)| level.name == name);
        if depth > self.open.len() || !same {
            return Err(OrderError::Astray(path.clone()));
        }
        self.open.truncate(depth);
        let last = self.open.last_mut().map_or(&mut self.last, |level| &mut level.last);
        if last.as_deref().is_some_and(|last| last >= name) {
            return Err(OrderError::Late(path.clone()));
        }
        *last = Some(Bytes::copy_from_slice(name));
        if entry.kind == Kind::Directory {
            self.open.push(Level { name: Bytes::copy_from_slice(name), last: None });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mtime;

    fn entry(path: &str, kind: Kind) -> Entry {
        let path = ArchivePath::new(path.to_owned()).unwrap();
        Entry { path, mode: 0o755, mtime: Mtime::default(), owner: None, kind }
    }

    fn directory(path: &str) -> Entry {
        entry(path, Kind::Directory)
    }

    fn link(path: &str) -> Entry {
        entry(path, Kind::Symlink { target: Bytes::from_static(b"/etc") })
    }

    fn hard(path: &str, to: &str) -> Entry {
        entry(path, Kind::HardLink { to: ArchivePath::new(to.to_owned()).unwrap() })
    }

    fn admitted(entries: &[Entry]) -> Result<(), OrderError> {
        let mut order = Order::new();
        entries.iter().try_for_each(|entry| order.admit(entry))
    }

    #[test]
    fn a_walk_is_admitted() {
        let walk = [
            directory(""),
            directory("a"),
            link("a/b"),
            directory("a/c"),
            link("a/c/d"),
            link("a.b"),
            link("b"),
        ];
        assert_eq!(admitted(&walk), Ok(()));
        assert_eq!(admitted(&[link("alone")]), Ok(()));
    }

    #[test]
    fn nothing_goes_through_a_link_of_the_archive() {
        assert!(matches!(admitted(&[link("a"), link("a/passwd")]), Err(OrderError::Astray(_))));
        // Nor through a link that takes a directory's place.
        let replaced = [directory("a"), link("a/b"), link("a"), link("a/c")];
        assert!(matches!(admitted(&replaced), Err(OrderError::Late(_))));
    }

    #[test]
    fn nothing_stands_twice_or_without_its_directory() {
        assert!(admitted(&[link("a"), link("a")]).is_err());
        assert!(admitted(&[link("b"), link("a")]).is_err());
        assert!(admitted(&[link("a/b")]).is_err());
        assert!(admitted(&[directory("a"), directory("b"), link("a/c")]).is_err());
        assert!(admitted(&[directory(""), directory("")]).is_err());
        assert!(admitted(&[link("")]).is_err());
    }

    #[test]
    fn a_hard_link_names_what_came_before() {
        assert_eq!(admitted(&[link("a"), hard("b", "a")]), Ok(()));
        assert!(admitted(&[hard("a", "b")]).is_err());
        assert!(admitted(&[hard("a", "a")]).is_err());
        assert!(admitted(&[directory(""), hard("a", "")]).is_err());
    }
}
