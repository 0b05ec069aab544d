use super::*;
use crate::machine::Snapshot;

const SSD0: &str = "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/nvme/nvme0/nvme0n1";
const SSD1: &str = "/sys/devices/pci0000:00/0000:00:02.0/0000:02:00.0/nvme/nvme1/nvme1n1";

/// Two SSDs, the first with a partition.
fn ssds() -> Snapshot {
    let mut facts = Snapshot::new();
    device(&mut facts, SSD0, "259:0");
    device(&mut facts, SSD1, "259:1");
    let partition = format!("{SSD0}/nvme0n1p1");
    device(&mut facts, &partition, "259:2").file(format!("{partition}/partition"), "1\n");
    facts.file(format!("{SSD0}/queue/logical_block_size"), "512\n");
    facts
}

fn device<'a>(facts: &'a mut Snapshot, directory: &str, number: &str) -> &'a mut Snapshot {
    facts.file(format!("{directory}/dev"), format!("{number}\n"));
    facts.symlink(format!("/sys/dev/block/{number}"), directory);
    facts.symlink(format!("/sys/class/block/{}", last(directory)), directory)
}

/// A virtual device with a fact of its kind, on others.
fn stacked(facts: &mut Snapshot, name: &str, number: &str, fact: (&str, &str), slaves: &[&str]) -> String {
    let directory = format!("/sys/devices/virtual/block/{name}");
    device(facts, &directory, number).file(format!("{directory}/{}", fact.0), fact.1);
    for slave in slaves {
        facts.symlink(format!("{directory}/slaves/{}", last(slave)), *slave);
    }
    directory
}

fn find(facts: &Snapshot, path: &str) -> Layer {
    Descent::new(facts).device(path).expect("a block device")
}

/// Every layer's kind, depth first, by one word each.
fn words(layer: &Layer) -> Vec<&'static str> {
    std::iter::once(layer.word()).chain(layer.below.iter().flat_map(words)).collect()
}

fn functions(layer: Layer) -> Vec<String> {
    super::super::Stack::new(layer).functions().iter().map(ToString::to_string).collect()
}

#[test]
fn a_partition_has_the_queue_of_its_disk() {
    let layer = find(&ssds(), "/dev/nvme0n1p1");
    assert_eq!(words(&layer), ["partition", "namespace"]);
    assert_eq!((layer.limits.logical_block, layer.number), (Some(512), Some(DeviceNumber { major: 259, minor: 2 })));
    assert_eq!(functions(layer), ["0000:01:00.0"]);
}

#[test]
fn raid_ends_in_the_functions_of_its_members() {
    let mut facts = ssds();
    let partition = format!("{SSD0}/nvme0n1p1");
    stacked(&mut facts, "md0", "9:0", ("md/level", "raid0\n"), &[&partition, SSD1]);
    let layer = find(&facts, "/dev/md0");
    assert_eq!(layer.kind, LayerKind::Md("raid0".into()));
    assert_eq!(words(&layer), ["md", "partition", "namespace", "namespace"]);
    assert_eq!(functions(layer), ["0000:01:00.0", "0000:02:00.0"]);
}

#[test]
fn raid1_copies_what_it_writes_behind() {
    let mut facts = ssds();
    let md = stacked(&mut facts, "md0", "9:0", ("md/level", "raid1\n"), &[SSD0, SSD1]);
    facts.file(format!("{md}/md/bitmap/backlog"), "0\n");
    assert_eq!(find(&facts, "/dev/md0").passes(), Some(true));
    facts.file(format!("{md}/md/bitmap/backlog"), "256\n");
    assert_eq!(find(&facts, "/dev/md0").passes(), Some(false));
}

#[test]
fn a_volume_on_an_encrypted_disk_is_two_layers() {
    let mut facts = ssds();
    let crypt = stacked(&mut facts, "dm-0", "251:0", ("dm/uuid", "CRYPT-LUKS2-1-x\n"), &[SSD0]);
    let volume = stacked(&mut facts, "dm-1", "251:1", ("dm/uuid", "LVM-1\n"), &[&crypt]);
    stacked(&mut facts, "dm-2", "251:2", ("dm/uuid", "LVM-2\n"), &[&volume]);
    facts.symlink("/dev/mapper/group-volume", "../dm-1");
    let layer = find(&facts, "/dev/mapper/group-volume");
    assert_eq!(layer.kind, LayerKind::Dm(DmTarget::LvmLinear));
    assert_eq!(layer.below[0].kind, LayerKind::Dm(DmTarget::Crypt));
    assert_eq!(find(&facts, "/dev/dm-2").kind, LayerKind::Dm(DmTarget::LvmOther), "on a volume");
}

#[test]
fn a_multipath_head_has_its_own_paths_and_no_others() {
    let mut facts = Snapshot::new();
    let subsystem = "/sys/devices/virtual/nvme-subsystem/nvme-subsys0";
    device(&mut facts, &format!("{subsystem}/nvme0n1"), "259:0");
    for (index, bus) in [(0, "01"), (1, "02")] {
        let controller = format!("/sys/devices/pci0000:00/0000:{bus}:00.0/nvme/nvme{index}");
        facts.symlink(format!("{subsystem}/nvme{index}"), &controller);
        facts
            .file(format!("{controller}/nvme0c{index}n1/size"), "1")
            .file(format!("{controller}/nvme0c{index}n2/size"), "1");
    }
    let layer = find(&facts, "/dev/nvme0n1");
    assert_eq!(words(&layer), ["multipath_head", "namespace", "namespace"]);
    assert_eq!(functions(layer), ["0000:01:00.0", "0000:02:00.0"]);
}

#[test]
fn what_is_missing_below_is_said_and_not_left_out() {
    let mut facts = ssds();
    let md = stacked(&mut facts, "md0", "9:0", ("md/level", "raid1\n"), &[SSD0]);
    facts.file(format!("{md}/slaves/sdx"), "no link");
    assert_eq!(words(&find(&facts, "/dev/md0")), ["md", "namespace", "hidden"]);
    stacked(&mut facts, "md1", "9:1", ("md/level", "raid1\n"), &[]);
    assert_eq!(words(&find(&facts, "/dev/md1")), ["md", "hidden"]);
}

#[test]
fn a_circle_of_layers_ends() {
    let mut facts = Snapshot::new();
    let directory = "/sys/devices/virtual/block/dm-0".to_owned();
    stacked(&mut facts, "dm-0", "251:0", ("dm/uuid", "\n"), &[&directory]);
    assert_eq!(words(&find(&facts, "/dev/dm-0")).last(), Some(&"hidden"));
}

#[test]
fn layers_that_share_what_is_below_end_before_their_number_explodes() {
    let mut facts = ssds();
    let mut below = [SSD0.to_owned(), SSD1.to_owned()];
    for level in 0..14 {
        below = [0, 1].map(|side| {
            let name = format!("dm-{}", 2 * level + side);
            let number = format!("251:{}", 2 * level + side);
            stacked(&mut facts, &name, &number, ("dm/uuid", "\n"), &[&below[0], &below[1]])
        });
    }
    assert!(words(&find(&facts, "/dev/dm-27")).len() < 4 * MOST);
}

/// Mounts of ext4 on the first SSD, btrfs on both, an overlay on the first, NFS.
fn mounted() -> Snapshot {
    let mut facts = ssds();
    let overlay = "lowerdir=/data/one:/data/t\\040wo,upperdir=/data/upper,workdir=/data/work";
    let mountinfo = format!(
        "1 0 259:0 / /data rw - ext4 /dev/nvme0n1 rw\n2 0 0:40 / /merged rw - overlay overlay rw,{overlay}\n\
         3 0 0:41 / /tree rw - btrfs /dev/nvme1n1 rw\n4 0 0:42 / /far rw - nfs4 server:/export rw\n"
    );
    facts.file("/proc/self/mountinfo", mountinfo);
    facts.symlink("/sys/fs/btrfs/uuid/devices/nvme1n1", SSD1).symlink("/sys/fs/btrfs/uuid/devices/nvme0n1", SSD0);
    facts.file("/data/upper/new", "").file("/data/t wo/old", "").file("/data/one/both", "").file("/data/t wo/both", "");
    facts
}

fn file(facts: &Snapshot, path: &str) -> Layer {
    Descent::new(facts).file(path)
}

#[test]
fn an_overlay_leads_to_the_layer_that_holds_the_file() {
    let facts = mounted();
    for path in ["/merged/new", "/merged/old", "/merged/both"] {
        assert_eq!(words(&file(&facts, path)), ["filesystem", "filesystem", "namespace"], "{path}");
    }
    assert_eq!(words(&file(&facts, "/merged/nowhere")), ["filesystem", "hidden"], "in no layer that can be seen");
}

#[test]
fn an_overlay_that_splits_files_is_not_guessed_at() {
    let mut facts = mounted();
    facts.file("/proc/self/mountinfo", "2 0 0:40 / /merged rw - overlay overlay rw,upperdir=/data/upper,metacopy=on\n");
    assert_eq!(words(&file(&facts, "/merged/new")), ["filesystem", "hidden"]);
}

#[test]
fn btrfs_lies_on_all_of_its_devices() {
    assert_eq!(words(&file(&mounted(), "/tree/file")), ["filesystem", "namespace", "namespace"]);
    let mut facts = ssds();
    facts.file("/proc/self/mountinfo", "3 0 0:41 / /tree rw - btrfs /dev/nvme1n1 rw\n");
    assert_eq!(words(&file(&facts, "/tree/file")), ["filesystem", "namespace", "hidden"], "there may be more");
}

#[test]
fn a_network_filesystem_is_on_no_device_and_a_loop_on_its_file() {
    let mut facts = mounted();
    assert_eq!(words(&file(&facts, "/far/file")), ["filesystem", "other"]);
    stacked(&mut facts, "loop0", "7:0", ("loop/backing_file", "/data/image\n"), &[]);
    assert_eq!(words(&find(&facts, "/dev/loop0")), ["loop", "filesystem", "namespace"]);
}

#[test]
fn protection_information_counts_only_while_the_kernel_checks_it() {
    let mut facts = ssds();
    let at = |name: &str| format!("{SSD0}/integrity/{name}");
    facts.file(at("format"), "T10-DIF-TYPE1-CRC\n").file(at("read_verify"), "1\n").file(at("write_generate"), "0\n");
    assert!(find(&facts, "/dev/nvme0n1").integrity.is_some());
    facts.file(at("read_verify"), "0\n");
    assert_eq!(find(&facts, "/dev/nvme0n1").integrity, None);
    facts.file(at("format"), "nop\n").file(at("read_verify"), "1\n");
    assert_eq!(find(&facts, "/dev/nvme0n1").integrity, None);
}
