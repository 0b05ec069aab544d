//! The house has floors: a room uses only rooms below it, and itself. This test parses every path of the library, in
//! `use` lines, expressions and macros, and holds it to the table in `src/lib.rs`.

#![expect(clippy::expect_used, reason = "a test ends where its ground gives way")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use syn::visit::Visit;

/// Floors, low to high. What stands on one floor does not use one another.
const FLOORS: [&[&str]; 6] =
    [&["error", "pci"], &["control"], &["machine"], &["topology", "storage", "memory"], &["verdict"], &["transfer"]];

/// Names that `src/lib.rs` lifts to the root.
const LIFTED: [(&str, &str); 4] =
    [("Error", "error"), ("Refusal", "error"), ("Result", "error"), ("SyscallError", "error")];

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Collects the first segment behind `crate::` of every path of a file; `p2pdma_sys` counts as a room of its own.
struct Uses<'a> {
    module: &'a [String],
    rooms: Vec<String>,
}

impl Uses<'_> {
    fn note(&mut self, path: &[String]) {
        let mut at = self.module.to_vec();
        let mut rest = path;
        loop {
            match rest.first().map(String::as_str) {
                Some("crate") => at.clear(),
                Some("self") => {}
                Some("super") => {
                    at.pop();
                }
                Some("p2pdma_sys") => return self.rooms.push("p2pdma_sys".into()),
                _ => break,
            }
            rest = &rest[1..];
        }
        let relative = rest.len() < path.len();
        if let (true, true, Some(room)) = (relative, at.is_empty(), rest.first()) {
            self.rooms.push(room.clone());
        }
    }

    fn tree(&mut self, tree: &syn::UseTree, mut prefix: Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.tree(&path.tree, prefix);
            }
            syn::UseTree::Name(name) => self.leaf(&name.ident, prefix),
            syn::UseTree::Rename(rename) => self.leaf(&rename.ident, prefix),
            syn::UseTree::Glob(_) => self.note(&prefix),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(item, prefix.clone())),
        }
    }

    fn leaf(&mut self, name: &syn::Ident, mut prefix: Vec<String>) {
        prefix.push(name.to_string());
        self.note(&prefix);
    }
}

impl<'ast> Visit<'ast> for Uses<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&item.tree, Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.note(&path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>());
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let text = item.tokens.to_string().replace(' ', "");
        for (index, _) in text.match_indices("crate::") {
            let room = text[index + 7..].split(|c: char| !c.is_alphanumeric() && c != '_').next();
            self.rooms.extend(room.map(str::to_owned));
        }
        syn::visit::visit_macro(self, item);
    }
}

/// What `source`, a file of `module`, does against the rules.
fn offences(module: &[String], source: &str) -> Vec<String> {
    let room = module[0].as_str();
    let file = syn::parse_file(source).expect("the library parses");
    let mut uses = Uses { module, rooms: Vec::new() };
    uses.visit_file(&file);
    let lifted = BTreeMap::from(LIFTED);
    let name = |room: &String| lifted.get(room.as_str()).map_or_else(|| room.clone(), |&room| room.to_owned());
    uses.rooms.iter().map(name).filter(|used| !allowed(room, used)).map(|used| format!("{room} uses {used}")).collect()
}

fn allowed(room: &str, used: &str) -> bool {
    match used {
        _ if used == room => true,
        "p2pdma_sys" => room == "control",
        _ => matches!((floor(room), floor(used)), (Some(above), Some(below)) if below < above),
    }
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("src/bin") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn module_of(root: &Path, file: &Path) -> Vec<String> {
    let relative = file.strip_prefix(root).expect("a file below src").with_extension("");
    let parts = relative.iter().map(|part| part.to_string_lossy().into_owned());
    parts.filter(|part| part != "mod" && part != "lib").collect()
}

#[test]
fn every_room_uses_only_floors_below() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "found only {} files", files.len());
    let offences: Vec<String> = files
        .iter()
        .map(|file| (module_of(&root, file), fs::read_to_string(file).expect("a source file")))
        .filter(|(module, _)| !module.is_empty())
        .flat_map(|(module, source)| offences(&module, &source))
        .collect();
    assert_eq!(offences, Vec::<String>::new());
}

#[test]
fn every_room_stands_on_a_floor() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(root).expect("src") {
        let name = entry.expect("an entry").path().file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(name == "lib" || name == "bin" || floor(&name).is_some(), "`{name}` stands on no floor");
    }
}

#[test]
fn a_step_up_or_aside_is_found_wherever_it_hides() {
    let found = |room: &str, source: &str| !offences(&[room.into(), "file".into()], source).is_empty();
    assert!(found("memory", "use crate::transfer::Queue;"));
    assert!(found("memory", "use crate::{pci, topology::Route};"), "the same floor");
    assert!(found("machine", "fn f() { crate::memory::g(); }"));
    assert!(found("machine", "fn f() { println!(\"{}\", crate::verdict::X); }"));
    assert!(found("machine", "use super::super::memory::X;"));
    assert!(found("memory", "use p2pdma_sys::DRIVER;"));
    assert!(!found("memory", "use crate::{Error, machine::Facts}; use super::View; use self::x::Y;"));
    assert!(!found("control", "use p2pdma_sys::DRIVER;"));
}
