//! Answers by path: in order for whoever lists or writes them, by directory for whoever asks. A scan of a large machine asks a
//! hundred thousand times, of one directory after the other; paths of sysfs are long, and what they differ in comes last.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
};

use super::Answers;

/// # Invariants
///
/// Every path of `order` has its answers in `directories`, by the two halves that [`split`] makes, and nothing else has.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    order: BTreeSet<Box<str>>,
    directories: HashMap<Box<str>, BTreeMap<Box<str>, Answers>>,
}

impl Table {
    pub(super) fn get(&self, path: &str) -> Option<&Answers> {
        let (directory, name) = split(path);
        self.directories.get(directory)?.get(name)
    }

    /// The answers of a path; none where it is new.
    pub(super) fn at(&mut self, path: String) -> &mut Answers {
        let (directory, name) = split(&path);
        let answers = self.directories.entry(directory.into()).or_default().entry(name.into()).or_default();
        self.order.insert(path.into());
        answers
    }

    /// In order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Answers)> {
        self.order.iter().filter_map(|path| Some((&**path, self.get(path)?)))
    }

    /// The paths that begin so, in order.
    pub(super) fn beginning(&self, prefix: &str) -> impl Iterator<Item = &str> {
        let range = self.order.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        range.map(|path| &**path).take_while(move |path| path.starts_with(prefix))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Every path with its answers, in order.
    pub(super) fn into_entries(self) -> impl Iterator<Item = (String, Answers)> {
        let Self { order, mut directories } = self;
        order.into_iter().filter_map(move |path| {
            let (directory, name) = split(&path);
            let answers = directories.get_mut(directory)?.remove(name)?;
            Some((path.into_string(), answers))
        })
    }
}

/// The directory, with its slash, and the name in it.
fn split(path: &str) -> (&str, &str) {
    path.split_at(path.rfind('/').map_or(0, |slash| slash + 1))
}

/// Two of one path: the later counts.
impl FromIterator<(String, Answers)> for Table {
    fn from_iter<T: IntoIterator<Item = (String, Answers)>>(entries: T) -> Self {
        let mut table = Self::default();
        entries.into_iter().for_each(|(path, answers)| *table.at(path) = answers);
        table
    }
}

/// Whatever the order was in which they came.
impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.directories == other.directories
    }
}

impl Eq for Table {}
