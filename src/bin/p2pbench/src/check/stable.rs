//! Words that are the same on equal nodes.

/// Names that the kernel gives in the order in which devices happened to answer: `nvme3n1` is `nvme*`, `nvme-subsys1` is
/// `nvme-subsys*`, an IOMMU group is `iommu_groups/*`, `259:7=` is `MAJ:MIN=`, which is what lsblk calls that number.
/// `p2pbench explain` of the pair has them as they are.
pub(super) fn stable(text: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in text.split_inclusive([' ', '/', '=', ',']) {
        let is_group = parts.last().is_some_and(|before| before == "iommu_groups/");
        parts.push(if is_group { starred(part, "") } else { of_part(part) });
    }
    parts.concat()
}

fn of_part(part: &str) -> String {
    // Behind a backtick or a bracket a name is one as well.
    let start = part.find(|next: char| next.is_ascii_alphanumeric()).unwrap_or(0);
    let (before, part) = part.split_at(start);
    let prefixes = ["nvme-subsys", "nvme", "ng", "md", "dm-"];
    let prefix = prefixes.into_iter().find(|prefix| part.strip_prefix(prefix).is_some_and(is_numbered));
    let name = match prefix {
        Some(prefix) => starred(&part[prefix.len()..], prefix),
        None => without_number(part),
    };
    format!("{before}{name}")
}

fn is_numbered(rest: &str) -> bool {
    rest.starts_with(|first: char| first.is_ascii_digit())
}

/// `prefix` and a star for the letters and digits behind it.
fn starred(rest: &str, prefix: &str) -> String {
    let end = rest.find(|next: char| !next.is_ascii_alphanumeric()).unwrap_or(rest.len());
    format!("{prefix}*{}", &rest[end..])
}

/// A device number before `=`.
fn without_number(part: &str) -> String {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = part.strip_suffix('=').and_then(|number| number.split_once(':'));
    match number.filter(|(major, minor)| digits(major) && digits(minor)) {
        Some(_) => "MAJ:MIN=".to_owned(),
        None => part.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_between_equal_nodes_are_left_out() {
        assert_eq!(stable("it lies on nvme3n1 (NVMe multipath head)"), "it lies on nvme* (NVMe multipath head)");
        assert_eq!(stable("/sys/class/nvme/nvme0/nvme0c0n1 = x"), "/sys/class/nvme/nvme*/nvme* = x");
        assert_eq!(
            stable("/sys/devices/virtual/nvme-subsystem/nvme-subsys12/nvme2n1"),
            "/sys/devices/virtual/nvme-subsystem/nvme-subsys*/nvme*"
        );
        assert_eq!(stable("/sys/kernel/iommu_groups/17/type = DMA-FQ"), "/sys/kernel/iommu_groups/*/type = DMA-FQ");
        assert_eq!(stable("on /dev/md127, `dm-3` (ng1n1)"), "on /dev/md*, `dm-*` (ng*)");
        assert_eq!(
            stable("after `echo 259:5=0000:01:00.0,0000:02:00.0 >/sys/x`"),
            "after `echo MAJ:MIN=0000:01:00.0,0000:02:00.0 >/sys/x`"
        );
    }

    #[test]
    fn what_only_looks_like_such_a_name_stays() {
        for text in ["nvme_core.multipath=N at 0000:03:00.0", "/sys/bus/pci/drivers/nvme", "mdraid, dm-crypt, ngx", ""]
        {
            assert_eq!(stable(text), text);
        }
    }
}
