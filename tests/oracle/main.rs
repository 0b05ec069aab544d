//! The running kernel as the oracle: random PCIe trees, shown to it by `kmod/test`, and for every (provider, client)
//! pair in them the library's answer beside the kernel's own: map type, distance, ACS ports. Root must answer alike;
//! an ordinary user alike, or unknown. The project's own module must answer DISTANCE as the kernel does.
//!
//! Runs in a guest, with `tests/vm/run --topology trees --` as cargo's runner; see `tests/run`. `--cpu zen` and `--cpu intel`
//! differ in what may pass a host bridge.
//!
//! | variable | holds |
//! |---|---|
//! | `P2PDMA_ORACLE_TREES` | how many trees (60); 0 compares the pairs of the guest alone, in any topology (`tests/vm/each`) |
//! | `P2PDMA_ORACLE_SEED` | the first tree's seed (by the clock); each next tree has the next number |
//! | `P2PDMA_ORACLE_SHOW` | anything: prints the first tree and ends |
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::panic,
    reason = "a test ends where its ground gives way, and tells"
)]

mod config;
mod function;
mod kernel;
mod module;
mod random;
mod tally;
mod tree;
mod user;

use std::{
    collections::BTreeSet,
    env, fs,
    process::ExitCode,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use kernel::{Log, Module, Shown};
use module::Node;
use p2pdma::{machine::Machine, pci::Address, topology::Topology};
use tally::Tally;
use tree::Tree;
use user::User;

/// The buffer in which the kernel lists ACS ports, a separator behind each.
const ACS_LIST: usize = 128;

fn main() -> ExitCode {
    if env::args().any(|argument| argument == user::ORDINARY_USER) {
        user::serve();
        return ExitCode::SUCCESS;
    }
    if env::var_os("P2PDMA_ORACLE_SHOW").is_some() {
        print!("{}", Tree::new(number("P2PDMA_ORACLE_SEED").unwrap_or_else(clock)));
        return ExitCode::SUCCESS;
    }
    let trees = number("P2PDMA_ORACLE_TREES").unwrap_or(60);
    if !is_the_guest(trees) {
        eprintln!(
            "oracle: this is not its guest; make `tests/vm/run --topology trees --` cargo's runner, as tests/run does"
        );
        return ExitCode::from(2);
    }
    let seed = number("P2PDMA_ORACLE_SEED").unwrap_or_else(clock);
    println!("P2PDMA_ORACLE_SEED={seed} P2PDMA_ORACLE_TREES={trees}");
    let start = Instant::now();
    let tally = if trees == 0 { compare_guest() } else { compare(seed..seed + trees) };
    tally.report();
    println!("{} differences in {} s", tally.differences.len(), start.elapsed().as_secs());
    let is_of_use = if trees == 0 { tally.pairs > 0 } else { tally.is_of_use() && tally.not_met().is_empty() };
    if !is_of_use {
        println!("too little was compared to mean anything; make P2PDMA_ORACLE_TREES larger");
    }
    ExitCode::from(u8::from(!tally.differences.is_empty() || !is_of_use))
}

/// Anywhere else its module would not be welcome, and with ASPM its trees are not.
fn is_the_guest(trees: u64) -> bool {
    let parameters = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    (trees == 0 || parameters.contains("pcie_aspm=off")) && env::var_os("P2PDMA_MODULES").is_some()
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|value| value.parse().expect("a number"))
}

fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs() * 1_000_000
}

fn compare(seeds: std::ops::Range<u64>) -> Tally {
    let mut tally = Tally::default();
    let module = Module::load();
    let mut log = Log::open();
    let mut user = User::start();
    let node = Node::open();
    let machine = addresses();
    for seed in seeds {
        let tree = Tree::new(seed);
        let shown = Shown::new(&tree, &mut log);
        check_scan(&tree, &machine, &scan());
        compare_pairs(&tree, shown, &node, &mut user, &mut tally);
        tally.trees += 1;
        tally.functions += tree.functions.len();
        if tally.trees % 200 == 0 {
            println!("tree {seed}: {} pairs so far, {} differences", tally.pairs, tally.differences.len());
        }
        assert_eq!(addresses(), machine, "tree {seed} went away without a trace");
    }
    user.stop();
    module.unload();
    log.read();
    tally
}

fn addresses() -> BTreeSet<Address> {
    let names = fs::read_dir("/sys/bus/pci/devices").expect("sysfs").map(|entry| entry.expect("a device").file_name());
    names.map(|name| name.to_str().and_then(|name| name.parse().ok()).expect("an address")).collect()
}

/// The functions that QEMU shows, and nothing else.
fn compare_guest() -> Tally {
    let mut tally = Tally::default();
    let module = Module::load();
    let mut log = Log::open();
    let mut user = User::start();
    compare_pairs(&Tree::default(), Shown::nothing(&mut log), &Node::open(), &mut user, &mut tally);
    user.stop();
    module.unload();
    tally
}

fn scan() -> Topology {
    Topology::scan(&Machine::host()).expect("a scan")
}

/// Asks for every pair of the tree's functions and those of the guest itself.
fn compare_pairs(tree: &Tree, mut shown: Shown<'_>, node: &Node, user: &mut User, tally: &mut Tally) {
    let topology = scan();
    tally.host_bridges(&topology);
    let all: Vec<_> = topology.devices().map(|device| device.address).collect();
    let pairs: Vec<_> = all.iter().flat_map(|provider| all.iter().map(|client| (*provider, *client))).collect();
    let mut answers = user.ask(&pairs).into_iter();
    for provider in all.iter().copied() {
        let verbose: Vec<_> = all.iter().map(|client| is_listed_whole(tree, provider, *client)).collect();
        for (client, verdict) in all.iter().zip(shown.ask(provider, &all, &verbose)) {
            let route = topology.route(provider, *client).expect("both are there");
            tally.root(tree.seed, &route, &verdict);
            tally.module(tree.seed, (provider, *client), node.distance(provider, *client), &verdict);
            tally.user(tree.seed, &route, &answers.next().expect("as many"), &verdict);
        }
    }
}

/// The scan finds what was described: nothing more, nothing less, and each where it is.
fn check_scan(tree: &Tree, machine: &BTreeSet<Address>, topology: &Topology) {
    assert_eq!(topology.devices().count(), machine.len() + tree.functions.len(), "functions of tree {}", tree.seed);
    for function in &tree.functions {
        let device = topology.device(function.address).expect("a function of the tree");
        let parent = function.parent.map(|parent| tree.functions[parent].address);
        let described = (parent, function.id.0, function.id.1, function.class);
        assert_eq!((device.parent, device.vendor, device.device, device.class), described, "{}", function.address);
    }
}

/// Whether the kernel has room to list all ports that might redirect. The guest's own devices have no such way.
fn is_listed_whole(tree: &Tree, provider: Address, client: Address) -> bool {
    let ports = tree.way(provider).chain(tree.way(client)).filter(|function| function.may_redirect());
    ports.map(|port| port.address.to_string().len() + 1).sum::<usize>() < ACS_LIST
}
