//! What can go wrong, in the words of whoever must mend it.
//!
//! Every refusal is a [`Refusal`]: the thing, the cause and the cure, one line. The variants say what *kind* of
//! no it is; they map one to one on the exit codes of `p2pbench`.

use std::{fmt, io};

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A no, with its reason and its cure. Displays as one line: `thing: cause; cure`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was refused or failed: a device address, a path, an option.
    pub thing: String,
    /// Why.
    pub cause: String,
    /// What to do about it.
    pub cure: String,
}

impl Refusal {
    /// Puts the three parts together. Line breaks become spaces: a refusal is one line.
    pub fn new(thing: impl fmt::Display, cause: impl fmt::Display, cure: impl fmt::Display) -> Self {
        let line = |part: &dyn fmt::Display| part.to_string().replace(['\n', '\r'], " ");
        Self { thing: line(&thing), cause: line(&cause), cure: line(&cure) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.thing, self.cause, self.cure)
    }
}

/// The command with which root lets a user have `path`: `rights` as chmod(1) names them.
pub(crate) fn grant(path: impl fmt::Display, rights: &str) -> String {
    let path = quoted(&path.to_string());
    format!(
        "have root run `chgrp GROUP {path} && chmod g+{rights} {path}`, GROUP being one of this user's (`id -Gn` lists them)"
    )
}

/// As a shell takes it.
pub(crate) fn quoted(path: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._:+-".contains(letter);
    if path.chars().all(is_plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

/// A system call that failed: which call, then (as its source) why.
#[derive(Debug, thiserror::Error)]
#[error("{call} failed")]
pub struct SyscallError {
    /// The call, as its manual page is named.
    pub call: &'static str,
    /// The kernel's errno.
    pub source: io::Error,
}

/// Everything that this crate answers instead of a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel's rules allow no transfer between the two devices.
    #[error("{0}")]
    NoRoute(Refusal),
    /// Bytes did not arrive, though the kernel's rules allow the route and the operation ended well.
    #[error("{0}")]
    Disproved(Refusal),
    /// The file cannot do direct I/O into peer memory: block stack, filesystem or open flags.
    #[error("{0}")]
    NoDirectIo(Refusal),
    /// The provider's memory is not ours to allocate: a foreign driver, or an unpublished pool.
    #[error("{0}")]
    ForeignProvider(Refusal),
    /// Wrong input: an address that does not parse, a range out of bounds, a length that is not aligned.
    #[error("{0}")]
    Invalid(Refusal),
    /// No such device or file.
    #[error("{0}")]
    NotFound(Refusal),
    /// Privilege, a kernel option or a module is missing, so that the question cannot be answered or the call not made.
    #[error("{0}")]
    NotAllowed(Refusal),
    /// The provider has not enough free memory.
    #[error("{0}")]
    PoolExhausted(Refusal),
    /// A wait reached its deadline. What was in flight still is.
    #[error("{0}")]
    Deadline(Refusal),
    /// The queue holds as many operations as it can: wait for one first.
    #[error("{0}")]
    QueueFull(Refusal),
    /// An operation failed.
    #[error("{refusal}")]
    Io {
        /// What failed, and what to do.
        refusal: Refusal,
        /// The call and its errno.
        source: SyscallError,
    },
}

impl Error {
    /// The refusal behind any variant.
    #[must_use]
    pub fn refusal(&self) -> &Refusal {
        match self {
            Self::NoRoute(r)
            | Self::Disproved(r)
            | Self::NoDirectIo(r)
            | Self::ForeignProvider(r)
            | Self::Invalid(r)
            | Self::NotFound(r)
            | Self::NotAllowed(r)
            | Self::PoolExhausted(r)
            | Self::Deadline(r)
            | Self::QueueFull(r)
            | Self::Io { refusal: r, .. } => r,
        }
    }

    /// A failed system call on `thing`, sorted by its errno: no privilege and no such thing are kinds of their own.
    pub(crate) fn syscall(call: &'static str, thing: impl fmt::Display, source: io::Error, cure: &str) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => {
                let cure = "run as root, or have root grant access to it";
                Self::NotAllowed(Refusal::new(thing, format!("{call}: {source}"), cure))
            }
            io::ErrorKind::NotFound => {
                Self::NotFound(Refusal::new(thing, format!("{call}: it does not exist"), "check the name"))
            }
            // The errno is the source's to say.
            _ => {
                let refusal = Refusal::new(thing, format!("{call} failed"), cure);
                Self::Io { refusal, source: SyscallError { call, source } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_whatever_it_is_made_of() {
        let refusal = Refusal::new("a\nb", "c\r\nd", "e");
        assert_eq!(refusal.to_string(), "a b: c  d; e");
    }

    #[test]
    fn a_command_takes_any_path() {
        assert!(grant("/dev/nvme0n1", "r").contains("`chgrp GROUP /dev/nvme0n1 && chmod g+r /dev/nvme0n1`"));
        assert!(grant("/a b/it's", "rw").contains(r"chmod g+rw '/a b/it'\''s'`"));
    }

    #[test]
    fn a_failed_call_is_sorted_by_its_errno() {
        let error = |errno| Error::syscall("open", "/dev/x", io::Error::from_raw_os_error(errno), "replace the drive");
        assert!(matches!(error(libc::EACCES), Error::NotAllowed(_)));
        assert!(matches!(error(libc::EPERM), Error::NotAllowed(_)));
        assert!(error(libc::EPERM).to_string().contains("os error 1"), "which of the two is told");
        assert!(matches!(error(libc::ENOENT), Error::NotFound(_)));
        assert!(matches!(error(libc::EIO), Error::Io { .. }));
        assert_eq!(error(libc::EIO).to_string(), "/dev/x: open failed; replace the drive");
    }
}
