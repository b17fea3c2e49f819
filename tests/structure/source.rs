//! The imports that stand in a source, and the files that they lead to.

use std::collections::{BTreeMap, BTreeSet};

/// The path of a module, from the root of the crate, which is empty.
pub type Module = Vec<String>;

/// A path that stands in a module.
struct Mention {
    module: Module,
    path: Vec<String>,
    /// All that the path holds is imported.
    is_glob: bool,
    /// It is only named here for others to import.
    is_re_export: bool,
}

/// Everything that is known of a source.
#[derive(Default)]
pub struct Source {
    /// The file of each module, inline modules included.
    pub modules: BTreeMap<Module, String>,
    /// The names that each module imports.
    imported: BTreeMap<Module, BTreeMap<String, Vec<String>>>,
    mentions: Vec<Mention>,
    /// Modules that are compiled for tests alone.
    tests: BTreeSet<Module>,
    /// The modules with `impl Node`.
    pub homes: BTreeSet<Module>,
}

impl Source {
    pub fn parse(files: &BTreeMap<String, String>) -> Self {
        let mut source = Self::default();
        for (file, text) in files {
            let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
            let module: Module = path.split('/').filter(|part| *part != "lib").map(str::to_owned).collect();
            if module.iter().any(|part| part == "tests" || part == "testing") {
                source.tests.insert(module.clone());
            }
            source.modules.insert(module.clone(), file.clone());
            source.parse_file(file, module, &tokens(text));
        }
        source
    }

    fn parse_file(&mut self, file: &str, module: Module, tokens: &[String]) {
        let at = |i: usize| tokens.get(i).map_or("", String::as_str);
        let mut module = module;
        let mut depth = 0_usize;
        let mut inline = Vec::new();
        let mut i = 0;
        while i < tokens.len() {
            match at(i) {
                "#" if is_for_tests(tokens.get(i..).unwrap_or_default()) => {
                    let end = i + item_length(tokens.get(i..).unwrap_or_default());
                    if let Some(named) = (i..end).find(|j| at(*j) == "mod" && at(j + 2) == ";") {
                        self.tests.insert(child(&module, at(named + 1)));
                    }
                    i = end;
                    continue;
                }
                "mod" if at(i + 2) == "{" => {
                    module.push(at(i + 1).to_owned());
                    inline.push(depth);
                    self.modules.insert(module.clone(), file.to_owned());
                    i += 1;
                }
                "{" => depth += 1,
                "}" => {
                    depth = depth.saturating_sub(1);
                    if inline.pop_if(|opened| *opened == depth).is_some() {
                        module.pop();
                    }
                }
                "use" if at(i + 1) != "<" => {
                    let is_public = i > 0 && matches!(at(i - 1), "pub" | ")");
                    let first = self.mentions.len();
                    i += 1;
                    self.parse_use(&module, tokens, &mut i, &[]);
                    for it in self.mentions.iter_mut().skip(first) {
                        let is_used =
                            || it.path.last().is_some_and(|name| tokens.iter().filter(|it| *it == name).count() > 1);
                        it.is_re_export = is_public && (it.is_glob || !is_used());
                    }
                }
                "impl" => {
                    let mut j = i + 1;
                    if at(j) == "<" {
                        j += 1 + tokens.iter().skip(j).position(|it| it == ">").unwrap_or_default();
                    }
                    if at(j) == "Node" && at(j + 1) != "::" && at(j + 1) != "for" {
                        self.homes.insert(module.clone());
                    }
                }
                word if is_name(word) && at(i + 1) == "::" => {
                    let mut path = vec![word.to_owned()];
                    while at(i + 1) == "::" && is_name(at(i + 2)) {
                        path.push(at(i + 2).to_owned());
                        i += 2;
                    }
                    self.mentions.push(Mention { module: module.clone(), path, is_glob: false, is_re_export: false });
                    // What follows `::<` begins anew.
                    i += usize::from(at(i + 1) == "::");
                }
                _ => {}
            }
            i += 1;
        }
    }

    /// Reads a tree of imports, up to the `;`, `,` or `}` behind it.
    fn parse_use(&mut self, module: &Module, tokens: &[String], i: &mut usize, prefix: &[String]) {
        let at = |i: usize| tokens.get(i).map_or("", String::as_str);
        let mut path = prefix.to_vec();
        loop {
            match at(*i) {
                "::" => *i += 1,
                "{" => {
                    *i += 1;
                    while !matches!(at(*i), "}" | "") {
                        self.parse_use(module, tokens, i, &path);
                        *i += usize::from(at(*i) == ",");
                    }
                    *i += 1;
                    return;
                }
                "*" => {
                    *i += 1;
                    self.mentions.push(Mention { module: module.clone(), path, is_glob: true, is_re_export: false });
                    return;
                }
                word if is_name(word) && word != "as" => {
                    if word != "self" || path.is_empty() {
                        path.push(word.to_owned());
                    }
                    *i += 1;
                }
                _ => break,
            }
        }
        let mut name = path.last().cloned().unwrap_or_default();
        if at(*i) == "as" {
            name = at(*i + 1).to_owned();
            *i += 2;
        }
        self.imported.entry(module.clone()).or_default().insert(name, path.clone());
        self.mentions.push(Mention { module: module.clone(), path, is_glob: false, is_re_export: false });
    }

    /// The module in which an item is defined, and whether the path names that module itself. `None`: another crate's.
    fn resolve(&self, module: &Module, path: &[String], steps: usize) -> Option<(Module, bool)> {
        let mut current = module.clone();
        let is_module = |path: &Module| self.modules.contains_key(path);
        for (i, part) in path.iter().enumerate() {
            match part.as_str() {
                "crate" => current.clear(),
                "self" => {}
                "super" => drop(current.pop()),
                _ if is_module(&child(&current, part)) => current.push(part.clone()),
                _ => {
                    return match self.imported.get(&current).and_then(|names| names.get(part)) {
                        Some(target) if target != path || current != *module => {
                            let rest = path.get(i + 1..).unwrap_or_default();
                            self.resolve(&current, &[target, rest].concat(), steps.checked_sub(1)?)
                        }
                        _ if i == 0 => None,
                        _ => Some((current, false)),
                    };
                }
            }
        }
        Some((current, true))
    }

    /// All imports of the program itself: the importing module, the one that defines the item, and the path.
    pub fn imports(&self) -> Vec<(&Module, Module, String)> {
        let program = self.mentions.iter().filter(|it| !it.is_re_export && !self.is_test(&it.module));
        let resolved = program.filter_map(|it| {
            let (target, names_module) = self.resolve(&it.module, &it.path, 16)?;
            // A module that is imported is a name to begin other paths with, and they count.
            (it.is_glob || !names_module).then(|| (&it.module, target, it.path.join("::")))
        });
        resolved.collect()
    }

    /// Whether a module is compiled for tests alone.
    pub fn is_test(&self, module: &Module) -> bool {
        (0..=module.len()).any(|n| module.get(..n).is_some_and(|part| self.tests.contains(part)))
    }
}

fn child(module: &Module, name: &str) -> Module {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Whether tokens begin with `#[cfg(test)]`, `#[cfg(all(test, …))]` or `#[cfg(any(test, …))]`.
fn is_for_tests(tokens: &[String]) -> bool {
    let start: Vec<&str> = tokens.iter().take(7).map(String::as_str).collect();
    matches!(start[..], ["#", "[", "cfg", "(", "test", ..] | ["#", "[", "cfg", "(", "all" | "any", "(", "test"])
}

/// How many tokens an item with its attributes has: up to its `;`, the end of its block, or the end of what it stands in.
fn item_length(tokens: &[String]) -> usize {
    let mut depth = 0;
    for (n, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            "}" if depth == 0 => return n,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(token.as_str(), ";" | "}") {
            return n + 1;
        }
    }
    tokens.len()
}

/// The names and signs of a source, without comments, literals and lifetimes.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let raw = rest
            .trim_start_matches(['b', 'c'])
            .strip_prefix('r')
            .filter(|it| it.trim_start_matches('#').starts_with('"'));
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(raw) = raw.filter(|raw| rest.len() - raw.len() <= 2) {
            let hashes = raw.len() - raw.trim_start_matches('#').len();
            let end = format!("\"{}", "#".repeat(hashes));
            let body = raw.get(hashes + 1..).unwrap_or_default();
            rest.len() - body.len() + body.find(&end).map_or(body.len(), |at| at + end.len())
        } else if c == '"' || (c == '\'' && is_character(rest)) {
            let mut escaped = false;
            let end = rest.char_indices().skip(1).find(|(_, it)| {
                let ends = *it == c && !escaped;
                escaped = *it == '\\' && !escaped;
                ends
            });
            end.map_or(rest.len(), |(at, _)| at + 1)
        } else if word > 0 {
            tokens.push(rest[..word].to_owned());
            word
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !c.is_whitespace() {
                tokens.push(c.to_string());
            }
            c.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// Whether a `'` begins a character, and no lifetime.
fn is_character(text: &str) -> bool {
    let mut rest = text.chars().skip(1);
    rest.next() == Some('\\') || rest.next() == Some('\'')
}
