//! Files of expected output. `P2PBENCH_BLESS=1 cargo test -p p2pbench` rewrites them: then read the difference.

use std::{env, fs, path::Path};

/// Compares with the golden file of this name, or rewrites it. The version does not count.
pub(crate) fn assert_golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let actual = actual.replace(concat!("p2pbench ", env!("CARGO_PKG_VERSION")), "p2pbench VERSION");
    if env::var_os("P2PBENCH_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, &actual).expect("a golden file to rewrite");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == actual, "{name} is not what p2pbench prints now (P2PBENCH_BLESS=1 accepts it):\n{actual}");
}
