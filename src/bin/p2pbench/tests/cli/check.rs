//! `p2pbench check`.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

use crate::{
    golden::assert_golden,
    program::{Outcome, command, p2pbench},
};

fn check(machine: &str, options: &str) -> Outcome {
    p2pbench(&format!("--machine {machine} check {options}"))
}

/// Text and JSON, both with this exit code and nothing on stderr: the reason is on stdout.
fn assert_checked(machine: &str, name: &str, status: i32) {
    for (form, extension) in [("", "txt"), ("--json", "json")] {
        let outcome = check(machine, form);
        assert_eq!((outcome.status, outcome.stderr.as_str()), (status, ""), "{}", outcome.stdout);
        assert_golden(&format!("check-{name}.{extension}"), &outcome.stdout);
    }
}

fn first_line(outcome: &Outcome) -> &str {
    outcome.stdout.lines().next().expect("a reason")
}

/// A directory with a file of what the mock machine with a switch is, changed so.
fn expectation(change: impl Fn(String) -> String) -> (TempDir, String) {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("expect.toml");
    let outcome = check("mock", &format!("--write-expect {}", file.display()));
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    fs::write(&file, change(fs::read_to_string(&file).expect("an expectation"))).expect("a changed one");
    (directory, file.display().to_string())
}

#[test]
fn a_node_whose_pairs_are_all_direct_passes() {
    assert_checked("mock", "switch", 0);
}

#[test]
fn a_pair_without_route_fails_and_says_what_to_do() {
    assert_checked("mock:root-ports-intel", "root-ports-intel", 1);
}

#[test]
fn what_a_good_node_is_is_written_down() {
    let (_directory, file) = expectation(|text| text);
    assert_golden("expect-switch.toml", &fs::read_to_string(file).expect("an expectation"));
}

#[test]
fn a_node_passes_its_own_expectation() {
    let (_directory, file) = expectation(|text| text);
    let outcome = check("mock", &format!("--expect {file}"));
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{}", outcome.stdout);
    assert!(
        first_line(&outcome).starts_with("MOCK  PASS  2 SSDs, 1 provider, 2 pairs, 2 direct"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn each_thing_that_is_not_as_expected_is_a_finding() {
    let cases = [
        ("ssds = 2", "ssds = 3", "ssds node"),
        ("providers = 1", "providers = 2", "providers node"),
        ("module = \"0.1.0\"", "module = \"0.2\"", "module node"),
        ("6.12.0-mock", "6.13", "kernel node"),
        ("ssds = 2", "ssds = 2\nparameters = [\"iommu=pt\"]", "parameter node"),
        ("\"0000:03:00.0\" = \"16 GT/s x4\"", "\"0000:03:00.0\" = \"16 GT/s x8\"", "link 0000:03:00.0"),
        ("\"0000:03:00.0\" = [", "\"0000:09:00.0\" = [", "ssd_absent 0000:09:00.0"),
        ("[\"0000:05:00.0\"]", "[\"0000:04:00.0\"]", "provider_absent 0000:04:00.0"),
    ];
    for (was, is, reason) in cases {
        let (_directory, file) = expectation(|text| {
            assert!(text.contains(was), "{was:?} is missing in {text}");
            text.replacen(was, is, 1)
        });
        let outcome = check("mock", &format!("--expect {file}"));
        assert_eq!(outcome.status, 1, "{reason}: {}", outcome.stdout);
        assert!(first_line(&outcome).starts_with(&format!("MOCK  FAIL  {reason}")), "{reason}: {}", outcome.stdout);
    }
}

#[test]
fn a_pair_that_nobody_expects_to_be_direct_fails_nothing() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("expect.toml");
    fs::write(&file, "schema = \"p2pbench.expect/1\"\nssds = 1\n").expect("an expectation");
    assert_eq!(check("mock:root-ports-intel", "").status, 1);
    assert_eq!(check("mock:root-ports-intel", &format!("--expect {}", file.display())).status, 0);
}

#[test]
fn a_minimum_is_held_against_what_was_measured_and_against_nothing_else() {
    let minimum = |least: &str| format!("\n[gb_per_second]\n\"0000:03:00.0 -> 0000:05:00.0\" = {least}\n");
    let (directory, file) = expectation(|text| text + &minimum("1000000.0"));
    let outcome = check("mock", &format!("--expect {file}"));
    assert_eq!(outcome.status, 0, "an estimate is no measurement: {}", outcome.stdout);
    assert!(first_line(&outcome).contains("warning: not_measured"), "{}", outcome.stdout);
    let run = directory.path().join("run.json").display().to_string();
    let measured = p2pbench("--machine mock run --source /dev/nvme0n1 --peer 0000:05:00.0 --size 1M --json");
    fs::write(&run, &measured.stdout).expect("a measurement");
    let outcome = check("mock", &format!("--expect {file} --measured {run}"));
    assert_eq!(outcome.status, 1, "{}", outcome.stdout);
    assert!(first_line(&outcome).starts_with("MOCK  FAIL  slow 0000:03:00.0 -> 0000:05:00.0"), "{}", outcome.stdout);
    let (_directory, file) = expectation(|text| text + &minimum("0.000001"));
    assert_eq!(check("mock", &format!("--expect {file} --measured {run}")).status, 0);
    for copied in [("\"suspect\": false", "\"suspect\": true"), ("\"bytes_bounced\": 0", "\"bytes_bounced\": 512")] {
        assert!(measured.stdout.contains(copied.0), "{}", measured.stdout);
        fs::write(&run, measured.stdout.replace(copied.0, copied.1)).expect("a measurement");
        let outcome = check("mock", &format!("--expect {file} --measured {run}"));
        assert!(first_line(&outcome).contains("warning: not_measured"), "{}", outcome.stdout);
    }
}

#[test]
fn minima_are_written_of_what_was_measured() {
    let (directory, file) = expectation(|text| text);
    let run = directory.path().join("run.json").display().to_string();
    let measured = p2pbench("--machine mock run --source /dev/nvme0n1 --peer 0000:05:00.0 --size 16M --json");
    fs::write(&run, &measured.stdout).expect("a measurement");
    assert_eq!(check("mock", &format!("--write-expect {file} --measured {run}")).status, 0);
    let text = fs::read_to_string(&file).expect("an expectation");
    assert!(text.contains("[gb_per_second]\n\"0000:03:00.0 -> 0000:05:00.0\" = "), "{text}");
    assert_eq!(check("mock", &format!("--expect {file} --measured {run}")).status, 0);
}

/// A recording of the mock machine, changed.
fn recorded_with(change: impl Fn(&mut Vec<String>)) -> (TempDir, String) {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("machine");
    assert_eq!(p2pbench(&format!("--machine mock record {}", file.display())).status, 0);
    let text = fs::read_to_string(&file).expect("a recording");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(&file, lines.join("\n") + "\n").expect("a recording");
    (directory, file.display().to_string())
}

/// What the module's version in sysfs is instead.
fn with_module(version: &'static str) -> impl Fn(&mut Vec<String>) {
    move |lines: &mut Vec<String>| {
        let told = "/sys/module/p2pdma_user/version read ";
        let line = lines.iter_mut().find(|line| line.starts_with(told)).expect("a version");
        *line = format!("{told}{version}");
    }
}

#[test]
fn the_module_is_expected_by_its_version_and_never_as_loaded() {
    let (directory, machine) = recorded_with(with_module("= 0.1.0"));
    let file = directory.path().join("expect.toml").display().to_string();
    assert_eq!(check(&machine, &format!("--write-expect {file}")).status, 0);
    let text = fs::read_to_string(&file).expect("an expectation");
    assert!(text.contains("\nmodule = \"0.1.0\"\n"), "{text}");
    fs::write(&file, text.replace("0.1.0", "0.1")).expect("an expectation");
    assert_eq!(check(&machine, &format!("--expect {file}")).status, 0);
    let (_directory, nameless) = recorded_with(with_module("error ENOENT"));
    let outcome = check(&nameless, &format!("--expect {file}"));
    assert_eq!(outcome.status, 1, "{}", outcome.stdout);
    assert!(outcome.stdout.contains("p2pdma_user is loaded and tells no version, and 0.1 is"), "{}", outcome.stdout);
    assert_eq!(check(&nameless, &format!("--write-expect {file}")).status, 0);
    assert!(!fs::read_to_string(&file).expect("an expectation").contains("module ="));
}

#[test]
fn a_node_without_direct_pairs_is_no_good_one() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("expect.toml");
    let outcome = check("mock:root-ports-intel", &format!("--write-expect {}", file.display()));
    assert_eq!((outcome.status, outcome.stderr.lines().count()), (1, 1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("no good node: it has 1 SSD, 1 provider, 1 pair"), "{}", outcome.stderr);
    assert!(!file.exists());
}

/// A multipath head takes peer memory by the module alone, once root has named it.
#[test]
fn the_way_by_which_a_node_is_good_is_written_down() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("expect.toml").display().to_string();
    let recorded = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/machines/multipath");
    assert_eq!(check(recorded, &format!("--write-expect {file}")).status, 1, "no way is open yet");
    let text = fs::read_to_string(recorded).expect("a recording");
    // Which of its names the head has is for the kernel to say.
    let head =
        text.lines().find(|line| line.starts_with("/sys/dev/block/") && line.contains("/virtual/nvme-subsystem/"));
    let number = head.and_then(|line| line["/sys/dev/block/".len()..].split(' ').next()).expect("the head's number");
    let (switch, machine) = ("/sys/bus/pci/drivers/p2pdma_user/stack read", directory.path().join("named"));
    let unnamed = text.lines().find(|line| line.starts_with(switch)).expect("what root has named");
    let named = text.replace(unnamed, &format!("{switch} = {number}=0000:03:00.0,0000:04:00.0"));
    fs::write(&machine, named).expect("a recording");
    let machine = &machine.display().to_string();
    assert_eq!(check(machine, "").status, 1);
    assert_eq!(check(machine, &format!("--write-expect {file}")).status, 0);
    let text = fs::read_to_string(&file).expect("an expectation");
    assert!(text.contains("\nway = \"module\"\n") && text.contains(" = [\"0000:05:00.0\"]"), "{text}");
    assert_eq!(check(machine, &format!("--expect {file}")).status, 0);
}

/// A GPU that runs at 2.5 GT/s because it idles is the same GPU; an SSD is not.
#[test]
fn an_idle_gpu_is_held_against_the_best_that_its_link_can_do() {
    let machine = |name: &str| format!("{}/../../../tests/machines/{name}", env!("CARGO_MANIFEST_DIR"));
    let directory = TempDir::new().expect("a directory");
    let (file, idle) = (directory.path().join("expect.toml"), directory.path().join("idle"));
    let links = "[links]\n\"0001:01:00.0\" = \"32 GT/s x16\"\n\"0001:06:00.0\" = \"16.0 GT/s PCIe x4\"\n";
    fs::write(&file, format!("schema = \"p2pbench.expect/1\"\n{links}")).expect("an expectation");
    let text = fs::read_to_string(machine("desktop")).expect("a recording");
    for (address, status) in [("0001:01:00.0", 0), ("0001:06:00.0", 1)] {
        let slows = |line: &str| line.contains(&format!("{address}/current_link_speed "));
        let lines = text.lines().map(|line| match slows(line) {
            true => format!("{} read = 2.5 GT/s PCIe\n", line.split(' ').next().expect("a path")),
            false => format!("{line}\n"),
        });
        fs::write(&idle, lines.collect::<String>()).expect("a recording");
        let outcome = check(&idle.display().to_string(), &format!("--expect {}", file.display()));
        assert_eq!(outcome.status, status, "{address}: {}", outcome.stdout);
    }
}

#[test]
fn a_reason_fits_80_columns() {
    let machine = |name: &str| format!("{}/../../../tests/machines/{name}", env!("CARGO_MANIFEST_DIR"));
    let machines = ["mock".to_owned(), "mock:root-ports-intel".to_owned(), machine("root-ports-intel-nobody")];
    let outcomes = machines.iter().map(|machine| check(machine, ""));
    let errors =
        [check("./no-such-machine-anywhere-in-this-directory-or-another", ""), check("mock", "--expect /none")];
    for outcome in outcomes.chain(errors) {
        assert!(first_line(&outcome).chars().count() <= 80, "{}", outcome.stdout);
    }
}

#[test]
fn an_expectation_that_is_none_is_2_with_its_line() {
    for (text, part) in [
        ("ssds = \"two\"", "line 2: "),
        ("ssd = 2", "unknown field `ssd`"),
        ("= 3", "line 2: "),
        ("[links]\n\"0000:03:00.0\" = \"fast\"", "is no link"),
    ] {
        let (_directory, file) = expectation(|_| format!("schema = \"p2pbench.expect/1\"\n{text}\n"));
        let outcome = check("mock", &format!("--expect {file}"));
        assert_eq!((outcome.status, outcome.stderr.lines().count()), (2, 1), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(part) && outcome.stderr.contains(&file), "{}", outcome.stderr);
    }
}

/// A row of a list, which is sorted.
fn is_name(row: &str) -> bool {
    row.starts_with("  nvme")
}

/// A recording of the mock machine whose SSDs answered in the other order, as they may on any boot.
fn renumbered(directory: &Path) -> String {
    let file = directory.join("machine");
    assert_eq!(p2pbench(&format!("--machine mock record {}", file.display())).status, 0);
    let text = fs::read_to_string(&file).expect("a recording");
    let swapped = text.replace("nvme0", "nvme#").replace("nvme1", "nvme0").replace("nvme#", "nvme1");
    assert_ne!(swapped, text);
    let mut lines: Vec<&str> = swapped.lines().collect();
    lines.chunk_by_mut(|a, b| is_name(a) && is_name(b)).for_each(<[&str]>::sort_unstable);
    let other = directory.join("other");
    fs::write(&other, lines.join("\n") + "\n").expect("a recording");
    other.display().to_string()
}

#[test]
fn equal_nodes_print_equal_text_whatever_their_ssds_are_called() {
    let directory = TempDir::new().expect("a directory");
    let other = renumbered(directory.path());
    let first = directory.path().join("machine").display().to_string();
    assert_eq!(check(&first, "").stdout, check(&other, "").stdout);
}

#[test]
fn it_needs_no_environment() {
    let output = command("--machine mock check").env_clear().current_dir("/").output().expect("p2pbench");
    assert_eq!(Outcome::new(output).status, 0);
}

/// A daemon may ignore the end of its children, and what it starts inherits that.
#[test]
fn it_gives_its_answer_also_where_whoever_started_it_ignores_its_children() {
    for (machine, status) in [("mock", 0), ("mock:root-ports-intel", 1)] {
        let mut ignoring = Command::new("env");
        ignoring.args(["--ignore-signal=CHLD", env!("CARGO_BIN_EXE_p2pbench"), "--machine", machine, "check"]);
        let outcome = Outcome::new(ignoring.output().expect("env"));
        assert_eq!((outcome.status, outcome.stderr.as_str()), (status, ""), "{}", outcome.stdout);
    }
}

/// A pipe that nobody writes to hangs whoever reads it, as a dead device does.
#[test]
fn a_machine_that_hangs_is_4_at_the_deadline() {
    let directory = TempDir::new().expect("a directory");
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let outcome = check(&pipe.display().to_string(), "--deadline 0.2");
    assert_eq!(outcome.status, 4, "{}", outcome.stderr);
    assert!(first_line(&outcome).starts_with("ERROR  check: not done within 0.2 s"), "{}", outcome.stdout);
    assert!(outcome.stderr.contains("--deadline"), "{}", outcome.stderr);
}
