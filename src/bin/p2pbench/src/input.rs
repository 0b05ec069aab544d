//! Files that a user names, and that are read whole.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// Bytes. It holds for what has no end of its own, /dev/zero for one.
const MOST: u64 = 256 << 20;

/// The text of one.
pub(crate) fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(path)?.take(MOST + 1).read_to_string(&mut text)?;
    if length as u64 > MOST { Err(io::Error::other("it is longer than 256 MiB")) } else { Ok(text) }
}
