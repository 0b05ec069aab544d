//! Which filesystem holds a file: mounts, and below an overlay the layer that has it.

use super::{Layer, LayerKind, Mount, block::Descent, btrfs, mount};
use crate::machine::{DeviceNumber, Facts, FileFacts};

/// Symbolic links followed in one path, as the kernel's own limit (MAXSYMLINKS, fs/namei.c).
const MOST_LINKS: usize = 40;

impl Descent<'_> {
    /// The filesystem with the file at this path.
    pub(super) fn file(&mut self, path: &str) -> Layer {
        let path = real_path(self.facts, path);
        match mount::holding(&self.mounts, &path).cloned() {
            Some(mount) => self.filesystem(mount, Some(&path)),
            None => Layer::hidden(path, "no mount is known that holds it"),
        }
    }

    /// The filesystem of a file on this device: by the mount that its descriptor named, else by the number.
    pub(super) fn filesystem_of(&mut self, number: DeviceNumber, said: &FileFacts) -> Layer {
        let by_id = |mount: &&Mount| Some(mount.id) == said.mount;
        let by_number = |mount: &&Mount| mount.number == number;
        let found = self.mounts.iter().find(by_id).or_else(|| self.mounts.iter().find(by_number)).cloned();
        self.filesystem(found.unwrap_or_else(|| Mount::unknown(number)), said.path.as_deref())
    }

    /// A filesystem; `path` is that of the file, where it is known.
    pub(super) fn filesystem(&mut self, mount: Mount, path: Option<&str>) -> Layer {
        let name = if mount.point.is_empty() { "a filesystem".to_owned() } else { mount.point.clone() };
        self.down(&name.clone(), |descent| {
            let below = match mount.kind.as_str() {
                "overlay" => vec![descent.overlay(&mount, path)],
                "btrfs" => btrfs::devices(descent, &mount),
                // NFS, FUSE, tmpfs: an anonymous number and no block device of this machine.
                _ if mount.number.major == 0 => vec![Layer::new(mount.source.clone(), LayerKind::Other)],
                _ => vec![descent.number(mount.number)],
            };
            let evidence = if mount.point.is_empty() { Vec::new() } else { vec![mount.evidence()] };
            Layer { evidence, below, ..Layer::new(name, LayerKind::Filesystem(mount)) }
        })
    }

    /// The layer of an overlay that holds the file: the upper one if it is there, else the first lower one.
    ///
    /// Kernel: `ovl_lookup` (fs/overlayfs/namei.c). Two features let data lie elsewhere than the name says: metacopy, and
    /// redirected directories, whose files are then in no layer at their path.
    fn overlay(&mut self, overlay: &Mount, path: Option<&str>) -> Layer {
        let Some(inside) = path.and_then(|path| overlay.below(path)) else {
            return Layer::hidden("overlay", "the path of the file in the overlay is not known");
        };
        if overlay.has("metacopy=on") {
            return Layer::hidden("overlay", "with metacopy=on the data of a file may lie in any layer");
        }
        let root = overlay.root.trim_end_matches('/');
        let layers = directories(overlay).into_iter().map(|directory| format!("{directory}{root}/{inside}"));
        match layers.into_iter().find(|path| self.facts.size(path).is_ok()) {
            Some(path) => self.file(&path),
            None => Layer::hidden("overlay", "none of its layers shows the file at its path to this process"),
        }
    }
}

/// The directories of an overlay, the upper one first.
fn directories(overlay: &Mount) -> Vec<String> {
    let lower = overlay.values("lowerdir").flat_map(|lower| lower.split(':'));
    let all = overlay.values("upperdir").chain(lower).chain(overlay.values("lowerdir+"));
    all.filter(|directory| !directory.is_empty()).map(mount::unescape).collect()
}

/// A path without symbolic links.
pub(super) fn real_path(facts: &dyn Facts, path: &str) -> String {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match first_link(facts, &path) {
            Some(next) => path = next,
            None => break,
        }
    }
    path
}

/// The path with its first symbolic link replaced; `None` when it has none.
fn first_link(facts: &dyn Facts, path: &str) -> Option<String> {
    let ends = path.match_indices('/').map(|(end, _)| end).skip(1).chain([path.len()]);
    ends.into_iter().find_map(|end| Some(facts.link(&path[..end]).ok()? + &path[end..]))
}
