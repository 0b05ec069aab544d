//! A machine's facts held in memory: what the mock generates.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use super::facts::{Facts, resolve};

/// Facts by path. Directories are implied by what lies in them.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone)]
enum Entry {
    /// The bytes, and the length that `stat` reports.
    File {
        bytes: Vec<u8>,
        size: u64,
    },
    Link(String),
    /// Reading it gives this errno.
    Refused(i32),
}

impl Snapshot {
    /// An empty machine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A file with these bytes.
    pub fn file(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> &mut Self {
        let bytes = bytes.into();
        let size = bytes.len() as u64;
        self.entries.insert(path.into(), Entry::File { bytes, size });
        self
    }

    /// A file of which this user may read only `bytes`, while `stat` reports `size`: config space without privilege.
    pub fn file_of_size(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>, size: u64) -> &mut Self {
        self.entries.insert(path.into(), Entry::File { bytes: bytes.into(), size });
        self
    }

    /// A symbolic link with this target, relative or absolute.
    pub fn symlink(&mut self, path: impl Into<String>, target: impl Into<String>) -> &mut Self {
        self.entries.insert(path.into(), Entry::Link(target.into()));
        self
    }

    /// A path that answers every reading with this errno.
    pub fn refused(&mut self, path: impl Into<String>, errno: i32) -> &mut Self {
        self.entries.insert(path.into(), Entry::Refused(errno));
        self
    }

    fn entry(&self, path: &str) -> io::Result<&Entry> {
        self.entries.get(path).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }
}

impl Facts for Snapshot {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        match self.entry(path)? {
            Entry::File { bytes, .. } => Ok(bytes.clone()),
            Entry::Link(target) => {
                let target = resolve(path, target);
                match self.entry(&target)? {
                    Entry::File { bytes, .. } => Ok(bytes.clone()),
                    Entry::Link(_) => Err(io::Error::from_raw_os_error(libc::ELOOP)),
                    Entry::Refused(errno) => Err(io::Error::from_raw_os_error(*errno)),
                }
            }
            Entry::Refused(errno) => Err(io::Error::from_raw_os_error(*errno)),
        }
    }

    fn size(&self, path: &str) -> io::Result<u64> {
        match self.entry(path)? {
            Entry::File { size, .. } => Ok(*size),
            Entry::Link(_) => Err(io::Error::from_raw_os_error(libc::EINVAL)),
            Entry::Refused(errno) => Err(io::Error::from_raw_os_error(*errno)),
        }
    }

    fn link(&self, path: &str) -> io::Result<String> {
        match self.entry(path)? {
            Entry::Link(target) => Ok(resolve(path, target)),
            Entry::File { .. } => Err(io::Error::from_raw_os_error(libc::EINVAL)),
            Entry::Refused(errno) => Err(io::Error::from_raw_os_error(*errno)),
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let names: BTreeSet<&str> = self
            .entries
            .range(prefix.clone()..)
            .map_while(|(path, _)| path.strip_prefix(&prefix))
            .filter_map(|rest| rest.split('/').next())
            .collect();
        if names.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::ENOENT));
        }
        Ok(names.into_iter().map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_lists_what_lies_in_it_once() {
        let mut snapshot = Snapshot::new();
        snapshot.file("/sys/a/x", "1").file("/sys/a/y/z", "2").file("/sys/a/y/w", "3").file("/sys/ab", "4");
        assert_eq!(snapshot.list("/sys/a").ok(), Some(vec!["x".to_owned(), "y".to_owned()]));
        assert!(snapshot.list("/sys/none").is_err());
    }

    #[test]
    fn a_refused_path_answers_with_its_errno() {
        let mut snapshot = Snapshot::new();
        snapshot.refused("/sys/config", libc::EACCES);
        assert_eq!(snapshot.read("/sys/config").err().and_then(|e| e.raw_os_error()), Some(libc::EACCES));
    }

    #[test]
    fn a_loop_of_links_is_an_error_and_no_hang() {
        let mut snapshot = Snapshot::new();
        snapshot.symlink("/a", "b").symlink("/b", "a");
        assert!(snapshot.read("/a").is_err());
    }
}
