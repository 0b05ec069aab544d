//! Answers by path: in order for whoever lists or writes them, by hash for whoever asks. A scan of a large machine asks a hundred
//! thousand times, and paths of sysfs differ late.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::Answers;

/// # Invariants
///
/// `order` and `places` have the same paths, each with the same index into `answers`, and each index once.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    answers: Vec<Answers>,
    order: BTreeMap<Arc<str>, usize>,
    places: HashMap<Arc<str>, usize>,
}

impl Table {
    pub(super) fn get(&self, path: &str) -> Option<&Answers> {
        self.places.get(path).map(|place| &self.answers[*place])
    }

    /// The answers of a path; none where it is new.
    pub(super) fn at(&mut self, path: String) -> &mut Answers {
        let place = self.places.get(path.as_str()).copied().unwrap_or_else(|| self.add(path));
        &mut self.answers[place]
    }

    fn add(&mut self, path: String) -> usize {
        let (path, place) = (Arc::from(path), self.answers.len());
        self.answers.push(Answers::default());
        self.order.insert(Arc::clone(&path), place);
        self.places.insert(path, place);
        place
    }

    /// In order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Answers)> {
        self.order.iter().map(|(path, place)| (&**path, &self.answers[*place]))
    }

    /// The paths that begin so, in order.
    pub(super) fn beginning(&self, prefix: &str) -> impl Iterator<Item = &str> {
        let range = self.order.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        range.map(|(path, _)| &**path).take_while(move |path| path.starts_with(prefix))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Every path with its answers, in order.
    pub(super) fn into_entries(mut self) -> impl Iterator<Item = (String, Answers)> {
        self.order.into_iter().map(move |(path, place)| (path.to_string(), std::mem::take(&mut self.answers[place])))
    }
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
        self.iter().eq(other.iter())
    }
}

impl Eq for Table {}
