//! A snapshot as text.

use std::fmt;

use nix::errno::Errno;

use super::{Answer, Snapshot, escape, open};

/// The first line of every file. Files of another version are refused.
pub(super) const VERSION: &str = "p2pdma machine 1";

/// The line that says: what is not here does not exist.
pub(super) const COMPLETE: &str = "complete";

/// Bytes in a row.
pub(super) const ROW: usize = 16;

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{VERSION}")?;
        if self.complete {
            writeln!(f, "{COMPLETE}")?;
        }
        for (path, answers) in self.answers.iter() {
            let path = escape::word(path);
            // By question, in alphabetical order.
            fact(f, &path, "link", answers.link.as_ref(), |f, target| writeln!(f, " {}", escape::word(target)))?;
            fact(f, &path, "list", answers.list.as_ref(), |f, names| list(f, names))?;
            fact(f, &path, "open", answers.open.as_ref(), |f, facts| open::write(f, facts))?;
            fact(f, &path, "read", answers.read.as_ref(), |f, bytes| read(f, bytes))?;
            fact(f, &path, "size", answers.size.as_ref(), |f, size| writeln!(f, " {size}"))?;
        }
        Ok(())
    }
}

fn fact<T>(
    f: &mut fmt::Formatter<'_>,
    path: &str,
    question: &str,
    answer: Option<&Answer<T>>,
    write: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    let Some(answer) = answer else { return Ok(()) };
    write!(f, "{path} {question}")?;
    match answer {
        Ok(value) => write(f, value),
        Err(errno) => writeln!(f, " error {}", errno_name(*errno)),
    }
}

/// Its name; its number where nix knows none.
pub(super) fn errno_name(errno: i32) -> String {
    match Errno::from_raw(errno) {
        Errno::UnknownErrno => errno.to_string(),
        known => format!("{known:?}"),
    }
}

fn list(f: &mut fmt::Formatter<'_>, names: &[String]) -> fmt::Result {
    writeln!(f)?;
    names.iter().try_for_each(|name| writeln!(f, "  {}", escape::word(name)))
}

fn read(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    if !escape::is_text(bytes) {
        return hexadecimal(f, bytes);
    }
    let lines: Vec<String> = bytes.split_inclusive(|&byte| byte == b'\n').map(line).collect();
    match &lines[..] {
        [line] if !line.is_empty() => writeln!(f, " = {line}"),
        lines => {
            writeln!(f, " text")?;
            lines.iter().try_for_each(|line| writeln!(f, "{}", format_args!("  | {line}").to_string().trim_end()))
        }
    }
}

/// A backslash stands where there is no line break.
fn line(bytes: &[u8]) -> String {
    match bytes.strip_suffix(b"\n") {
        Some(line) => escape::line(line),
        None => escape::line(bytes) + "\\",
    }
}

fn hexadecimal(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    writeln!(f, " bytes {}", bytes.len())?;
    for (index, row) in bytes.chunks(ROW).enumerate().filter(|(_, row)| row.iter().any(|&byte| byte != 0)) {
        let digits: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(f, "  {:03x}  {}", index * ROW, digits.join(" "))?;
    }
    Ok(())
}
