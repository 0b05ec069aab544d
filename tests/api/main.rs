//! The library's public interface is what `tests/api/public.txt` lists: whoever changes it sees what users will.
//!
//! `P2PDMA_BLESS=1 cargo test --test api` writes the list anew; then read the difference. It reads rustdoc's JSON, whose form
//! belongs to a toolchain: where the two do not fit, take the release of the `public-api` crate that knows this one.
#![expect(clippy::expect_used, reason = "a test ends where its ground gives way")]

use std::{env, fs, path::Path, process::Command};

/// rustdoc's JSON of the library as it is with its default features, in a target directory of its own: cargo runs this.
fn rustdoc(root: &Path) -> std::path::PathBuf {
    let target = root.join("target/api");
    let status = Command::new(env!("CARGO"))
        .args(["rustdoc", "--quiet", "--package", "p2pdma", "--lib", "--target-dir"])
        .arg(&target)
        .args(["--", "-Z", "unstable-options", "--output-format", "json"])
        .current_dir(root)
        // The form is unstable, and there in every toolchain.
        .env("RUSTC_BOOTSTRAP", "1")
        .status()
        .expect("cargo");
    assert!(status.success(), "cargo rustdoc: {status}");
    target.join("doc/p2pdma.json")
}

#[test]
fn the_public_interface_is_the_listed_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let api = public_api::Builder::from_rustdoc_json(rustdoc(root))
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .expect("a form of rustdoc's JSON that this release of public-api knows");
    let actual: String = api.items().map(|item| format!("{item}\n")).collect();
    let list = root.join("tests/api/public.txt");
    if env::var_os("P2PDMA_BLESS").is_some_and(|value| value == "1") {
        fs::write(&list, &actual).expect("the list");
    }
    let expected = fs::read_to_string(&list).unwrap_or_default();
    let only = |these: &str, those: &str, sign: &str| -> String {
        these
            .lines()
            .filter(|line| !those.lines().any(|other| other == *line))
            .map(|line| format!("{sign} {line}\n"))
            .collect()
    };
    let (gone, new) = (only(&expected, &actual, "-"), only(&actual, &expected, "+"));
    assert!(actual == expected, "the public interface is another (P2PDMA_BLESS=1 accepts it):\n{gone}{new}");
}
