//! As a new operator goes: `p2pbench run` is refused, its one line names a command, the command is run as it stands, and so on
//! until the bytes go direct. Nothing else is known to the script.

use crate::machine::{Guest, Outcome};

/// `walk WHO`: runs as WHO until it succeeds, after each refusal the first command of its line; GROUP is the user's own.
/// `--way module` is an option of the run that a line may name.
const WALK: &str = r#"
cd $P2PDMA_SHARE
nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
modules=/lib/modules/$(uname -r)
mkdir -p $modules; cp $P2PDMA_MODULES/p2pdma_user.ko $modules; (cd $modules; busybox depmod)
modprobe() { busybox modprobe "$@"; }
walk() {
	way=$2
	for step in 1 2 3 4 5; do
		$1 p2pbench run --source $SOURCE --peer $PEER --path direct --span 64k --size 64k --block 64k $way --verify >out 2>line && return 0
		cat line >>lines
		test $(wc -l <line) = 1 || return 9
		case $way in '') ! grep -q '`p2pbench run --way module`' line || way='--way module';; esac
		grep -o '`[^`]*`' line | tr -d '`' | grep "$pick" | head -1 | sed "s/GROUP/65534/g" >command
		cat command >>commands
		test -s command || return 8
		. ./command
	done
	return 7
}
SOURCE=$P2PDMA_SSD PEER=$P2PDMA_GPU_ADDRESS pick=.
"#;

fn walked(topology: &str, cpu: &'static str, script: &str) -> (Outcome, String) {
    let outcome = Guest::new(topology).cpu(cpu).run(&format!("{WALK}{script}"));
    assert_eq!(outcome.status, 0, "{}{}\n{}", outcome.stdout, outcome.stderr, outcome.file("lines"));
    assert!(outcome.file("out").contains(" direct "), "{}", outcome.file("out"));
    let commands = outcome.file("commands");
    (outcome, commands)
}

#[test]
fn from_acs_in_the_way_to_direct() {
    let redirect = "port=$(basename $(dirname $(readlink -f /sys/bus/pci/devices/$PEER)))\n\
                    setpci -s $port ECAP_ACS+6.w=c:c; pick=setpci; walk env";
    let (_, commands) = walked("acs", "intel", redirect);
    assert_eq!(commands.matches("setpci -s 0000:00:").count(), 1, "{commands}");
}

#[test]
fn from_no_permission_to_direct() {
    let (_, commands) = walked("two-bridges", "zen", "walk nobody");
    let starts: Vec<_> = commands.lines().map(|line| line.split('/').nth(1).unwrap_or_default()).collect();
    assert_eq!(starts, ["dev", "sys"], "{commands}");
}

#[test]
fn from_no_module_to_direct() {
    let script = "busybox rmmod p2pdma_user; PEER=$P2PDMA_CMB_ADDRESS; walk env '--way module'";
    let (_, commands) = walked("switch", "zen", script);
    assert_eq!(commands, "modprobe p2pdma_user\n");
}

/// The other cure is a boot.
#[test]
fn from_a_multipath_head_to_direct_by_the_module() {
    let (_, commands) = walked("multipath", "zen", "walk env");
    assert!(
        commands.starts_with("echo ") && commands.contains(">/sys/bus/pci/drivers/p2pdma_user/stack"),
        "{commands}"
    );
}
