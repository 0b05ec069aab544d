//! What ends the program early, and with which exit code.

use std::{fmt, io, path::PathBuf, process::ExitCode};

use p2pdma::{Error, Refusal, topology::Route};

/// The reason for an exit code other than 0. Displays as one line.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library's answer.
    Library(Error),
    /// The same of one operation, with where it worked.
    At(String, Error),
    /// Data arrived wrong, or a check failed: 1.
    Failed(Refusal),
    /// Options that contradict the machine: 2.
    Usage(Refusal),
    /// An operation of our own failed: 4.
    Operation(Refusal),
    /// Ctrl-C or SIGTERM: 4.
    Interrupted {
        /// Operations of a device that did not answer in time.
        flying: usize,
    },
    /// A verdict that is printed already and has nothing to add but this code.
    Said(u8),
    /// A file of the user's could not be written: 4, or 3 for lack of privilege.
    File(PathBuf, io::Error),
    /// Printing failed: 4, or 0 when the reader just stopped listening.
    Output(io::Error),
}

impl Failure {
    /// A pair without a route, or with one that cannot be told.
    pub(crate) fn of_route(route: &Route) -> Self {
        let thing = format!("{} -> {}", route.client, route.provider);
        let refusal = Refusal::new(thing, route.cause(), route.remedies().join("; or "));
        Self::Library(match route.is_supported() {
            None => Error::NotAllowed(refusal),
            _ => Error::NoRoute(refusal),
        })
    }

    /// A machine with peer memory but no SSD that could use it.
    pub(crate) fn nothing_to_pair() -> Self {
        Self::Failed(Refusal::new("this machine", "it has peer memory but no NVMe SSD", "see `p2pbench topo`"))
    }

    /// The contract with scripts: see the top of `main.rs`.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    /// The same as a number.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Library(error) | Self::At(_, error) => library_code(error),
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Operation(_) => 4,
            Self::Said(code) => *code,
            Self::Interrupted { .. } => 4,
            Self::File(_, error) if error.kind() == io::ErrorKind::PermissionDenied => 3,
            Self::File(..) => 4,
            Self::Output(_) if self.is_silent() => 0,
            Self::Output(_) => 4,
        }
    }

    /// The reader has all it wanted: it has been told, or went away as `head` does.
    pub(crate) fn is_silent(&self) -> bool {
        match self {
            Self::Said(_) => true,
            Self::Output(error) => error.kind() == io::ErrorKind::BrokenPipe,
            _ => false,
        }
    }
}

fn library_code(error: &Error) -> u8 {
    match error {
        Error::NoRoute(_) | Error::Disproved(_) | Error::NoDirectIo(_) | Error::ForeignProvider(_) => 1,
        Error::Invalid(_) | Error::NotFound(_) => 2,
        Error::NotAllowed(_) => 3,
        _ => 4,
    }
}

/// The errno behind it, where the line does not name it already.
fn with_errno(f: &mut fmt::Formatter<'_>, error: &Error) -> fmt::Result {
    write!(f, "{error}")?;
    match std::error::Error::source(error).and_then(std::error::Error::source) {
        Some(errno) => write!(f, " ({errno})"),
        None => Ok(()),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library(error) => with_errno(f, error),
            Self::At(place, error) => {
                write!(f, "{place}: ")?;
                with_errno(f, error)
            }
            Self::Interrupted { flying: 0 } => {
                f.write_str("interrupted: nothing flies any more; the rows are what was measured so far")
            }
            Self::Interrupted { flying } => write!(
                f,
                "interrupted: {flying} operations still fly, and their memory is kept: the device does not answer; the rows \
                 are what was measured so far"
            ),
            Self::Said(code) => write!(f, "exit code {code}"),
            Self::Failed(refusal) | Self::Usage(refusal) | Self::Operation(refusal) => write!(f, "{refusal}"),
            Self::File(path, error) => write!(f, "{}: cannot be written: {error}; name another place", path.display()),
            Self::Output(error) => write!(f, "cannot print: {error}"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_no_has_its_code() {
        let refusal = || Refusal::new("a", "b", "c");
        assert_eq!(library_code(&Error::NoRoute(refusal())), 1);
        assert_eq!(library_code(&Error::Disproved(refusal())), 1);
        assert_eq!(library_code(&Error::NoDirectIo(refusal())), 1);
        assert_eq!(library_code(&Error::ForeignProvider(refusal())), 1);
        assert_eq!(library_code(&Error::Invalid(refusal())), 2);
        assert_eq!(library_code(&Error::NotFound(refusal())), 2);
        assert_eq!(library_code(&Error::NotAllowed(refusal())), 3);
        assert_eq!(library_code(&Error::PoolExhausted(refusal())), 4);
        assert_eq!(library_code(&Error::Deadline(refusal())), 4);
    }
}
