use proptest::{collection, option, prelude::*};

use super::*;
use crate::machine::{DeviceNumber, DioAlignment, FileKind, InodeFlags, Machine};

fn facts(snapshot: &Snapshot) -> &dyn Facts {
    snapshot
}

fn errno_of<T>(answer: io::Result<T>) -> Option<i32> {
    answer.err().and_then(|error| error.raw_os_error())
}

#[test]
fn a_directory_lists_what_lies_in_it_once() {
    let mut snapshot = Snapshot::new();
    snapshot.file("/sys/a/x", "1").file("/sys/a/y/z", "2").file("/sys/a/y/w", "3").file("/sys/ab", "4");
    assert_eq!(snapshot.list("/sys/a").ok(), Some(vec!["x".to_owned(), "y".to_owned()]));
    assert!(snapshot.list("/sys/none").is_err());
}

#[test]
fn a_refused_path_answers_with_its_errno() {
    let mut snapshot = Snapshot::new();
    snapshot.refused("/sys/config", libc::EACCES);
    assert_eq!(errno_of(snapshot.read("/sys/config")), Some(libc::EACCES));
    assert_eq!(snapshot.refusing(libc::EACCES).collect::<Vec<_>>(), ["/sys/config"]);
}

#[test]
fn a_loop_of_links_is_an_error_and_no_hang() {
    let mut snapshot = Snapshot::new();
    snapshot.symlink("/a", "b").symlink("/b", "a");
    assert_eq!(errno_of(snapshot.read("/a")), Some(libc::ELOOP));
}

#[test]
fn in_a_complete_one_everything_else_is_absent() {
    let mut snapshot = Snapshot::new();
    snapshot.file("/a", "12");
    assert_eq!((snapshot.size("/a").ok(), errno_of(snapshot.link("/a"))), (Some(2), Some(libc::EINVAL)));
    assert_eq!(errno_of(snapshot.read("/b")), Some(libc::ENOENT));
}

#[test]
fn in_a_partial_one_everything_else_is_unknown() {
    let mut snapshot = Snapshot::partial();
    snapshot.file("/a/b", "12");
    assert!(NotRecorded::is(&snapshot.size("/a/b").unwrap_err()));
    assert!(NotRecorded::is(&snapshot.link("/a/b").unwrap_err()));
    assert!(NotRecorded::is(&snapshot.list("/a").unwrap_err()), "there may be more in it than b");
    assert!(NotRecorded::is(&snapshot.read("/c").unwrap_err()));
    assert!(!NotRecorded::is(&errno(libc::ENOENT)));
}

#[test]
fn what_a_listing_lacks_and_what_lies_below_something_absent_is_absent() {
    let mut snapshot = Snapshot::partial();
    snapshot.at("/sys/a").list = Some(Ok(vec!["x".into()]));
    snapshot.at("/sys/gone").read = Some(Err(libc::ENOENT));
    snapshot.at("/sys/secret").read = Some(Err(libc::EACCES));
    for absent in ["/sys/a/y", "/sys/a/y/z", "/sys/gone", "/sys/gone/x"] {
        assert_eq!(errno_of(snapshot.list(absent)), Some(libc::ENOENT), "{absent}");
    }
    for unknown in ["/sys/a/x", "/sys/a/x/y", "/sys/secret", "/sys/secret/x", "/sys"] {
        assert!(NotRecorded::is(&snapshot.list(unknown).unwrap_err()), "{unknown}");
    }
}

/// One of each, as it is written.
const TEXT: &str = r"p2pdma machine 1
/a link ../b
/a size error EACCES
/a\x20b list
  one
  two\x20words
/a\x20b read error 4095
/b list
/b read text
/c read = 0x060400
/c size 4096
/d read = no line break\
/e read text
  | first\tline
  |
  | a blank at the end\x20
  | C:\\
/f read bytes 33
  000  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
  020  ff
/g read text
  |
/h open
  fs_block 4096
  hole 8192
  mount 30
  size 8192
  regular 259:0
  dio 4 512
  flags 0x00080000
  path /a\x20b
/i open
  size 0
  other
/j open error EINVAL
";

#[test]
fn a_text_says_what_it_says() {
    let snapshot: Snapshot = TEXT.parse().unwrap();
    assert_eq!(snapshot.link("/a").unwrap(), "/b");
    assert_eq!(errno_of(snapshot.size("/a")), Some(libc::EACCES));
    assert_eq!(snapshot.list("/a b").unwrap(), ["one", "two words"]);
    assert_eq!(errno_of(snapshot.read("/a b")), Some(4095));
    assert_eq!((snapshot.list("/b").unwrap().len(), snapshot.read("/b").unwrap().len()), (0, 0));
    assert_eq!((&*snapshot.read("/c").unwrap(), snapshot.size("/c").unwrap()), (&b"0x060400\n"[..], 4096));
    assert_eq!(*snapshot.read("/d").unwrap(), *b"no line break");
    assert_eq!(*snapshot.read("/e").unwrap(), *b"first\tline\n\na blank at the end \nC:\\\n");
    assert_eq!(snapshot.read("/f").unwrap()[14..], [[14, 15].as_slice(), &[0; 16], &[255]].concat());
    assert_eq!(*snapshot.read("/g").unwrap(), *b"\n");
    let file = snapshot.opened("/h").unwrap();
    let device = DeviceNumber { major: 259, minor: 0 };
    assert_eq!((file.kind, file.size, file.path.as_deref()), (Some(FileKind::Regular(device)), 8192, Some("/a b")));
    assert_eq!((file.flags, file.hole, file.mount), (Some(InodeFlags::EXTENTS), Some(8192), Some(30)));
    assert_eq!(snapshot.opened("/i").unwrap(), FileFacts::of_another_kind());
    assert_eq!(errno_of(snapshot.opened("/j")), Some(libc::EINVAL));
    assert_eq!((snapshot.len(), snapshot.is_complete()), (15, false));
    assert_eq!(snapshot.to_string(), TEXT);
}

#[test]
fn comments_empty_lines_order_and_line_ends_do_not_matter() {
    let tidy: Snapshot = "p2pdma machine 1\n/a read text\n  | 1\n  | 2\n/b size 1\n".parse().unwrap();
    let untidy = "# mine\n\np2pdma machine 1\r\n/b size 1\r\n/a read text\r\n  | 1\r\n# why not here\r\n  | 2";
    assert_eq!(untidy.parse::<Snapshot>().unwrap(), tidy);
}

#[test]
fn a_description_may_be_complete() {
    let snapshot: Snapshot = "p2pdma machine 1\ncomplete\n/a/b read = 1\n".parse().unwrap();
    assert_eq!(errno_of(snapshot.read("/c")), Some(libc::ENOENT));
    assert_eq!(snapshot.list("/a").unwrap(), ["b"]);
    assert_eq!(snapshot.to_string().parse::<Snapshot>().unwrap(), snapshot);
}

#[test]
fn what_is_wrong_is_refused_with_its_line_cause_and_cure() {
    let wrong = [
        ("", "line 1: not `p2pdma machine 1`"),
        ("{}", "line 1: not `p2pdma machine 1`"),
        ("# x\np2pdma machine 2\n", "line 2: written in another version"),
        ("p2pdma machine 1\n  stray\n", "line 2: no path in \"  stray\""),
        ("p2pdma machine 1\na read = 1\n", "no path"),
        ("p2pdma machine 1\n/a\n", "no question"),
        ("p2pdma machine 1\n/a write = 1\n", "no question"),
        ("p2pdma machine 1\n/a read 1\n", "no bytes"),
        ("p2pdma machine 1\n/a read = \\q\n", "no text"),
        ("p2pdma machine 1\n/a read = \u{fc}\n", "no text"),
        ("p2pdma machine 1\n/a read text\n  x\n", "line 3: no `|` and text"),
        ("p2pdma machine 1\n/a read bytes -1\n", "no number of bytes"),
        ("p2pdma machine 1\n/a read bytes 999999999999\n", "believable"),
        ("p2pdma machine 1\n/a read bytes 200000000\n/b read bytes 200000000\n", "line 3: no believable"),
        ("p2pdma machine 1\n/a read bytes 16\n  008  00\n", "no row"),
        ("p2pdma machine 1\n/a read bytes 16\n  000  0G\n", "no row"),
        ("p2pdma machine 1\n/a read bytes 16\n  010  00\n", "within the length"),
        ("p2pdma machine 1\n/a read bytes 32\n  010  01\n  000  01\n", "line 4: no bytes behind the row above"),
        ("p2pdma machine 1\n/a list\n  b\n  a\n", "line 4: a name that is not behind"),
        ("p2pdma machine 1\n/a list\n  a\n  a\n", "line 4: a name that is not behind"),
        ("p2pdma machine 1\n/a list\n  a/b\n", "no name"),
        ("p2pdma machine 1\n/a size many\n", "no size"),
        ("p2pdma machine 1\n/a size error EWHAT\n", "no errno"),
        ("p2pdma machine 1\n/a size error 0\n", "no errno"),
        ("p2pdma machine 1\n/a link \n", "no target"),
        ("p2pdma machine 1\n/a size 1\n/a size 1\n", "line 3: the path has answered"),
    ];
    for (text, part) in wrong {
        let line = text.parse::<Snapshot>().unwrap_err().to_string();
        assert!(line.contains(part) && line.contains("; ") && !line.contains('\n'), "{line:?} for {text:?}");
    }
}

#[test]
fn a_file_is_named_in_what_is_wrong_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("machine");
    let invalid = |content: &[u8]| {
        std::fs::write(&path, content).unwrap();
        Snapshot::load(&path).unwrap_err().to_string()
    };
    assert!(invalid(b"p2pdma machine 1\n/a\n").contains("machine, line 2: no question"));
    assert!(invalid(&[0xff, 0xfe]).contains("no text"));
    assert!(Snapshot::load(directory.path()).unwrap_err().to_string().contains("it is a directory"));
    assert!(Snapshot::load("/dev/null").unwrap_err().to_string().contains("/dev/null, line 1"));
    assert!(matches!(Snapshot::load(directory.path().join("none")), Err(crate::Error::NotFound(_))));
}

/// What a machine may say: text, bytes, mostly zeroes.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let rows = collection::vec(prop_oneof![Just(vec![0; 16]), collection::vec(any::<u8>(), 0..40)], 0..8);
    prop_oneof![
        any::<String>().prop_map(String::into_bytes),
        "[ -~\t\n]{0,60}".prop_map(String::into_bytes),
        rows.prop_map(|rows| rows.concat())
    ]
}

fn answer<T: std::fmt::Debug + Clone>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Option<Answer<T>>> {
    option::of(prop_oneof![3 => value.prop_map(Ok), 1 => (1..=4095_i32).prop_map(Err)])
}

fn answers() -> impl Strategy<Value = Answers> {
    let word = || "[^/\0]{1,8}";
    let names = collection::btree_set(word(), 0..5).prop_map(|names| names.into_iter().collect());
    (answer(bytes()), answer(any::<u64>()), answer(word()), answer(names), answer(file())).prop_map(
        |(read, size, link, list, open)| Answers { read, size, link, list, open: open.map(|open| open.map(Box::new)) },
    )
}

fn file() -> impl Strategy<Value = FileFacts> {
    let device = || (any::<u64>(), any::<u64>()).prop_map(|(major, minor)| DeviceNumber { major, minor });
    let kind = option::of(prop_oneof![device().prop_map(FileKind::Block), device().prop_map(FileKind::Regular)]);
    let dio = option::of(any::<(u32, u32)>().prop_map(|(memory, offset)| DioAlignment { memory, offset }));
    let flags = option::of(any::<u32>().prop_map(InodeFlags::from_bits_retain));
    let numbers = any::<(Option<u32>, Option<u64>, Option<u64>)>();
    (kind, any::<u64>(), dio, flags, numbers, option::of("/[^/\0]{1,8}")).prop_map(
        |(kind, size, dio, flags, (block, hole, mount), path)| FileFacts {
            kind,
            size,
            dio,
            flags,
            block,
            hole,
            mount,
            path,
        },
    )
}

prop_compose! {
    fn snapshots()(
        answers in collection::btree_map("(/[^/\0]{1,6}){1,4}", answers(), 0..12),
        complete in any::<bool>(),
    ) -> Snapshot {
        let asked = |answers: &Answers| answers.errnos() != [None; 5];
        Snapshot { answers: answers.into_iter().filter(|(_, answers)| asked(answers)).collect(), complete }
    }
}

proptest! {
    #[test]
    fn whatever_a_machine_says_is_read_back(snapshot in snapshots()) {
        let text = snapshot.to_string();
        prop_assert!(text.is_ascii());
        prop_assert_eq!(text.parse::<Snapshot>().map_err(|error| error.to_string()), Ok(snapshot));
    }

    #[test]
    fn a_recording_of_anything_answers_the_same(snapshot in snapshots()) {
        let original = Machine::recorded(snapshot.clone());
        let recorder = crate::machine::Recorder::new(&original);
        for (path, _) in snapshot.answers.iter() {
            let _ = (recorder.machine().facts().read(path), recorder.machine().facts().list(path));
            let _ = (recorder.machine().facts().size(path), recorder.machine().facts().link(path));
            let _ = recorder.machine().facts().opened(path);
        }
        let replayed = recorder.snapshot();
        for (path, _) in snapshot.answers.iter() {
            prop_assert_eq!(errno_of(replayed.read(path)), errno_of(original.facts().read(path)));
            prop_assert_eq!(replayed.list(path).ok(), original.facts().list(path).ok());
            prop_assert_eq!(replayed.size(path).ok(), original.facts().size(path).ok());
            prop_assert_eq!(replayed.link(path).ok(), original.facts().link(path).ok());
            prop_assert_eq!(replayed.opened(path).ok(), original.facts().opened(path).ok());
        }
    }

    #[test]
    fn any_text_is_a_snapshot_or_one_line(text in "(p2pdma machine 1\n)?(/[a-z]* (read|list|open|size|link)( [=a-z0-9]*){0,3}\n|  [ -~]*\n|.*\n){0,6}") {
        check(&text)?;
    }

    #[test]
    fn a_valid_text_with_a_blow_is_a_snapshot_or_one_line(at in 0..TEXT.len(), blow in any::<char>(), length in 0..4_usize) {
        let end = (at + length).min(TEXT.len());
        check(&format!("{}{blow}{}", &TEXT[..at], &TEXT[end..]))?;
        check(&TEXT[..at])?;
    }
}

/// No panic; what is refused is one line with a cure; what is taken is written as it was read.
fn check(text: &str) -> Result<(), TestCaseError> {
    match text.parse::<Snapshot>() {
        Ok(snapshot) => {
            let again = snapshot.to_string().parse::<Snapshot>();
            prop_assert_eq!(again.map_err(|error| error.to_string()), Ok(snapshot));
        }
        Err(error) => {
            let line = error.to_string();
            prop_assert!(!line.contains(['\n', '\r']) && line.contains("; ") && line.len() < 400, "{}", line);
        }
    }
    let _ = facts(&Snapshot::new()).text("/a");
    Ok(())
}
