//! Which room may import which, held against the sources: floors, and verbs beside each other.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The verbs' files and those below them, each with the way from it to the verbs.
fn files(of: &str, folder: &Path) -> Vec<(PathBuf, &'static str)> {
    let mut files = vec![(folder.join(format!("{of}.rs")), "super::")];
    for inner in fs::read_dir(folder.join(of)).into_iter().flatten() {
        files.push((inner.expect("readable").path(), "super::super::"));
    }
    files
}

/// What stands before the brace that closes a list.
fn until_closed(list: &str) -> &str {
    let mut depth = 1;
    let end = list.find(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        depth == 0
    });
    &list[..end.unwrap_or(list.len())]
}

/// The parts of a list, of which each may have a list of its own.
fn parts_of(list: &str) -> Vec<&str> {
    let mut depth = 0;
    list.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    })
    .collect()
}

/// The first names after `way` in a source: of paths, and of lists in braces.
fn named(source: &str, way: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in source.match_indices(way) {
        let is_longer = source[..at].ends_with("super::");
        let rest = &source[at + way.len()..];
        let list = rest.strip_prefix('{').map(until_closed);
        let parts: Vec<&str> = match list {
            Some(list) => parts_of(list),
            None => vec![rest],
        };
        let name = |part: &str| {
            let part = part.trim_start();
            let end = part.find(|c: char| !c.is_alphanumeric() && c != '_');
            part[..end.unwrap_or(part.len())].to_owned()
        };
        if !is_longer {
            names.extend(parts.into_iter().map(name));
        }
    }
    names
}

#[test]
fn no_verb_imports_another() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cmd");
    let dispatch = fs::read_to_string(folder.join("mod.rs")).expect("readable");
    let start = dispatch.find("pub fn dispatch").expect("the dispatch");
    let end = dispatch[start..].find("\n}\n").expect("its end");
    let calls = dispatch[start..start + end].match_indices("::");
    let mut verbs: Vec<&str> = calls
        .filter_map(|(at, _)| {
            let before = &dispatch[start..start + at];
            let begins = before.rfind(|c: char| !c.is_alphanumeric() && c != '_')?;
            let name = &before[begins + 1..];
            folder.join(format!("{name}.rs")).exists().then_some(name)
        })
        .filter(|name| *name != "latest")
        .collect();
    verbs.sort_unstable();
    verbs.dedup();
    assert!(verbs.len() > 20, "{verbs:?}");
    for verb in &verbs {
        for (file, way) in files(verb, &folder) {
            let source = fs::read_to_string(&file).expect("readable");
            let names = named(&source, way).into_iter();
            for name in names.chain(named(&source, "crate::cmd::")) {
                let is_other = name != **verb && verbs.contains(&name.as_str());
                assert!(!is_other, "{} imports {name}", file.display());
            }
        }
    }
}

#[test]
fn names_are_found_in_paths_and_lists() {
    let source =
        "use super::{DONE, ab::{self, x},\n    run};\nsuper::gate::x();\nuse super::super::y;";
    let mut found = named(source, "super::");
    found.sort_unstable();
    assert_eq!(found, ["DONE", "ab", "gate", "run", "super"]);
}

/// The rooms from the top floor down, as the crate's doc lists them.
fn floors() -> Vec<String> {
    let doc = include_str!("lib.rs");
    let start = doc.find("order of floors: ").expect("the list");
    let end = doc[start..].find(". `stats` knows").expect("its end");
    let names = doc[start..start + end].split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

/// A source up to the module of its tests, which is its last where it has a body.
fn without_tests(source: &str) -> &str {
    let modules = source.match_indices("#[cfg(test)]\nmod ");
    let mut bodies = modules.filter(|(at, _)| {
        let line = source[at + "#[cfg(test)]\n".len()..].lines().next();
        line.is_some_and(|line| line.ends_with('{'))
    });
    let end = bodies.next().map_or(source.len(), |(at, _)| at);
    &source[..end]
}

/// Every source below a folder but tests and their fixtures, without comments and tests of its own.
fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if name.contains("fixture") || name.contains("tests") {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let source = fs::read_to_string(&path).expect("readable");
            let code = without_tests(&source)
                .lines()
                .filter(|l| !l.trim_start().starts_with("//"));
            found.push((path, code.collect::<Vec<_>>().join("\n")));
        }
    }
}

#[test]
fn imports_go_down_only() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let floors = floors();
    let mut found = Vec::new();
    sources(&folder, &mut found);
    let mut seen = HashSet::new();
    for (path, source) in found {
        let inner = path.strip_prefix(&folder).expect("below");
        let room = inner.components().next().expect("a name");
        let room = room.as_os_str().to_string_lossy();
        let room = room.trim_end_matches(".rs");
        if ["lib", "main", "house"].contains(&room) {
            continue;
        }
        let floor = |room: &str| floors.iter().position(|name| name == room);
        let own = floor(room);
        assert!(own.is_some(), "{room} is not in the crate's list of floors");
        seen.insert(room.to_owned());
        for name in named(&source, "crate::") {
            let other = floor(&name);
            let is_up = other.is_some_and(|other| Some(other) < own);
            assert!(!is_up, "{} imports {name}", inner.display());
        }
    }
    assert_eq!(seen.len(), floors.len(), "rooms that are listed and gone");
}

/// The names of the types that a source declares at its top level.
fn declared(source: &str) -> impl Iterator<Item = &str> {
    let names = source.lines().filter_map(|line| {
        let line = match line.strip_prefix("pub") {
            Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
            Some(rest) => rest.trim_start(),
            None => line,
        };
        let kinds = ["struct ", "enum ", "trait ", "type "];
        let name = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
        let end = name.find(|c: char| !c.is_alphanumeric() && c != '_');
        name.get(..end.unwrap_or(name.len()))
    });
    names.filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()))
}

#[test]
fn no_name_of_a_type_stands_for_two_things() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&folder, &mut found);
    let mut places: HashMap<&str, &Path> = HashMap::new();
    for (path, source) in &found {
        for name in declared(source) {
            let other = places.insert(name, path);
            let other = other.filter(|other| *other != path.as_path());
            assert!(other.is_none(), "{name}: {} and {other:?}", path.display());
        }
    }
    assert!(places.len() > 500, "{}", places.len());
}
