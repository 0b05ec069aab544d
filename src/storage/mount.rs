//! Mounts, as `/proc/self/mountinfo` lists them (proc_pid_mountinfo(5)).

use super::Evidence;
use crate::machine::{DeviceNumber, Facts};

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// A mounted filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mount {
    /// Its number, as `/proc/self/fdinfo` names it.
    pub id: u64,
    /// The filesystem's device number. Major 0 is no block device's.
    pub number: DeviceNumber,
    /// The directory of the filesystem that is mounted: `/`, or what a bind mount shows.
    pub root: String,
    /// Where it is mounted.
    pub point: String,
    /// `ext4`, `xfs`; `unknown` where no mount is known.
    pub kind: String,
    /// What was mounted, as the mount command named it.
    pub source: String,
    /// Options of mount and filesystem, by commas, as the kernel prints them: blanks and the like are `\040`.
    pub options: String,
}

impl Mount {
    /// A filesystem of which nothing is known but its device number.
    pub(super) fn unknown(number: DeviceNumber) -> Self {
        let none = String::new();
        let (root, point, source) = (none.clone(), none.clone(), none.clone());
        Self { id: 0, number, root, point, kind: "unknown".into(), source, options: none }
    }

    fn parse(line: &str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut mount = mount.split(' ');
        let id = mount.next()?.parse().ok()?;
        let (major, minor) = mount.nth(1)?.split_once(':')?;
        let number = DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? };
        let (root, point) = (unescape(mount.next()?), unescape(mount.next()?));
        let options = mount.next()?;
        let mut filesystem = filesystem.split(' ');
        let (kind, source) = (unescape(filesystem.next()?), unescape(filesystem.next()?));
        let of_mount: Vec<_> = options.split(',').collect();
        let rest = filesystem.next().unwrap_or_default().split(',').filter(|option| !of_mount.contains(option));
        let options = of_mount.iter().copied().chain(rest).collect::<Vec<_>>().join(",");
        Some(Self { id, number, root, point, kind, source, options })
    }

    /// Whether an option is set: `nodatacow`, `data=journal`.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|set| set == option)
    }

    /// The values of an option, still escaped.
    pub(super) fn values<'a>(&'a self, option: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.split(',').filter_map(move |set| set.strip_prefix(option)?.strip_prefix('='))
    }

    /// The line's part that a verdict cites.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        Evidence::new(MOUNTINFO, format!("{} {} {} {}", self.point, self.kind, self.source, self.options))
    }

    /// The part of `path` below the mount point; `None` when it is not below it.
    pub(super) fn below<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.point.trim_end_matches('/'))?;
        if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
    }
}

/// All mounts that this process sees, in the order in which they were made. Empty where they cannot be read.
pub(super) fn mounts(facts: &dyn Facts) -> Vec<Mount> {
    facts.text(MOUNTINFO).unwrap_or_default().lines().filter_map(Mount::parse).collect()
}

/// The mount that holds `path`: of those with the longest mount point, the last, which hides the others.
pub(super) fn holding<'a>(mounts: &'a [Mount], path: &str) -> Option<&'a Mount> {
    mounts
        .iter()
        .filter(|mount| mount.below(path).is_some())
        .max_by_key(|mount| mount.point.trim_end_matches('/').len())
}

/// `\040` is a blank: the kernel escapes what would part words (seq_escape, fs/seq_file.c).
pub(super) fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINES: &str = "\
        22 1 0:20 / / rw,relatime - overlay overlay rw,lowerdir=/host\n\
        30 22 259:0 /sub /mnt/a\\040b rw,noatime shared:1 master:2 - ext4 /dev/nvme0n1 rw,data=journal\n\
        31 22 259:1 / /mnt rw - xfs /dev/nvme1n1 rw\n\
        32 22 259:2 / /mnt rw - ext4 /dev/nvme2n1 rw\n\
        damaged\n";

    fn mounts() -> Vec<Mount> {
        LINES.lines().filter_map(Mount::parse).collect()
    }

    #[test]
    fn a_line_is_read_with_or_without_optional_fields() {
        let mounts = mounts();
        assert_eq!(mounts.len(), 4, "the damaged line is left out");
        let mount = &mounts[1];
        assert_eq!((mount.id, mount.number), (30, DeviceNumber { major: 259, minor: 0 }));
        assert_eq!(
            (mount.point.as_str(), mount.kind.as_str(), mount.source.as_str()),
            ("/mnt/a b", "ext4", "/dev/nvme0n1")
        );
        assert!(mount.has("data=journal") && mount.has("noatime") && !mount.has("data"));
        assert_eq!(mounts[0].values("lowerdir").collect::<Vec<_>>(), ["/host"]);
    }

    #[test]
    fn the_nearest_and_last_mount_holds_a_path() {
        let mounts = mounts();
        let holding = |path| holding(&mounts, path).map(|mount| mount.id);
        assert_eq!(holding("/mnt/a b/file"), Some(30));
        assert_eq!(holding("/mnt/file"), Some(32), "the later hides the earlier");
        assert_eq!(holding("/mntx/file"), Some(22));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".*") {
            let _ = (Mount::parse(&text), unescape(&text));
        }
    }
}
