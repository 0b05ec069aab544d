//! The library by itself on a stack, under every policy and by both ways (`examples/policies.rs`): what its summaries say, whether
//! the bytes are where they belong, and for the strict policy the kernel's page cache and QEMU's trace as witnesses.

use serde_json::Value;

use super::case::{Case, Expect, STRAY, moved, number};
use crate::machine::Outcome;

/// Bytes of the file that each policy has on each way, and what it leaves out at both ends where it may.
const SHARE: usize = 256 << 10;
const ODD: usize = 100;

const POLICIES: [&str; 3] = ["direct", "prefer", "bounce"];
const WAYS: [&str; 2] = ["p2pmem", "module"];

pub(super) const FUNCTIONS: &str = r#"
# By how many pages a command lets the page cache of $SOURCE grow (cachestat, number 451), into FILE: grown FILE COMMAND...
grown() {
	perl -e 'sub pages {
			open my $file, "<", $ENV{SOURCE} or die;
			my ($range, $answer) = (pack("QQ", 0, 0), "\0" x 40);
			syscall(451, fileno $file, $range, $answer, 0) == 0 or die "cachestat: $!";
			return (unpack "Q5", $answer)[0];
		}
		my $grown = shift; my $before = pages(); system(@ARGV) == 0 or exit 1; my $after = pages();
		open my $out, ">", $grown; print $out $after - $before' "$@"
}
# Root names all NVMe functions as what lies below the stack.
vouch() {
	stack=$([ -b $SOURCE ] && stat -Lc %Hr:%Lr $SOURCE || stat -Lc %Hd:%Ld $SOURCE)
	echo "$stack=$(cat /sys/class/nvme/*/address | paste -sd,)" >/sys/bus/pci/drivers/p2pdma_user/stack
}
unvouch() { echo "$stack=" >/sys/bus/pci/drivers/p2pdma_user/stack; }
# Not all of the page cache: what runs here is read anew then.
forget() { sync; dd if=$SOURCE iflag=nocache count=0 status=none; }
# every_policy NAME MARK
every_policy() {
	export SOURCE
	dd if=$SOURCE of=$S/$1.before bs=1M count=2 status=none
	forget; mark $2
	grown $S/$1.grown policies $SOURCE $GPU $S/$1.arrived direct >$S/$1.policies
	sync; mark $(($2 + 1))
	policies $SOURCE $GPU $S/$1.arrived prefer bounce >>$S/$1.policies
	forget
	dd if=$SOURCE of=$S/$1.after bs=1M count=2 status=none
}
"#;

/// Where the module may go if root says what lies below, root says so.
pub(super) fn script(case: &Case, mark: u64) -> String {
    let name = case.name;
    match case.expect {
        Expect::Refused { module: "yes" | "unknown", .. } => {
            format!("vouch; explain {name}.vouched; every_policy {name} {mark}; unvouch")
        }
        _ => format!("every_policy {name} {mark}"),
    }
}

/// Whether bytes go direct by a way.
fn goes_direct(case: &Case, way: &str) -> bool {
    match case.expect {
        Expect::Direct => true,
        Expect::Mapped => way == "p2pmem",
        Expect::Refused { module, .. } => way == "module" && module != "no",
        Expect::Silent { .. } => false,
    }
}

pub(super) fn check(case: &Case, outcome: &Outcome) {
    let text = outcome.file(&format!("{}.policies", case.name));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let combinations = POLICIES.iter().flat_map(|policy| WAYS.iter().map(move |way| (*policy, *way)));
    assert_eq!(lines.len(), combinations.clone().count(), "{}: {text}", case.name);
    for (line, (policy, way)) in lines.iter().zip(combinations) {
        assert_eq!((line["policy"].as_str(), line["way"].as_str()), (Some(policy), Some(way)));
        check_line(case, line, policy, way);
    }
    assert_eq!(number(outcome, &format!("{}.grown", case.name)), 0, "{}: pages under the strict policy", case.name);
    check_bytes(case, outcome, &lines);
}

/// What the summaries say; of the strict policy, that there are none where not all goes direct.
fn check_line(case: &Case, line: &Value, policy: &str, way: &str) {
    let (direct, name) = (goes_direct(case, way), case.name);
    if policy == "direct" && !direct {
        let refusal = line["refused"].as_str().unwrap_or_default();
        assert!(line["read"].is_null() && line["write"].is_null(), "{name}: {line}");
        assert!(refusal.contains(": ") && refusal.contains("; ") && !refusal.contains('\n'), "{name}: {refusal}");
        return;
    }
    let share = SHARE as u64;
    let (ends, reason) = match policy {
        "direct" => (0, None),
        "prefer" if direct => (1, Some("it begins within a block")),
        "prefer" => (share, Some("the verdict is no")),
        _ => (share, Some("asked for")),
    };
    for (rw, summary) in [("read", &line["read"]), ("write", &line["write"])].into_iter().filter(|(_, s)| !s.is_null())
    {
        let bytes = |key: &str| summary[key].as_u64().expect("a number");
        let said = format!("{name} {policy} {way} {rw}: {line}");
        assert_eq!((&summary["error"], summary["reason"].as_str()), (&Value::Null, reason), "{said}");
        assert_eq!((bytes("cached"), &summary["suspect"]), (0, &false.into()), "{said}");
        assert_eq!(bytes("direct") + bytes("head") + bytes("tail") + bytes("whole"), bytes("requested"), "{said}");
        let both = [bytes("head"), bytes("tail")];
        match ends {
            0 => assert_eq!(bytes("direct"), share, "{said}"),
            1 => assert!(bytes("whole") == 0 && both.iter().all(|&end| end > 0 && end < 4096), "{said}"),
            _ => assert_eq!(bytes("whole"), bytes("requested"), "{said}"),
        }
        check_evidence(summary["evidence"].as_str(), bytes("direct") > 0, way, rw, &said);
    }
}

/// The module has seen it; by the other way a lane's first request is witnessed at the page cache, and later ones now and then.
fn check_evidence(evidence: Option<&str>, direct: bool, way: &str, rw: &str, said: &str) {
    match (direct, way, rw) {
        (false, ..) => assert_eq!(evidence, None, "{said}"),
        (true, "module", _) => assert_eq!(evidence, Some("observed"), "{said}"),
        (true, _, "read") => assert_eq!(evidence, Some("witnessed"), "{said}"),
        (true, ..) => assert!(matches!(evidence, Some("witnessed" | "inferred")), "{said}"),
    }
}

/// What was read is what was there; what was written is its inverse; and nothing else has changed.
fn check_bytes(case: &Case, outcome: &Outcome, lines: &[Value]) {
    let bytes = |kind: &str| outcome.bytes(&format!("{}.{kind}", case.name));
    let (before, after, arrived) = (bytes("before"), bytes("after"), bytes("arrived"));
    let mut expected = before.clone();
    for (place, line) in lines.iter().enumerate() {
        let odd = if line["policy"] == "direct" { 0 } else { ODD };
        let range = place * SHARE + odd..(place + 1) * SHARE - odd;
        if !line["read"].is_null() {
            assert!(arrived[range.clone()] == before[range.clone()], "{}: what arrived: {line}", case.name);
        }
        if !line["write"].is_null() {
            expected[range].iter_mut().for_each(|byte| *byte = !*byte);
        }
    }
    assert!(after == expected, "{}: what the file holds", case.name);
}

/// Under the strict policy: what is said to have gone direct came out of or into the BAR, and nothing took another way. (A
/// mirror is written twice.)
pub(super) fn check_trace(case: &Case, outcome: &Outcome, mark: u64) {
    let ways = WAYS.iter().filter(|way| goes_direct(case, way)).count() as u64;
    let told = ways * SHARE as u64;
    let (read, strayed) = moved(outcome, mark, false);
    assert_eq!(read, told, "{}: bytes read into the BAR", case.name);
    assert!(strayed < STRAY, "{}: {strayed} bytes read into host memory", case.name);
    let (written, strayed) = moved(outcome, mark, true);
    assert!(written == told || (ways > 0 && written == 2 * told), "{}: {written} bytes of the BAR", case.name);
    assert!(strayed < STRAY, "{}: {strayed} bytes written from host memory", case.name);
}
