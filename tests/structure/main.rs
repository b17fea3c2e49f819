//! The structure of the source: its modules import each other without circles, and only in the directions that are allowed.
//!
//! The source is read as text. Comments, literals and test code are dropped; then every `use` and every path in an expression or a
//! type is resolved to the file that defines its item, through re-exports and imported modules. So a `mod.rs` may declare
//! and re-export its children, and a child may import what its parent defines, as long as the parent uses nothing of the child.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and read files")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

use source::{Module, Source};

mod source;

/// Imports that no file may contain: from the first module to the second. `a::*` is a module with everything in it, `a` its own
/// file alone.
const FORBIDDEN: &[(&str, &str)] = &[
    ("driver::*", "sim::*"),
    // Components know neither the node, nor each other, nor the line protocol, which is for clients alone.
    ("link::*", "node::*"),
    ("link::*", "gossip::*"),
    ("link::*", "history::*"),
    ("link::*", "rooms::*"),
    ("link::*", "clients::*"),
    ("link::*", "call::*"),
    ("link::*", "api::*"),
    ("gossip::*", "node::*"),
    ("gossip::*", "link::*"),
    ("gossip::*", "history::*"),
    ("gossip::*", "rooms::*"),
    ("gossip::*", "clients::*"),
    ("gossip::*", "call::*"),
    ("gossip::*", "api::*"),
    ("history::*", "node::*"),
    ("history::*", "link::*"),
    ("history::*", "gossip::*"),
    ("history::*", "rooms::*"),
    ("history::*", "clients::*"),
    ("history::*", "call::*"),
    ("history::*", "api::*"),
    ("rooms::*", "node::*"),
    ("rooms::*", "link::*"),
    ("rooms::*", "gossip::*"),
    ("rooms::*", "history::*"),
    ("rooms::*", "clients::*"),
    ("rooms::*", "call::*"),
    ("rooms::*", "api::*"),
    ("clients::*", "node::*"),
    ("clients::*", "link::*"),
    ("clients::*", "gossip::*"),
    ("clients::*", "history::*"),
    ("clients::*", "rooms::*"),
    ("clients::*", "call::*"),
    ("call::*", "node::*"),
    ("call::*", "link::*"),
    ("call::*", "gossip::*"),
    ("call::*", "history::*"),
    ("call::*", "rooms::*"),
    ("call::*", "clients::*"),
    ("call::*", "api::*"),
    ("presence::*", "node::*"),
    ("presence::*", "link::*"),
    ("presence::*", "gossip::*"),
    ("presence::*", "history::*"),
    ("presence::*", "rooms::*"),
    ("presence::*", "clients::*"),
    ("presence::*", "call::*"),
    ("presence::*", "api::*"),
    ("base::*", "api::*"),
    ("wire::*", "api::*"),
];

/// Imports that are let through although they break a rule, as above. An entry that is no longer needed fails the test.
const EXCEPTIONS: &[(&str, &str)] = &[
    // The loop spawns its tasks, and each of them holds the loop.
    ("driver::*", "driver"),
    // The network's methods stand in several files, with some of its fields' types.
    ("sim::*", "sim"),
];

/// The only module with inherent methods of `Node`.
const HOME_OF_NODE: &str = "node::*";

#[test]
fn modules_import_each_other_in_one_direction() {
    let mut files = BTreeMap::new();
    read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").as_path(), "", &mut files);
    assert!(files.len() > 50, "{} files are not the whole source", files.len());
    let source = Source::parse(&files);
    let found = problems(&source, EXCEPTIONS);
    let mut unneeded = Vec::new();
    for (n, (from, to)) in EXCEPTIONS.iter().enumerate() {
        let others: Vec<_> = EXCEPTIONS.iter().enumerate().filter(|(i, _)| *i != n).map(|(_, it)| *it).collect();
        if problems(&source, &others) == found {
            unneeded.push(format!("the exception {from} → {to} is no longer needed: remove it"));
        }
    }
    let all = [found, unneeded].concat();
    assert!(all.is_empty(), "\n{}\n", all.join("\n"));
}

/// Reads the files below a folder, each by its path within `src`.
fn read(folder: &Path, prefix: &str, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            read(&entry.path(), &format!("{name}/"), files);
        } else if name.ends_with(".rs") && name != "main.rs" {
            files.insert(name, fs::read_to_string(entry.path()).unwrap());
        }
    }
}

/// For each name those that it imports, with one path as evidence.
type Graph = BTreeMap<String, BTreeMap<String, String>>;

/// Everything that breaks a rule, but for the exceptions.
fn problems(source: &Source, exceptions: &[(&str, &str)]) -> Vec<String> {
    let (mut tops, mut files) = (Graph::new(), Graph::new());
    let mut problems = Vec::new();
    let file = |module: &Module| source.modules.get(module).cloned().unwrap_or_default();
    for (module, target, path) in source.imports() {
        let is_one_of = |rules: &[(&str, &str)]| rules.iter().any(|it| is_in(module, it.0) && is_in(&target, it.1));
        if is_one_of(exceptions) {
            continue;
        }
        let (from, to) = (file(module), file(&target));
        if is_one_of(FORBIDDEN) {
            problems.push(format!("a forbidden import: {from} imports {to} ({path})"));
        }
        let top = |module: &Module| module.first().cloned().unwrap_or_default();
        for (graph, from, to) in [(&mut tops, top(module), top(&target)), (&mut files, from, to)] {
            if from != to {
                graph.entry(from).or_default().entry(to).or_insert_with(|| path.clone());
            }
        }
    }
    problems.extend(circles(&tops).iter().map(|circle| format!("a circle of modules:{circle}")));
    problems.extend(circles(&files).iter().map(|circle| format!("a circle of files:{circle}")));
    let strays = source.homes.iter().filter(|module| !is_in(module, HOME_OF_NODE) && !source.is_test(module));
    problems.extend(strays.map(|module| format!("`impl Node` outside {HOME_OF_NODE}: {}", file(module))));
    problems
}

/// A shortest circle through each name that is in one, none of them twice.
fn circles(graph: &Graph) -> Vec<String> {
    let (mut found, mut told) = (Vec::new(), BTreeSet::new());
    for start in graph.keys() {
        let mut came_from: BTreeMap<&String, &String> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            for to in graph.get(at).into_iter().flat_map(BTreeMap::keys) {
                if !came_from.contains_key(to) {
                    came_from.insert(to, at);
                    queue.push_back(to);
                }
            }
        }
        let mut way = vec![start];
        while let Some(before) = came_from.get(way[way.len() - 1]).filter(|_| came_from.contains_key(start)) {
            way.push(before);
            if *before == start {
                break;
            }
        }
        way.reverse();
        if way.len() > 1 && !way.iter().any(|it| told.contains(it)) {
            let steps = way.windows(2).map(|it| format!("\n    {} imports {} ({})", it[0], it[1], graph[it[0]][it[1]]));
            found.push(steps.collect());
            told.extend(way);
        }
    }
    found
}

/// Whether a module is the one of a pattern: `a::b`, or with everything in it, `a::b::*`.
fn is_in(module: &Module, pattern: &str) -> bool {
    let (name, with_children) = pattern.strip_suffix("::*").map_or((pattern, false), |name| (name, true));
    let mut parts = module.iter();
    name.split("::").all(|part| parts.next().is_some_and(|it| it == part)) && (with_children || parts.next().is_none())
}

fn problems_of(files: &[(&str, &str)]) -> String {
    let files = files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    problems(&Source::parse(&files), &[]).join("\n")
}

#[test]
fn circles_are_found_through_imported_modules_and_re_exports() {
    let lib = ("lib.rs", "pub mod a; pub mod b;");
    let found =
        problems_of(&[lib, ("a.rs", "use crate::b; fn f(_: b::B) {}"), ("b.rs", "pub struct B; use super::a::f;")]);
    assert!(found.contains("a.rs imports b.rs (b::B)") && found.contains("b.rs imports a.rs (super::a::f)"), "{found}");
    let parts = ("a/mod.rs", "mod x; mod y; pub use x::X; pub struct A;");
    let (x, y) = (("a/x.rs", "use super::y::{Y as Z}; pub struct X;"), ("a/y.rs", "use super::X; pub struct Y;"));
    let found = problems_of(&[lib, ("b.rs", ""), parts, x, y]);
    assert!(found.contains("a/x.rs imports a/y.rs") && !found.contains("mod.rs"), "{found}");
}

#[test]
fn what_is_no_import_is_left_out() {
    let a = r##"
        //! See [`crate::b::B`].
        mod x; pub use x::{X, f};
        const TEXT: (&str, char, &str) = ("crate::b::B \" ", '"', r#"crate::b::" B"#);
        fn g<'a>(_: &'a str) {}
        #[cfg(test)]
        use crate::b::B;
        #[cfg(test)]
        mod tests { use crate::b::B; }
    "##;
    let files =
        [("lib.rs", ""), ("a/mod.rs", a), ("a/x.rs", "use super::g;"), ("b.rs", "use crate::a::X; use crate::a::g;")];
    assert_eq!(problems_of(&files), "");
}

#[test]
fn forbidden_imports_and_stray_methods_are_found() {
    let found = problems_of(&[("lib.rs", ""), ("sim.rs", ""), ("driver/x.rs", "fn f() { crate::sim::g(); }")]);
    assert!(found.contains("driver/x.rs imports sim.rs (crate::sim::g)"), "{found}");
    let found = problems_of(&[("lib.rs", ""), ("link.rs", "impl Node { fn f() {} }"), ("node/x.rs", "impl Node {}")]);
    assert!(found.contains("link.rs") && !found.contains("node/x.rs"), "{found}");
}
