//! Which device-mapper target a device is. sysfs does not tell; the uuid that its maker gave it does.

use std::fmt;

/// A device-mapper target, by the prefix of the device's uuid.
///
/// `dmsetup` gives a device no uuid unless it is told to: such a device can be anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DmTarget {
    /// dm-crypt (`CRYPT-LUKS2-...`): the CPU encrypts every byte.
    Crypt,
    /// dm-verity or dm-integrity (`CRYPT-VERITY-`, `CRYPT-INTEGRITY-`): the CPU reads every byte.
    Integrity,
    /// A logical volume that only maps blocks elsewhere: linear or striped.
    LvmLinear,
    /// A logical volume on parts that are logical volumes themselves: thin, cached, mirrored, a snapshot.
    LvmOther,
    /// dm-multipath (`mpath-...`).
    Multipath,
    /// A partition that kpartx made (`part1-...`): dm-linear.
    Partition,
    /// No uuid that tells.
    Unknown,
}

impl DmTarget {
    /// By the uuid, and whether one of the devices right below is a logical volume.
    pub(super) fn of(uuid: &str, on_lvm: bool) -> Self {
        match uuid.split('-').next().unwrap_or_default() {
            "CRYPT" if uuid.starts_with("CRYPT-VERITY") || uuid.starts_with("CRYPT-INTEGRITY") => Self::Integrity,
            "CRYPT" => Self::Crypt,
            "LVM" if on_lvm => Self::LvmOther,
            "LVM" => Self::LvmLinear,
            "mpath" => Self::Multipath,
            word if is_numbered_part(word) => Self::Partition,
            _ => Self::Unknown,
        }
    }

    /// Whether it passes peer memory on without touching it; `None` when that cannot be told.
    ///
    /// Kernel: `bio_alloc_clone` and a new sector in drivers/md/dm-linear.c, dm-stripe.c, dm-mpath.c; dm-crypt.c and
    /// dm-integrity.c map the pages and read them.
    #[must_use]
    pub fn passes(self) -> Option<bool> {
        match self {
            Self::LvmLinear | Self::Multipath | Self::Partition => Some(true),
            Self::Crypt | Self::Integrity => Some(false),
            Self::LvmOther | Self::Unknown => None,
        }
    }
}

/// `part2`.
fn is_numbered_part(word: &str) -> bool {
    let number = word.strip_prefix("part").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for DmTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crypt => "dm-crypt",
            Self::Integrity => "dm-verity or dm-integrity",
            Self::LvmLinear => "LVM volume, linear or striped",
            Self::LvmOther => "LVM volume on other volumes",
            Self::Multipath => "dm-multipath",
            Self::Partition => "dm partition",
            Self::Unknown => "dm, of an unknown target",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uuid_tells_the_target() {
        let of = |uuid| DmTarget::of(uuid, false);
        assert_eq!(of("CRYPT-LUKS2-0123-root"), DmTarget::Crypt);
        assert_eq!(of("CRYPT-PLAIN-x"), DmTarget::Crypt);
        assert_eq!(of("CRYPT-VERITY-0123-usr"), DmTarget::Integrity);
        assert_eq!(of("CRYPT-INTEGRITY-x"), DmTarget::Integrity);
        assert_eq!(of("LVM-abcdef"), DmTarget::LvmLinear);
        assert_eq!(of("mpath-36001"), DmTarget::Multipath);
        assert_eq!(of("part2-mpath-36001"), DmTarget::Partition);
        assert!(
            ["", "mine", "LVMX", "part-x", "partition-1", "CRYPTIC"].iter().all(|uuid| of(uuid) == DmTarget::Unknown)
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_some_target(uuid in "(CRYPT|LVM|mpath|part[0-9]{0,30}|.*)-?.*", on_lvm: bool) {
            let _ = (DmTarget::of(&uuid, on_lvm).passes(), DmTarget::of(&uuid, on_lvm).to_string());
        }
    }

    #[test]
    fn a_volume_on_volumes_may_be_anything() {
        assert_eq!(DmTarget::of("LVM-abcdef-tpool", true).passes(), None);
        assert_eq!(DmTarget::of("LVM-abcdef", false).passes(), Some(true));
    }
}
