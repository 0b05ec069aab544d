//! The crate against the header `kmod/uapi/p2pdma_user.h`: made from it anew, and asked of a C compiler.
//!
//! `P2PDMA_BLESS=1 cargo test -p p2pdma-sys` writes `src/bindings.rs` after a change of the header.
#![expect(clippy::expect_used, reason = "a test ends where its ground gives way")]

use std::{
    env::consts::ARCH,
    fmt::Write,
    fs,
    mem::{offset_of, size_of},
    panic,
};

use p2pdma_sys::*;

const BINDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bindings.rs");
const HEADER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../kmod/uapi/p2pdma_user.h");

/// The header's own structures and constants, and the integers they are made of.
fn generate() -> String {
    let builder = bindgen::builder().header(HEADER).allowlist_type("p2pdma_user_.*").allowlist_var("P2PDMA_USER_.*");
    let builder = builder.use_core().derive_default(true).derive_eq(true).layout_tests(false);
    let builder = builder.disable_header_comment().formatter(bindgen::Formatter::Prettyplease);
    let origin = "//! Made from `kmod/uapi/p2pdma_user.h`; `tests/header.rs` says how to make it anew.";
    builder.raw_line(origin).generate().expect("bindgen reads the header").to_string()
}

#[test]
fn bindings_are_what_the_header_says() {
    let generated = panic::catch_unwind(generate).expect("libclang is there (apt-get install libclang-dev)");
    if std::env::var_os("P2PDMA_BLESS").is_some() {
        fs::write(BINDINGS, &generated).expect("the file is written");
    }
    let kept = fs::read_to_string(BINDINGS).expect("bindings");
    assert_eq!(kept, generated, "the header changed: P2PDMA_BLESS=1 cargo test -p p2pdma-sys");
}

/// Claims in C about a structure as Rust sees it. Naming every field is compulsory: the pattern has no `..`.
macro_rules! claims_of {
    ($claims:ident, $($structure:ident { $($field:ident),* })*) => {$(
        let $structure { $($field: _),* } = $structure::default();
        let name = stringify!($structure);
        claim(&mut $claims, &format!("sizeof(struct {name})"), size_of::<$structure>());
        $(
            let at = offset_of!($structure, $field);
            claim(&mut $claims, &format!("offsetof(struct {name}, {})", stringify!($field)), at);
        )*
    )*};
}

/// Claims in C about constants.
macro_rules! numbers {
    ($claims:ident, $($number:ident)*) => {$( claim(&mut $claims, stringify!($number), $number as usize); )*};
}

fn claim(claims: &mut String, expression: &str, value: usize) {
    writeln!(claims, "_Static_assert(({expression}) == {value}u, \"{expression}\");").expect("a string grows");
}

fn all_claims() -> String {
    let mut claims = format!("#include <stddef.h>\n#include \"{HEADER}\"\n");
    claims_of! { claims,
        p2pdma_user_address { domain, bus, devfn, reserved }
        p2pdma_user_info { size, flags, out_major, out_max_length, out_features }
        p2pdma_user_distance { size, flags, provider, client, out_distance, reserved }
        p2pdma_user_queue { size, flags, fd, out_features }
        p2pdma_user_alloc { size, flags, provider, length, out_length, out_fd, reserved }
        p2pdma_user_register { size, flags, provider, fd, out_fd, out_length }
        p2pdma_user_stats { size, flags, out_buffers, out_bytes, out_pairs, out_in_flight }
        p2pdma_user_bind { size, flags, fd, out_fd, out_access, out_memory_align, out_offset_align, out_distance }
        p2pdma_user_copy { size, flags, direction, length, offset, address }
        p2pdma_user_io { size, flags, op, length, offset, position, out_length, out_flags }
        p2pdma_user_cmd { position, length, flags }
    }
    numbers! { claims,
        P2PDMA_USER_INFO P2PDMA_USER_DISTANCE P2PDMA_USER_QUEUE P2PDMA_USER_ALLOC P2PDMA_USER_STATS P2PDMA_USER_BIND
        P2PDMA_USER_REGISTER P2PDMA_USER_FEATURE_REGISTER P2PDMA_USER_COPY P2PDMA_USER_IO P2PDMA_USER_READ P2PDMA_USER_WRITE P2PDMA_USER_MAJOR P2PDMA_USER_MAX_LENGTH
        P2PDMA_USER_FEATURE_ALLOC P2PDMA_USER_QUEUE_P2PDMA P2PDMA_USER_ACCESS_READ P2PDMA_USER_ACCESS_WRITE
        P2PDMA_USER_COPY_IN P2PDMA_USER_COPY_OUT P2PDMA_USER_IO_BUFFERED P2PDMA_USER_RESULT_BUFFERED
    }
    claims
}

/// Whether a C compiler agrees; `Err` is what it says.
fn compile(claims: &str) -> Result<(), String> {
    let directory = tempfile::tempdir().expect("a directory");
    let source = directory.path().join("claims.c");
    fs::write(&source, claims).expect("the claims are written");
    let target = format!("{ARCH}-unknown-linux-gnu");
    let compiler = cc::Build::new().target(&target).host(&target).opt_level(0).out_dir(directory.path()).get_compiler();
    let output = compiler
        .to_command()
        .args(["-Werror", "-Wpadded"])
        .arg("-fsyntax-only")
        .arg(&source)
        .output()
        .expect("a C compiler");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn a_c_compiler_agrees_on_every_size_offset_and_number_and_finds_no_hole() {
    assert_eq!(compile(&all_claims()), Ok(()));
}

#[test]
fn a_c_compiler_would_object() {
    let mut claims = all_claims();
    claim(&mut claims, "sizeof(struct p2pdma_user_cmd)", 17);
    assert!(compile(&claims).unwrap_err().contains("p2pdma_user_cmd"));
    assert!(compile("struct hole { char a; int b; };").unwrap_err().contains("padding"));
}
