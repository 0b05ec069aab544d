//! `p2pbench check` where a filesystem hangs: whoever waits for it gets an exit code in time.

use super::machine::Guest;

/// A suspended device holds whoever waits for a write to it in state D, where no signal ends a process. It is released later on, as the
/// guest could not shut down else.
const SCRIPT: &str = r#"
set -e
export DM_DISABLE_UDEV=1
dmsetup create hung --table "0 131072 linear $P2PDMA_SSD 0"
mkfs.ext4 -q /dev/mapper/hung
mkdir /mnt/hung
mount /dev/mapper/hung /mnt/hung
dmsetup suspend --noflush --nolockfs hung
(sleep 90; dmsetup resume hung) >/dev/null 2>&1 &
cd $P2PDMA_SHARE
SECONDS=0
status=0
said=$(p2pbench --machine mock check --write-expect /mnt/hung/expect --deadline 15 2>&1) || status=$?
echo "$status after $SECONDS s: $said" >early
# A task may end before it is looked at.
for status in /proc/[0-9]*/task/*/status; do
	grep -q '^State.*D (disk sleep)' $status && tr '\0' ' ' <${status%/task/*}/cmdline || true
done 2>/dev/null >stuck
wait
"#;

#[test]
fn a_check_that_hangs_in_the_kernel_is_4_at_the_deadline() {
    let outcome = Guest::new("plain").run(SCRIPT);
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    let early = outcome.file("early");
    assert!(early.contains("ERROR  check: not done within 15 s"), "{early}");
    let (status, rest) = early.split_once(" after ").expect("a status");
    let seconds: u32 = rest.split(' ').next().and_then(|seconds| seconds.parse().ok()).expect("seconds");
    assert!(status == "4" && seconds < 60, "{early}");
    let stuck = outcome.file("stuck");
    assert!(
        stuck.contains("p2pbench-check-looks --machine mock check"),
        "its look hung, or nothing was shown: {stuck:?}"
    );
}
