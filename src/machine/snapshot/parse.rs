//! A snapshot from text. Strict: what it does not understand it refuses, with the line.

use std::{fs, io, io::Read, iter::Peekable, path::Path, str::FromStr};

use super::{
    Answer, FileFacts, Snapshot, escape, open,
    write::{COMPLETE, ROW, VERSION, errno_name},
};
use crate::{Error, Refusal, Result};

/// The bytes that all answers in hexadecimal may claim: tens of thousands of config spaces. Zeroes are not written out, so
/// a short file could claim any length.
const MOST_BYTES: usize = 256 << 20;

/// The longest file. A recording has some 30 KiB for each PCI function.
const MOST_FILE: u64 = 256 << 20;

pub(super) fn load(path: &Path) -> Result<Snapshot> {
    let failed =
        |call| move |source| Error::syscall(call, path.display(), source, "name a file that p2pbench recorded");
    let file = fs::File::open(path).map_err(failed("open"))?;
    let mut text = String::new();
    // The limit holds for what has no end of its own, /dev/zero for one.
    match file.take(MOST_FILE + 1).read_to_string(&mut text) {
        Ok(length) if length as u64 <= MOST_FILE => {}
        Ok(_) => return Err(no_recording(path, "it is longer than 256 MiB")),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            return Err(no_recording(path, "it is a directory"));
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(no_recording(path, "it is no text")),
        Err(error) => return Err(failed("read")(error)),
    }
    text.parse().map_err(|error: Error| {
        let Refusal { thing, cause, cure } = error.refusal();
        Error::Invalid(Refusal::new(format_args!("{}, {thing}", path.display()), cause, cure))
    })
}

fn no_recording(path: &Path, cause: &str) -> Error {
    let cause = format!("no recorded machine: {cause}");
    Error::Invalid(Refusal::new(path.display(), cause, "name a file that p2pbench recorded"))
}

impl FromStr for Snapshot {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let lines = text.lines().enumerate().map(|(index, text)| Line { number: index + 1, text });
        let lines: Box<dyn Iterator<Item = Line<'_>>> = Box::new(lines.filter(Line::counts));
        let mut lines = Lines { lines: lines.peekable(), budget: MOST_BYTES };
        version(lines.next())?;
        let mut snapshot = Self::partial();
        while let Some(line) = lines.next() {
            match line.text {
                COMPLETE => snapshot.complete = true,
                _ => fact(&mut snapshot, line, &mut lines)?,
            }
        }
        Ok(snapshot)
    }
}

fn version(line: Option<Line<'_>>) -> Result<()> {
    let line = line.unwrap_or(Line { number: 1, text: "" });
    if line.text == VERSION {
        return Ok(());
    }
    if line.text.starts_with("p2pdma machine ") {
        let cause = format!("written in another version of the format than `{VERSION}`");
        return Err(line.error(cause, "read it with the release of p2pbench that wrote it, or record anew"));
    }
    Err(line
        .error(format!("not `{VERSION}`, with which a recorded machine begins"), "name a file that p2pbench recorded"))
}

#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    number: usize,
    text: &'a str,
}

impl Line<'_> {
    fn counts(&self) -> bool {
        !self.text.trim().is_empty() && !self.text.starts_with('#')
    }

    fn error(&self, cause: impl Into<String>, cure: &str) -> Error {
        Error::Invalid(Refusal::new(format_args!("line {}", self.number), cause.into(), cure))
    }

    /// `what` does not stand where it should; shows the start of the line.
    fn wrong(&self, what: &str) -> Error {
        let start: String = self.text.chars().take(60).collect();
        self.error(format!("no {what} in {start:?}"), "correct the line, or record anew")
    }
}

/// The lines that count.
struct Lines<'a> {
    lines: Peekable<Box<dyn Iterator<Item = Line<'a>> + 'a>>,
    /// What is left of [`MOST_BYTES`].
    budget: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<Line<'a>> {
        self.lines.next()
    }

    /// The next line, if it is a row of the answer above it: without the two blanks.
    fn row(&mut self) -> Option<(Line<'a>, &'a str)> {
        let line = self.lines.next_if(|line| line.text.starts_with("  "))?;
        Some((line, &line.text[2..]))
    }
}

/// `PATH QUESTION ANSWER`, and the rows of the answer.
fn fact(snapshot: &mut Snapshot, line: Line<'_>, lines: &mut Lines<'_>) -> Result<()> {
    let mut words = line.text.splitn(3, ' ');
    let path = words.next().and_then(escape::unescape_word).filter(|path| path.starts_with('/'));
    let path = path.ok_or_else(|| line.wrong("path"))?;
    let question = words.next().unwrap_or_default();
    let fact = Fact { line, answer: words.next().unwrap_or_default() };
    let answers = snapshot.at(path);
    match question {
        "link" => fact.put(&mut answers.link, |fact| fact.link()),
        "list" => fact.put(&mut answers.list, |fact| fact.list(lines)),
        "open" => fact.put(&mut answers.open, |fact| fact.open(lines).map(Box::new)),
        "read" => fact.put(&mut answers.read, |fact| fact.read(lines)),
        "size" => fact.put(&mut answers.size, |fact| fact.size()),
        _ => Err(line.wrong("question (link, list, open, read or size)")),
    }
}

/// A line with the answer that stands in it.
#[derive(Clone, Copy)]
struct Fact<'a> {
    line: Line<'a>,
    answer: &'a str,
}

impl Fact<'_> {
    fn put<T>(self, place: &mut Option<Answer<T>>, value: impl FnOnce(Self) -> Result<T>) -> Result<()> {
        if place.is_some() {
            return Err(self.line.error("the path has answered this question already", "take one of the lines out"));
        }
        *place = Some(match self.answer.strip_prefix("error ") {
            Some(name) => Err(errno(name).ok_or_else(|| self.line.wrong("errno"))?),
            None => Ok(value(self)?),
        });
        Ok(())
    }

    fn link(self) -> Result<String> {
        escape::unescape_word(self.answer).ok_or_else(|| self.line.wrong("target of a link"))
    }

    fn size(self) -> Result<u64> {
        self.answer.parse().map_err(|_| self.line.wrong("size"))
    }

    fn list(self, lines: &mut Lines<'_>) -> Result<Vec<String>> {
        if !self.answer.is_empty() {
            return Err(self.line.wrong("error, or names in rows of their own,"));
        }
        let mut names: Vec<String> = Vec::new();
        while let Some((line, row)) = lines.row() {
            let name = escape::unescape_word(row).filter(|name| !name.contains('/'));
            let name = name.ok_or_else(|| line.wrong("name"))?;
            if names.last().is_some_and(|last| *last >= name) {
                return Err(line.error("a name that is not behind the one above it", "sort the names"));
            }
            names.push(name);
        }
        Ok(names)
    }

    fn open(self, lines: &mut Lines<'_>) -> Result<FileFacts> {
        let mut rows = open::Rows::default();
        if !self.answer.is_empty() {
            return Err(self.line.wrong("error, or rows,"));
        }
        while let Some((line, row)) = lines.row() {
            rows.take(row).ok_or_else(|| line.wrong("row of what a file says (each once)"))?;
        }
        rows.file().ok_or_else(|| self.line.wrong("kind and size in the rows below"))
    }

    fn read(self, lines: &mut Lines<'_>) -> Result<Vec<u8>> {
        if let Some(text) = self.answer.strip_prefix("= ") {
            return text_line(text).ok_or_else(|| self.line.wrong("text"));
        }
        match self.answer.split_once(' ') {
            None if self.answer == "text" => text(lines),
            Some(("bytes", length)) => self.bytes(length, lines),
            _ => Err(self.line.wrong("bytes (`= TEXT`, `text`, `bytes N` or `error ERRNO`)")),
        }
    }

    fn bytes(self, length: &str, lines: &mut Lines<'_>) -> Result<Vec<u8>> {
        let length: usize = length.parse().map_err(|_| self.line.wrong("number of bytes"))?;
        let rest = lines.budget.checked_sub(length);
        lines.budget = rest.ok_or_else(|| self.line.wrong("believable number of bytes (256 MiB in all)"))?;
        let mut bytes = vec![0; length];
        let mut next = 0;
        while let Some((line, row)) = lines.row() {
            let (offset, row) = bytes_of(row).ok_or_else(|| line.wrong("row of bytes"))?;
            let place = bytes.get_mut(offset..offset + row.len()).filter(|_| offset >= next);
            place.ok_or_else(|| line.wrong("bytes behind the row above and within the length"))?.copy_from_slice(&row);
            next = offset + ROW;
        }
        Ok(bytes)
    }
}

fn text(lines: &mut Lines<'_>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some((line, row)) = lines.row() {
        let text = row.strip_prefix('|').map(|text| text.strip_prefix(' ').unwrap_or(text));
        bytes.extend(text.and_then(text_line).ok_or_else(|| line.wrong("`|` and text"))?);
    }
    Ok(bytes)
}

/// A line with its line break, or without one where a backslash says so.
fn text_line(text: &str) -> Option<Vec<u8>> {
    if let Some(bytes) = escape::unescape(text) {
        return Some([&bytes[..], b"\n"].concat());
    }
    escape::unescape(text.strip_suffix('\\')?)
}

/// `OFFSET  XX XX ...`: at most a row, at a multiple of a row's length.
fn bytes_of(row: &str) -> Option<(usize, Vec<u8>)> {
    let (offset, digits) = row.split_once("  ")?;
    let offset = usize::from_str_radix(offset, 16).ok().filter(|&offset| offset % ROW == 0 && offset < MOST_BYTES)?;
    let bytes: Vec<u8> = digits.split(' ').map(escape::byte).collect::<Option<_>>()?;
    (bytes.len() <= ROW).then_some((offset, bytes))
}

/// By name or by number, as the kernel has them: 1 to 4095 (`MAX_ERRNO`, include/linux/err.h).
fn errno(name: &str) -> Option<i32> {
    let by_number = name.parse().ok().filter(|errno| (1..=4095).contains(errno));
    by_number.or_else(|| (1..=255).find(|&errno| errno_name(errno) == name))
}
