//! A machine's facts held in memory: what the mock generates, what a recorder remembers, what a file of either holds.

mod escape;
mod open;
mod parse;
mod table;
#[cfg(test)]
mod tests;
mod write;

use std::{borrow::Cow, collections::BTreeSet, io, path::Path};

use super::{
    facts::{Facts, resolve},
    file::FileFacts,
};
use crate::Result;
use table::Table;

/// Facts by path, in memory or as text.
///
/// It is *complete* or *partial*. In a complete one, which is what [`new`](Self::new) begins, whatever is not there does
/// not exist (ENOENT), and directories are implied by what lies in them: a mock machine. A partial one is a recording:
/// it holds answers to the questions that were asked, and nothing else is known. Such a question is answered with
/// [`NotRecorded`], never with ENOENT, so that a later version of a decoder that asks for more takes it for unreadable
/// and not for absent. Only what the recording implies is absent: a name that is missing in a directory that was
/// listed, and what lies below something absent.
///
/// # As text
///
/// [`Display`](std::fmt::Display) writes it, [`FromStr`](std::str::FromStr) reads it. One fact a line, by path, then by
/// question; longer answers follow in rows that begin with two blanks:
///
/// ```
/// # let text = r#"
/// p2pdma machine 1
/// ## Comments and empty lines count for nothing.
/// /proc/cpuinfo read text
///   | processor\t: 0
///   | vendor_id\t: AuthenticAMD
/// /sys/bus/pci/devices list
///   0000:00:01.0
/// /sys/bus/pci/devices/0000:00:01.0 link /sys/devices/pci0000:00/0000:00:01.0
/// /sys/devices/pci0000:00/0000:00:01.0/class read = 0x060400
/// /sys/devices/pci0000:00/0000:00:01.0/config read bytes 4096
///   000  36 1b 0c 00 06 01 10 00 00 00 04 06 00 00 01 00
///   0f0  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01
/// /sys/devices/pci0000:00/0000:00:01.0/config size 4096
/// /sys/devices/pci0000:00/0000:00:01.0/physfn link error ENOENT
/// # "#.trim_start();
/// # use p2pdma::machine::{Facts, Machine, Snapshot};
/// # let machine = Machine::recorded(text.parse::<Snapshot>()?);
/// # assert_eq!(machine.facts().hex("/sys/devices/pci0000:00/0000:00:01.0/class"), Some(0x060400));
/// # assert_eq!(machine.facts().read("/sys/devices/pci0000:00/0000:00:01.0/config")?[0xff], 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// - `open` is what a file said that was opened with `O_DIRECT`, a [`FileFacts`] by rows: `block` or `regular` with the device's
///   number, or `other`; `size`; then as far as they were told `dio MEMORY OFFSET`, `flags`, `fs_block`, `hole`, `mount`, `path`.
/// - `read = TEXT` is a line with its line break, `read text` a line a row, `read bytes N` N bytes in hexadecimal; rows of
///   16 zeroes are left out.
/// - A backslash begins an escape: `\\`, `\t`, and `\xNN` for a byte that is not printable, or a blank in a name or at the
///   end of a line. One at the very end of a text says that the line has no line break.
/// - Errors are errnos by name, or by number where Linux names none.
/// - The line `complete` makes it a complete one, for mock machines written by hand ([`Mock::described`]).
///
/// [`Mock::described`]: super::Mock::described
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    answers: Table,
    complete: bool,
}

/// What one path answered; `None` to what it was not asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answers {
    pub(super) read: Option<Answer<Vec<u8>>>,
    pub(super) size: Option<Answer<u64>>,
    pub(super) link: Option<Answer<String>>,
    pub(super) list: Option<Answer<Vec<String>>>,
    /// Few have it, and it is long.
    pub(super) open: Option<Answer<Box<FileFacts>>>,
}

/// An answer, or an errno.
pub(super) type Answer<T> = std::result::Result<T, i32>;

/// The error, within an [`io::Error`], of a question that nobody asked when the machine was recorded: the answer is
/// unknown. It is no errno, as no machine gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not recorded")]
pub struct NotRecorded;

impl NotRecorded {
    /// Whether that is what an error says.
    #[must_use]
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Self::new()
    }
}

impl Snapshot {
    /// An empty machine: nothing exists.
    #[must_use]
    pub fn new() -> Self {
        Self { answers: Table::default(), complete: true }
    }

    /// A machine of which nothing is known yet.
    #[must_use]
    pub fn partial() -> Self {
        Self { complete: false, ..Self::new() }
    }

    /// Reads a file that holds one as text.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::NotAllowed`](crate::Error::NotAllowed) and
    /// [`Error::Io`](crate::Error::Io) as the file answers; [`Error::Invalid`](crate::Error::Invalid), with the line and
    /// what is wrong there, when it holds something else.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        parse::load(path.as_ref())
    }

    /// Whether what is not here does not exist.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// A file with these bytes.
    pub fn file(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> &mut Self {
        *self.at(path) = Answers { read: Some(Ok(bytes.into())), ..Answers::default() };
        self
    }

    /// A file of which this user may read only `bytes`, while `stat` reports `size`: config space without privilege.
    pub fn file_of_size(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>, size: u64) -> &mut Self {
        *self.at(path) = Answers { read: Some(Ok(bytes.into())), size: Some(Ok(size)), ..Answers::default() };
        self
    }

    /// A symbolic link with this target, relative or absolute.
    pub fn symlink(&mut self, path: impl Into<String>, target: impl Into<String>) -> &mut Self {
        *self.at(path) = Answers { link: Some(Ok(target.into())), ..Answers::default() };
        self
    }

    /// A path that answers every question with this errno.
    pub fn refused(&mut self, path: impl Into<String>, errno: i32) -> &mut Self {
        let (read, size) = (Some(Err(errno)), Some(Err(errno)));
        let (link, list, open) = (Some(Err(errno)), Some(Err(errno)), Some(Err(errno)));
        *self.at(path) = Answers { read, size, link, list, open };
        self
    }

    /// How many answers it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.answers.iter().map(|(_, answers)| answers.errnos().into_iter().flatten().count()).sum()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// The paths that answered a question with this errno, in order.
    pub fn refusing(&self, errno: i32) -> impl Iterator<Item = &str> {
        let refuses = move |answers: &Answers| answers.errnos().contains(&Some(Some(errno)));
        self.answers.iter().filter(move |(_, answers)| refuses(answers)).map(|(path, _)| path)
    }

    pub(super) fn at(&mut self, path: impl Into<String>) -> &mut Answers {
        self.answers.at(path.into())
    }

    /// Every path with its answers, to be rewritten.
    pub(super) fn map(self, rewrite: impl FnMut((String, Answers)) -> (String, Answers)) -> Self {
        Self { answers: self.answers.into_entries().map(rewrite).collect(), ..self }
    }

    /// The error for what has no answer of its own.
    fn without_answer(&self, path: &str) -> io::Error {
        if self.complete || self.is_absent(path) { errno(libc::ENOENT) } else { io::Error::other(NotRecorded) }
    }

    /// Whether what was answered implies that there is no such thing.
    fn is_absent(&self, path: &str) -> bool {
        let said = |path: &str| self.answers.get(path).is_some_and(Answers::is_absent);
        let parts = path.match_indices('/').map(|(index, _)| path.split_at(index));
        said(path)
            || parts.into_iter().any(|(above, below)| {
                let name = below[1..].split('/').next().unwrap_or_default();
                let listed = self.answers.get(above).and_then(|answers| answers.list.as_ref()?.as_ref().ok());
                said(above) || listed.is_some_and(|names| !names.iter().any(|listed| listed == name))
            })
    }

    fn implied_list(&self, path: &str) -> Option<Vec<String>> {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let below = self.answers.beginning(&prefix).filter_map(|path| path.strip_prefix(&prefix));
        let names: BTreeSet<&str> = below.filter_map(|rest| rest.split('/').next()).collect();
        (self.complete && !names.is_empty()).then(|| names.into_iter().map(str::to_owned).collect())
    }
}

impl Answers {
    /// What each question was answered, as far as asked: an errno or not.
    fn errnos(&self) -> [Option<Option<i32>>; 5] {
        [
            self.read.as_ref().map(|read| read.as_ref().err().copied()),
            self.size.as_ref().map(|size| size.err()),
            self.link.as_ref().map(|link| link.as_ref().err().copied()),
            self.list.as_ref().map(|list| list.as_ref().err().copied()),
            self.open.as_ref().map(|open| open.as_ref().err().copied()),
        ]
    }

    fn is_absent(&self) -> bool {
        self.errnos().contains(&Some(Some(libc::ENOENT)))
    }
}

fn read(answer: &Answer<Vec<u8>>) -> io::Result<Cow<'_, [u8]>> {
    answer.as_ref().map(|bytes| Cow::Borrowed(bytes.as_slice())).map_err(|&no| errno(no))
}

fn errno(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

impl Facts for Snapshot {
    /// Through a link, as the kernel does; one link far.
    fn read(&self, path: &str) -> io::Result<Cow<'_, [u8]>> {
        let own = |path: &str| self.answers.get(path).and_then(|answers| answers.read.as_ref());
        let target = |path: &str| self.answers.get(path).and_then(|answers| answers.link.as_ref()?.as_ref().ok());
        if let Some(answer) = own(path) {
            return read(answer);
        }
        let Some(first) = target(path).map(|target| resolve(path, target)) else {
            return Err(self.without_answer(path));
        };
        match own(&first) {
            Some(answer) => read(answer),
            None if target(&first).is_some() => Err(errno(libc::ELOOP)),
            None => Err(self.without_answer(&first)),
        }
    }

    fn size(&self, path: &str) -> io::Result<u64> {
        let Some(answers) = self.answers.get(path) else { return Err(self.without_answer(path)) };
        match (&answers.size, &answers.read) {
            (Some(size), _) => size.map_err(errno),
            (None, Some(read)) if self.complete => {
                read.as_ref().map(|bytes| bytes.len() as u64).map_err(|&no| errno(no))
            }
            _ => Err(self.without_answer(path)),
        }
    }

    fn link(&self, path: &str) -> io::Result<String> {
        match self.answers.get(path) {
            Some(Answers { link: Some(link), .. }) => {
                link.as_ref().map(|target| resolve(path, target)).map_err(|&no| errno(no))
            }
            Some(Answers { read: Some(Ok(_)), .. }) if self.complete => Err(errno(libc::EINVAL)),
            _ => Err(self.without_answer(path)),
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        match self.answers.get(path).and_then(|answers| answers.list.clone()) {
            Some(list) => list.map_err(errno),
            None => self.implied_list(path).ok_or_else(|| self.without_answer(path)),
        }
    }

    fn opened(&self, path: &str) -> io::Result<FileFacts> {
        match self.answers.get(path).and_then(|answers| answers.open.clone()) {
            Some(open) => open.map(|facts| *facts).map_err(errno),
            None => Err(self.without_answer(path)),
        }
    }
}
