//! Facts: what a machine says of itself, as bytes behind paths.

use std::{borrow::Cow, fmt, io};

use super::file::FileFacts;

/// Where facts are read: sysfs, procfs and config space, by absolute path.
///
/// Nothing is interpreted here. An errno is a fact too: what cannot be read is reported as it was refused.
///
/// For decoders: only [`io::ErrorKind::NotFound`] means that there is no such thing. Any other error means that the
/// answer is unknown, be it for lack of privilege, or because a recording was made when nobody asked for it
/// ([`NotRecorded`](super::NotRecorded)).
pub trait Facts: fmt::Debug + Send + Sync {
    /// The bytes of a file. Of `config`, as many as this user may read: 64 without privilege.
    fn read(&self, path: &str) -> io::Result<Cow<'_, [u8]>>;

    /// The length that `stat` reports. Of `config` it is the size of the config space (256 or 4096), for any user.
    fn size(&self, path: &str) -> io::Result<u64>;

    /// Where a symbolic link leads, as an absolute path without `.` and `..`.
    fn link(&self, path: &str) -> io::Result<String>;

    /// The names in a directory, sorted.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;

    /// What is told of a file that is opened with `O_DIRECT` for reading, and closed again.
    fn opened(&self, path: &str) -> io::Result<FileFacts>;
}

/// The readings that every room needs, on top of the raw ones.
impl dyn Facts + '_ {
    /// A one-value file without its final line break; `None` when it is absent, unreadable or not UTF-8.
    pub fn text(&self, path: &str) -> Option<String> {
        self.decoded(path, |text| Some(text.to_owned()))
    }

    /// What a decoder makes of such a file.
    pub fn decoded<T>(&self, path: &str, decoder: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let bytes = self.read(path).ok()?;
        decoder(std::str::from_utf8(&bytes).ok()?.trim_end())
    }

    /// A decimal value.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.decoded(path, |text| text.parse().ok())
    }

    /// A value that sysfs prints as `0x...`.
    pub fn hex(&self, path: &str) -> Option<u64> {
        self.decoded(path, |text| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok())
    }

    /// The last component of where a link leads: `driver` -> `nvme`.
    pub fn link_name(&self, path: &str) -> Option<String> {
        let mut target = self.link(path).ok()?;
        target.drain(..=target.rfind('/')?);
        Some(target).filter(|name| !name.is_empty())
    }
}

/// Joins a link's target to the directory the link is in and takes `.` and `..` out, without asking any filesystem.
pub(crate) fn resolve(link: &str, target: &str) -> String {
    let is_plain = |part| !matches!(part, "" | "." | "..");
    if target.strip_prefix('/').is_some_and(|parts| parts.split('/').all(is_plain)) {
        return target.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    let directory = link.rsplit_once('/').map_or("", |(directory, _)| directory);
    let relative = !target.starts_with('/');
    for part in directory.split('/').filter(|_| relative).chain(target.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_resolves_like_the_kernels_own() {
        let target = "../../../devices/pci0000:00/0000:00:01.0";
        assert_eq!(resolve("/sys/bus/pci/devices/0000:00:01.0", target), "/sys/devices/pci0000:00/0000:00:01.0");
        assert_eq!(resolve("/a/b", "/c/./d"), "/c/d");
        assert_eq!(resolve("/a", "../../x"), "/x");
    }
}
