//! Which file imports from which, read off paths in the code, and the circles among them.

use std::collections::{BTreeMap, BTreeSet};

/// A path of segments from the root of the crate.
type Route = Vec<String>;

/// Through so many files a name is followed at most.
const HOPS: usize = 8;

/// What one file says of others.
struct Module {
    /// Paths that its code names, from the root of the crate.
    named: Vec<Route>,
    /// What it hands on under its own name: name and where it comes from.
    handed_on: BTreeMap<String, Route>,
}

/// The files of each circle, by the code of every file below `src`.
pub(crate) fn circles(sources: &[(String, String)]) -> Vec<Vec<String>> {
    let modules: BTreeMap<Route, Module> = sources
        .iter()
        .filter(|(file, _)| file != "lib.rs" && file != "main.rs")
        .map(|(file, code)| (route(file), read(&route(file), code)))
        .collect();
    let arrows: BTreeMap<&Route, BTreeSet<Route>> = modules
        .iter()
        .map(|(own, module)| {
            let targets = module.named.iter().filter_map(|named| home(&modules, named, HOPS));
            // A `mod.rs` is the front of its folder: it gathers what the files below it hold.
            (own, targets.filter(|target| !target.starts_with(own)).collect())
        })
        .collect();
    let reached = |from: &Route| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(next) = open.pop() {
            for target in arrows.get(&next).into_iter().flatten() {
                if seen.insert(target.clone()) {
                    open.push(target.clone());
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&Route, BTreeSet<Route>> = modules.keys().map(|own| (own, reached(own))).collect();
    let mut found = BTreeSet::new();
    for (own, all) in &reach {
        let circle: Vec<String> = all
            .iter()
            .filter(|other| reach[other].contains(*own) && all.contains(*own))
            .map(|other| other.join("/"))
            .collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

/// `checkpoint/adapter/mod.rs` is `checkpoint::adapter`.
fn route(file: &str) -> Route {
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    stem.strip_suffix("/mod").unwrap_or(stem).split('/').map(str::to_owned).collect()
}

fn read(own: &Route, code: &str) -> Module {
    let (mut module, mut local) = (Module { named: vec![], handed_on: BTreeMap::new() }, BTreeMap::new());
    for (public, tree) in uses(code) {
        for (name, path) in leaves(&tree) {
            let path = absolute(own, &path);
            if public {
                module.handed_on.insert(name, path);
            } else {
                module.named.push(path.clone());
                local.insert(name, path);
            }
        }
    }
    for path in paths(code) {
        let whole = match (path[0].as_str(), local.get(&path[0]).or(module.handed_on.get(&path[0]))) {
            ("crate" | "super" | "self", _) => absolute(own, &path),
            (_, Some(known)) => known.iter().chain(&path[1..]).cloned().collect(),
            // A module of its own, if there is one.
            _ => own.iter().chain(&path).cloned().collect(),
        };
        module.named.push(whole);
    }
    module
}

/// The trees of all `use` statements, and whether they hand on what they name.
fn uses(code: &str) -> Vec<(bool, String)> {
    let starts = code.match_indices("use ").filter(|(at, _)| {
        let line = code[..*at].rsplit('\n').next().unwrap_or("").trim();
        line.is_empty() || line.starts_with("pub")
    });
    let tree = |at: usize| code[at + 4..].split(';').next().unwrap_or("").to_owned();
    let public = |at: usize| code[..at].rsplit('\n').next().unwrap_or("").trim().starts_with("pub");
    starts.map(|(at, _)| (public(at), tree(at))).collect()
}

/// Name and path of all that a tree imports: `a::{b, c as d}` is `b` at `a::b` and `d` at `a::c`.
fn leaves(tree: &str) -> Vec<(String, Route)> {
    let tree = tree.trim();
    let Some((before, inside)) = tree.split_once('{') else {
        let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias)));
        let path: Route = path.split("::").map(|part| part.trim().to_owned()).collect();
        let last = path.last().cloned().unwrap_or_default();
        return vec![(alias.map_or(last, |alias| alias.trim().to_owned()), path)];
    };
    let before: Route =
        before.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect();
    let inside = inside.rsplit_once('}').map_or(inside, |(inside, _)| inside);
    let (mut depth, mut start, mut parts) = (0, 0, vec![]);
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inside[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inside[start..]);
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty()).flat_map(leaves);
    parts
        .map(|(name, path)| match path.as_slice() {
            [own] if own == "self" => (before.last().cloned().unwrap_or_default(), before.clone()),
            _ => (name, before.iter().chain(&path).cloned().collect()),
        })
        .collect()
}

/// Paths of two segments and more outside `use` statements.
fn paths(code: &str) -> Vec<Route> {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = code.split(|c: char| !word(c)).filter(|text| text.contains("::") && !text.starts_with("::"));
    words.map(|text| text.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()).collect()
}

/// A path of the module `own` from the root of the crate; `home` finds out if it is another package's.
fn absolute(own: &Route, path: &[String]) -> Route {
    let mut from = own.clone();
    let mut rest = path;
    match rest.first().map(String::as_str) {
        Some("crate") => {
            from.clear();
            rest = &rest[1..];
        }
        Some("super" | "self") => {
            while let Some("super" | "self") = rest.first().map(String::as_str) {
                if rest[0] == "super" {
                    from.pop();
                }
                rest = &rest[1..];
            }
        }
        // A child of the module, or another package; `home` finds out.
        _ => {}
    }
    from.extend(rest.iter().cloned());
    from
}

/// The file that holds what a path names, through what others hand on; none of what is no file of the crate.
fn home(modules: &BTreeMap<Route, Module>, path: &Route, hops: usize) -> Option<Route> {
    let mut at = Route::new();
    for (i, part) in path.iter().enumerate() {
        let mut below = at.clone();
        below.push(part.clone());
        if modules.contains_key(&below) {
            at = below;
            continue;
        }
        let handed_on = modules.get(&at).and_then(|module| module.handed_on.get(part));
        if let Some(further) = handed_on {
            let whole: Route = further.iter().chain(&path[i + 1..]).cloned().collect();
            return if hops == 0 { Some(at) } else { home(modules, &whole, hops - 1) };
        }
        break;
    }
    modules.contains_key(&at).then_some(at)
}
