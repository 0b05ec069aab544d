//! The devices of a btrfs filesystem, whose files have device numbers that are no block device's.

use super::{Layer, Mount, block::Descent};

const DIRECTORY: &str = "/sys/fs/btrfs";

/// All devices of the filesystem that has the mounted one among them (`/sys/fs/btrfs/<uuid>/devices`).
pub(super) fn devices(descent: &mut Descent<'_>, mount: &Mount) -> Vec<Layer> {
    let Some(mounted) = descent.device(&mount.source) else {
        return vec![Layer::hidden("btrfs", format!("its device {} is not known", mount.source))];
    };
    let list = |path: String| descent.facts.list(&path).unwrap_or_default();
    let filesystems = list(DIRECTORY.to_owned()).into_iter();
    let all = filesystems.map(|uuid| format!("{DIRECTORY}/{uuid}/devices"));
    let all = all.map(|path| (list(path.clone()), path)).find(|(names, _)| names.contains(&mounted.name));
    match all {
        Some((_, path)) => descent.linked(&path),
        None => {
            let why = format!("{DIRECTORY} does not tell whether it has further devices");
            vec![mounted, Layer::hidden("btrfs", why)]
        }
    }
}
