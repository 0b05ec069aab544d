//! Machines of real life, as trees of memory below the running kernel: recorded, with the kernel's own answers beside.
//!
//! `P2PBENCH_BLESS=1` renews `tests/machines`: NAME is what `p2pbench record` wrote, NAME.kernel what the kernel answered for every
//! SSD with every GPU: `PROVIDER CLIENT DISTANCE MAP_TYPE`, as `kmod/test/tree.c` gives them, and behind them the ports that its log
//! names for `pci=disable_acs_redir`, where it names some. NAME.overlay is no kernel's: see its head.

mod commands;
mod cures;
mod operator;
mod tree;

use std::{fs, path::Path};

use super::machine::Guest;
use tree::{Part, Tree};

const GPU: Part = Part::new((0x10de, 0x2330), 0x03_0200, (5, 16));
const NIC: Part = Part::new((0x15b3, 0x1021), 0x02_0700, (5, 16));
const SSD: Part = Part::new((0x144d, 0xa80a), 0x01_0802, (4, 4));
const UP: Part = Part::new((0x1000, 0xc030), 0x06_0400, (5, 16));
const DOWN: Part = UP;
const PORT: Part = Part { acs: Some(0), ..Part::new((0x8086, 0x352a), 0x06_0400, (5, 16)) };
const AMD_PORT: Part = Part { acs: Some(0), ..Part::new((0x1022, 0x14ab), 0x06_0400, (5, 16)) };
const XEON: (u16, u16) = (0x8086, 0x09a2);
const EPYC: (u16, u16) = (0x1022, 0x14a4);
const DESKTOP: (u16, u16) = (0x8086, 0xa700);
/// What the kernel switches on where it found an IOMMU: SV, RR, CR and UF.
const REDIRECT: Option<u16> = Some(0x1d);

/// Two sockets with two switches each; below a switch two GPUs, two SSDs and a network adapter.
fn dgx() -> Tree {
    let mut tree = Tree::default();
    for (domain, first) in [(1, 0), (1, 0x40), (2, 0), (2, 0x40)] {
        let host = tree.host(domain, (first, first + 0x3f), None, XEON);
        let below = tree.root_port(&host, 1, PORT, (first + 1, first + 0x10));
        let slots = tree.switch(&below, UP, Part { acs: Some(0), ..DOWN }, 5);
        for (slot, part) in slots.iter().zip([GPU, GPU, SSD, SSD, NIC]) {
            tree.endpoint(slot, 0, part);
        }
    }
    tree
}

/// One socket, four host bridges, an SSD or a GPU below each root port.
fn epyc() -> Tree {
    let mut tree = Tree::default();
    for (first, parts) in [(0, [SSD, SSD]), (0x20, [GPU, NIC]), (0x40, [SSD, SSD]), (0x60, [GPU, SSD])] {
        let host = tree.host(1, (first, first + 0x1f), None, EPYC);
        for (device, part) in (1..).zip(parts) {
            let below = tree.root_port(&host, device, AMD_PORT, (first + device, first + device));
            tree.endpoint(&below, 0, part);
        }
    }
    tree
}

/// One host bridge that the kernel's list lacks; a GPU in a slot, an SSD on the board.
fn desktop() -> Tree {
    let mut tree = Tree::default();
    let host = tree.host(1, (0, 0x1f), None, DESKTOP);
    for (device, part) in [(1, GPU), (6, SSD)] {
        let below = tree.root_port(&host, device, PORT, (device, device));
        tree.endpoint(&below, 0, part);
    }
    tree
}

/// Two listed host bridges of one domain, for traffic between any of their ports.
fn xeon() -> Tree {
    let mut tree = Tree::default();
    for (first, part) in [(0, SSD), (0x40, GPU)] {
        let host = tree.host(1, (first, first + 0x3f), None, XEON);
        let below = tree.root_port(&host, 1, PORT, (first + 1, first + 1));
        tree.endpoint(&below, 0, part);
        let below = tree.root_port(&host, 2, PORT, (first + 2, first + 2));
        tree.endpoint(&below, 0, SSD);
    }
    tree
}

/// A switch whose downstream ports redirect, below a host bridge that the kernel's list lacks.
fn acs() -> Tree {
    let mut tree = Tree::default();
    let host = tree.host(1, (0, 0x1f), None, DESKTOP);
    let below = tree.root_port(&host, 1, PORT, (1, 8));
    let slots = tree.switch(&below, UP, Part { acs: REDIRECT, ..DOWN }, 3);
    for (slot, part) in slots.iter().zip([SSD, GPU, SSD]) {
        tree.endpoint(slot, 0, part);
    }
    tree
}

/// SSDs in a domain of their own behind a VMD controller, which has a host bridge below it.
fn vmd() -> Tree {
    let mut tree = Tree::default();
    let host = tree.host(1, (0, 0x1f), None, XEON);
    let controller = tree.endpoint(&host, 5, Part::new((0x8086, 0x28c0), 0x10_8000, (0, 0)));
    let below = tree.root_port(&host, 1, PORT, (1, 1));
    tree.endpoint(&below, 0, GPU);
    let inner = tree.host(0x10000, (0xe0, 0xff), Some(&controller), (0x8086, 0x201d));
    for device in [2, 3] {
        let below = tree.root_port(&inner, device, PORT, (0xe0 + device, 0xe0 + device));
        tree.endpoint(&below, 0, SSD);
    }
    tree
}

/// An SSD that trained at half its lanes and a third of its speed, a switch at half its speed, and a network adapter that could
/// have virtual functions.
fn downtrained() -> Tree {
    let mut tree = Tree::default();
    let host = tree.host(1, (0, 0x1f), None, EPYC);
    let below = tree.root_port(&host, 1, AMD_PORT, (1, 8));
    let slots = tree.switch(&below, Part { link: (4, 16), ..UP }, DOWN, 4);
    let slow = Part { link: (2, 2), ..SSD };
    for (slot, part) in slots.iter().zip([slow, SSD, GPU, Part { vfs: 8, ..NIC }]) {
        tree.endpoint(slot, 0, part);
    }
    tree
}

/// An SSD and a network adapter below a switch, each with virtual functions.
fn sriov() -> Tree {
    let mut tree = Tree::default();
    let host = tree.host(1, (0, 0x1f), None, DESKTOP);
    let below = tree.root_port(&host, 1, PORT, (1, 8));
    let slots = tree.switch(&below, UP, DOWN, 3);
    for (slot, part) in slots.iter().zip([Part { vfs: 4, on: 2, ..SSD }, GPU, Part { vfs: 8, on: 3, ..NIC }]) {
        tree.endpoint(slot, 0, part);
    }
    tree
}

/// What makes a tree in the guest and holds it open on descriptor 3, with `$P2PDMA_SHARE` as the directory.
fn shown(tree: &Tree) -> String {
    format!(
        "set -e; cd $P2PDMA_SHARE; echo 4 >/proc/sys/kernel/printk; busybox insmod $P2PDMA_MODULES/p2pdma_test_tree.ko\n\
         cat >tree <<'END'\n{tree}END\n\
         exec 3<>/dev/p2pdma_test_tree; dd if=tree bs=1M status=none >&3\n"
    ) + &tree.physical.iter().map(|(address, count)| switched_on(address, *count)).collect::<String>()
}

/// Of the drivers in the guest's kernel, vfio-pci is the one that switches virtual functions on without a register of the device.
fn switched_on(address: &str, count: u8) -> String {
    format!(
        "echo 1 >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode\n\
         echo 1 >/sys/module/vfio_pci/parameters/enable_sriov\n\
         echo vfio-pci >/sys/bus/pci/devices/{address}/driver_override; echo {address} >/sys/bus/pci/drivers_probe\n\
         echo {count} >/sys/bus/pci/devices/{address}/sriov_numvfs\n"
    )
}

/// Every SSD with every possible provider.
fn pairs(tree: &Tree) -> Vec<String> {
    let pairs = tree.peers.iter().flat_map(|peer| tree.ssds.iter().map(move |ssd| format!("{peer} {ssd}")));
    pairs.collect()
}

/// The shape's recording, and the kernel's answers.
fn recorded(tree: &Tree, cpu: &'static str) -> (String, String) {
    let questions: String = pairs(tree).iter().map(|pair| format!("ask {pair} verbose\n")).collect();
    let script = shown(tree)
        + &format!(
            "p2pbench record machine >said\n\
             cat >questions <<'END'\n{questions}END\n\
             dd if=questions bs=1M status=none >&3; dd bs=64K count=1 status=none <&3 >answers\n\
             dmesg | grep 'ACS redirect' >messages || true\n"
        );
    let outcome = Guest::new("trees").cpu(cpu).run(&script);
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    let (answers, messages) = (outcome.file("answers"), outcome.file("messages"));
    let lines = pairs(tree).into_iter().zip(answers.lines()).map(|(pair, answer)| {
        let ports = ports(&messages, &pair).map_or(String::new(), |ports| format!(" {ports}"));
        format!("{pair} {answer}{ports}\n")
    });
    (outcome.file("machine"), lines.collect())
}

/// What the kernel's log (`calc_map_type_and_dist`, drivers/pci/p2pdma.c) says of a pair.
///
/// ```text
/// pci CLIENT: ACS redirect is set between the client and provider (PROVIDER)
/// pci CLIENT: to disable ACS redirect for this path, add the kernel parameter: pci=disable_acs_redir=PORT;PORT
/// ```
fn ports<'a>(messages: &'a str, pair: &str) -> Option<&'a str> {
    let (provider, client) = pair.split_once(' ')?;
    let first = format!("{client}: ACS redirect is set between the client and provider ({provider})");
    let mut lines = messages.lines().skip_while(|line| !line.ends_with(&first)).skip(1);
    lines.next()?.split_once("pci=disable_acs_redir=").map(|(_, ports)| ports)
}

/// The kernel's answers are those that the recording holds; renews both where that is asked for.
fn assert_same(name: &str, tree: &Tree, cpu: &'static str) {
    let (machine, kernel) = recorded(tree, cpu);
    let path =
        |ending: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machines").join(format!("{name}{ending}"));
    if std::env::var_os("P2PBENCH_BLESS").is_some_and(|value| value == "1") {
        fs::write(path(""), &machine).expect("a recording to renew");
        fs::write(path(".kernel"), &kernel).expect("answers to renew");
    }
    assert_eq!(kernel.lines().count(), pairs(tree).len());
    assert_eq!(fs::read_to_string(path(".kernel")).unwrap_or_default(), kernel, "{name}: the kernel's answers");
    assert!(machine.contains(&tree.ssds[0]), "{name}: the tree is in the recording");
}

#[test]
fn two_sockets_with_four_switches() {
    assert_same("dgx", &dgx(), "intel");
}

#[test]
fn an_epyc_with_direct_ports() {
    assert_same("epyc", &epyc(), "zen");
}

#[test]
fn a_desktop_with_an_unlisted_host_bridge() {
    assert_same("desktop", &desktop(), "intel");
}

#[test]
fn a_xeon_on_the_list() {
    assert_same("xeon", &xeon(), "intel");
}

#[test]
fn a_switch_that_redirects() {
    assert_same("acs", &acs(), "intel");
}

#[test]
fn a_vmd_domain_above_0xffff() {
    assert_same("vmd", &vmd(), "intel");
}

#[test]
fn virtual_functions_below_a_switch() {
    assert_same("sriov", &sriov(), "intel");
}

#[test]
fn links_that_trained_low() {
    assert_same("downtrained", &downtrained(), "zen");
}
