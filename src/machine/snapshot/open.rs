//! What an opened file said, by rows: a word, and values.

use std::{fmt, str::FromStr};

use super::escape;
use crate::machine::{DeviceNumber, DioAlignment, FileKind, InodeFlags, file::FileFacts};

/// One row for each thing that was told.
pub(super) fn write(f: &mut fmt::Formatter<'_>, file: &FileFacts) -> fmt::Result {
    writeln!(f)?;
    let mut row = |word: &str, value: String| writeln!(f, "  {word}{value}");
    let mut number = |word: &str, value: Option<u64>| value.map_or(Ok(()), |value| row(word, format!(" {value}")));
    number("fs_block", file.block.map(u64::from))?;
    number("hole", file.hole)?;
    number("mount", file.mount)?;
    number("size", Some(file.size))?;
    match file.kind {
        Some(FileKind::Block(device)) => row("block", format!(" {device}"))?,
        Some(FileKind::Regular(device)) => row("regular", format!(" {device}"))?,
        None => row("other", String::new())?,
    }
    let dio = file.dio.map(|DioAlignment { memory, offset }| row("dio", format!(" {memory} {offset}")));
    let flags = file.flags.map(|flags| row("flags", format!(" {:#010x}", flags.bits())));
    let path = file.path.as_ref().map(|path| row("path", format!(" {}", escape::word(path))));
    [dio, flags, path].into_iter().flatten().collect()
}

/// Rows that were read so far.
#[derive(Debug, Default)]
pub(super) struct Rows {
    kind: Option<Option<FileKind>>,
    size: Option<u64>,
    dio: Option<DioAlignment>,
    flags: Option<InodeFlags>,
    block: Option<u32>,
    hole: Option<u64>,
    mount: Option<u64>,
    path: Option<String>,
}

impl Rows {
    /// Takes a row in; `None` when it is none, or stands for the second time.
    pub(super) fn take(&mut self, row: &str) -> Option<()> {
        let (word, value) = row.split_once(' ').unwrap_or((row, ""));
        match word {
            "other" if value.is_empty() => put(&mut self.kind, Some(None)),
            "block" => put(&mut self.kind, device(value).map(|device| Some(FileKind::Block(device)))),
            "regular" => put(&mut self.kind, device(value).map(|device| Some(FileKind::Regular(device)))),
            "size" => put(&mut self.size, number(value)),
            "dio" => put(&mut self.dio, alignment(value)),
            "flags" => put(&mut self.flags, flags(value)),
            "fs_block" => put(&mut self.block, number(value)),
            "hole" => put(&mut self.hole, number(value)),
            "mount" => put(&mut self.mount, number(value)),
            "path" => put(&mut self.path, escape::unescape_word(value)),
            _ => None,
        }
    }

    /// `None` when what every file says is missing.
    pub(super) fn file(self) -> Option<FileFacts> {
        let Self { kind, size, dio, flags, block, hole, mount, path } = self;
        Some(FileFacts { kind: kind?, size: size?, dio, flags, block, hole, mount, path })
    }
}

fn put<T>(place: &mut Option<T>, value: Option<T>) -> Option<()> {
    place.is_none().then_some(())?;
    *place = Some(value?);
    Some(())
}

/// Digits and nothing else: one way to write a number.
fn number<T: FromStr + ToString>(text: &str) -> Option<T> {
    text.parse::<T>().ok().filter(|number| number.to_string() == text)
}

fn device(text: &str) -> Option<DeviceNumber> {
    let (major, minor) = text.split_once(':')?;
    Some(DeviceNumber { major: number(major)?, minor: number(minor)? })
}

fn alignment(text: &str) -> Option<DioAlignment> {
    let (memory, offset) = text.split_once(' ')?;
    Some(DioAlignment { memory: number(memory)?, offset: number(offset)? })
}

fn flags(text: &str) -> Option<InodeFlags> {
    let bits = u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()?;
    (format!("{bits:#010x}") == text).then(|| InodeFlags::from_bits_retain(bits))
}
