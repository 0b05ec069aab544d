//! Recorded machines that nobody builds, in every form that p2pbench shows: an answer or one line of refusal, in time, and
//! nothing of a machine's names that a terminal would obey or XML would not take.

use std::{
    fs,
    process::{Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use p2pdma::machine::Snapshot;
use proptest::prelude::*;

use crate::program::{Outcome, command};

/// Far above what the largest of these takes, on a machine that does much else.
const LIMIT: Duration = Duration::from_secs(30);
const FORMS: [&str; 8] = [
    "topo",
    "topo --format matrix",
    "topo --format svg",
    "topo --json",
    "explain 0000:01:00.0 0000:02:00.0",
    "explain 0000:01:00.0 0000:02:00.0 --json",
    "check",
    "check --json",
];

/// Names that a terminal would obey, that would close an element, or that no reader expects.
fn name() -> impl Strategy<Value = String> {
    let names = [
        "\u{1b}[2J\u{1b}]0;x\u{7}",
        "\u{9b}31m",
        "\u{202e}evil",
        "</text><script>",
        "]]>&<!--",
        "nvme",
        "",
        "a\u{7f}\rb",
    ];
    prop_oneof![prop::sample::select(names.to_vec()).prop_map(str::to_owned), any::<String>()]
}

/// What a function says of itself: names that are printed as they are, and numbers that may be none.
fn facts() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    const FILES: [&str; 8] = [
        "class",
        "numa_node",
        "current_link_speed",
        "max_link_width",
        "p2pmem/size",
        "p2pmem/available",
        "nvme/nvme0/nvme0n1/dev",
        "resource",
    ];
    let class = prop::sample::select(vec!["0x010802", "0x030200", "0x020700", "0x060400", "0x120000"]);
    let value = prop_oneof![name(), "-?[0-9]{1,22}", class.clone().prop_map(str::to_owned)];
    let more = prop::collection::vec((prop::sample::select(FILES.to_vec()), value), 0..8);
    (class, more).prop_map(|(class, more)| [vec![("class", class.to_owned())], more].concat())
}

#[derive(Debug, Clone)]
struct Part {
    facts: Vec<(&'static str, String)>,
    driver: String,
    domain: String,
    config: Vec<u8>,
    inside: bool,
}

fn part() -> impl Strategy<Value = Part> {
    (facts(), name(), name(), prop::collection::vec(any::<u8>(), 0..300), any::<bool>())
        .prop_map(|(facts, driver, domain, config, inside)| Part { facts, driver, domain, config, inside })
}

/// Functions 0000:01:00.0, 0000:02:00.0 and so on, each below the one before it or on a bus of the same host bridge.
fn machine(parts: &[Part], release: &str) -> Snapshot {
    let mut snapshot = Snapshot::new();
    snapshot.file("/proc/sys/kernel/osrelease", release).file("/sys/module/p2pdma_user/version", release);
    let mut above = "/sys/devices/pci0000:00".to_owned();
    for (number, part) in (1..).zip(parts) {
        let address = format!("0000:{number:02x}:00.0");
        let directory = format!("{}/{address}", if part.inside { &above } else { "/sys/devices/pci0000:00" });
        snapshot.symlink(format!("/sys/bus/pci/devices/{address}"), directory.clone());
        snapshot.symlink(format!("{directory}/driver"), format!("/sys/bus/pci/drivers/{}", part.driver));
        snapshot.symlink(format!("{directory}/iommu_group"), format!("/sys/kernel/iommu_groups/{number}"));
        snapshot.file(format!("/sys/kernel/iommu_groups/{number}/type"), part.domain.as_bytes());
        snapshot.file(format!("{directory}/config"), part.config.clone());
        for (name, value) in [("vendor", "0x10de"), ("device", "0x2330")] {
            snapshot.file(format!("{directory}/{name}"), value);
        }
        for (name, value) in &part.facts {
            snapshot.file(format!("{directory}/{name}"), value.as_bytes());
        }
        if number == 1 {
            // So that there is something to explain.
            snapshot.file(format!("{directory}/class"), "0x010802");
        }
        above = directory;
    }
    snapshot
}

/// Ends with the test's own word where the program does not end.
fn within_the_limit(arguments: &str) -> Outcome {
    let mut files = [tempfile::tempfile().expect("a file"), tempfile::tempfile().expect("a file")];
    let [stdout, stderr] = files.each_ref().map(|file| Stdio::from(file.try_clone().expect("a file")));
    let mut child = command(arguments).stdout(stdout).stderr(stderr).spawn().expect("p2pbench");
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if start.elapsed() > LIMIT {
            child.kill().and_then(|()| child.wait()).expect("an end");
            panic!("`{arguments}` did not end within {LIMIT:?}");
        }
        sleep(Duration::from_millis(2));
    };
    let [stdout, stderr] = files.each_mut().map(read);
    Outcome::new(Output { status, stdout, stderr })
}

fn read(file: &mut fs::File) -> Vec<u8> {
    use std::io::{Read, Seek};
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("what was printed");
    bytes
}

/// Whether a terminal would do something else than show it.
fn is_obeyed(letter: char) -> bool {
    letter.is_control() && letter != '\n' || matches!(letter, '\u{202a}'..='\u{202e}')
}

/// Each element that is opened is closed, in order, and all that is outside of them is text.
fn is_well_formed(svg: &str) -> bool {
    let mut open = Vec::new();
    for piece in svg.split('<').skip(1) {
        let Some((tag, text)) = piece.split_once('>') else { return false };
        let name = tag.trim_matches('/').split(' ').next().unwrap_or_default();
        let closes = tag.starts_with('/');
        if closes && open.pop() != Some(name) || text.contains("]]>") || !name.chars().all(char::is_alphanumeric) {
            return false;
        }
        if !closes && !tag.ends_with('/') {
            open.push(name);
        }
    }
    open.is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_machine_is_shown_in_every_form_or_refused_in_one_line(
        parts in prop::collection::vec(part(), 0..7), release in name()
    ) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), machine(&parts, &release).to_string()).expect("a recording");
        for form in FORMS {
            let outcome = within_the_limit(&format!("--machine {} {form}", file.path().display()));
            prop_assert!(outcome.status <= 4 && !outcome.stderr.contains("panicked"), "{}: {}", form, outcome.stderr);
            for text in [&outcome.stdout, &outcome.stderr] {
                prop_assert!(!text.contains(is_obeyed), "{}: {:?}", form, text);
            }
            let is_answer = !outcome.stdout.is_empty();
            prop_assert!(is_answer || outcome.stderr.lines().count() == 1, "{}: {}", form, outcome.stderr);
            prop_assert!(!is_answer || !form.ends_with("svg") || is_well_formed(&outcome.stdout), "{}", outcome.stdout);
            let json = form.ends_with("json").then(|| serde_json::from_str::<serde_json::Value>(&outcome.stdout));
            prop_assert!(!is_answer || json.is_none_or(|json| json.is_ok()), "{}: {}", form, outcome.stdout);
        }
    }
}

#[test]
fn what_is_no_well_formed_drawing_is_known_as_such() {
    assert!(is_well_formed("<svg a=\"b\"><g><path/></g><text>x</text></svg>"));
    for text in ["<svg><g></svg>", "<svg>", "<svg><text></text><script></svg>", "<svg><!-- </svg>"] {
        assert!(!is_well_formed(text), "{text}");
    }
}
