//! What was read, and where.

use std::fmt;

/// A path and the value that was read there. Displays as `path = value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// A file of sysfs or procfs, or a call with the name of what it was made on.
    pub path: String,
    /// What it said, in one line.
    pub value: String,
}

impl Evidence {
    /// Line breaks in the value become spaces.
    pub fn new(path: impl Into<String>, value: impl fmt::Display) -> Self {
        Self { path: path.into(), value: value.to_string().trim_end().replace(['\n', '\r'], " ") }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.path, if self.value.is_empty() { "(empty)" } else { &self.value })
    }
}
