//! Rules on single files: size, place, and what code must not contain.

use super::Finding;
use super::tree::{File, Tree};

/// Above this a file probably holds more than one idea.
const MANY_LINES: usize = 400;

/// Crates that run on a node, where a panic takes redirection down.
const NO_PANIC: &[&str] = &["agent/src/", "common/src/", "hbone/src/"];

/// How far above an `unsafe` block its reason may stand, over attributes and a broken line.
const REASON_WITHIN: usize = 8;

/// Written in two parts, so that these lines are no findings themselves.
const UNSAFE: [&str; 2] = [concat!("unsafe", " {"), concat!("unsafe", " impl ")];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .flat_map(|file| {
            let mut findings = place_and_size(file);
            findings.extend(panics(file));
            findings.extend(unsafe_without_reason(file));
            findings
        })
        .collect()
}

fn place_and_size(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    if file.path.ends_with("/mod.rs") {
        findings.push(Finding::error(
            &file.path,
            "`foo.rs` beside `foo/`, no mod.rs",
        ));
    }
    let lines = file.lines();
    if lines > MANY_LINES {
        findings.push(Finding::warning(
            &file.path,
            format!("{lines} lines; one idea a file, under 250"),
        ));
    }
    findings
}

fn panics(file: &File) -> Vec<Finding> {
    if !NO_PANIC.iter().any(|prefix| file.path.starts_with(prefix)) {
        return Vec::new();
    }
    file.code()
        .flat_map(|(number, line)| {
            [".unwrap()", "todo!(", "unimplemented!(", "dbg!("]
                .into_iter()
                .filter(|word| line.contains(word))
                .map(move |word| (number, word))
        })
        .map(|(number, word)| {
            Finding::error(at(file, number), format!("`{word}` in code that ships"))
        })
        .collect()
}

fn unsafe_without_reason(file: &File) -> Vec<Finding> {
    let lines: Vec<&str> = file.text.lines().collect();
    lines
        .iter()
        .enumerate()
        .filter(|(_, line)| {
            let code = line.split_once("//").map_or(**line, |(code, _)| code);
            UNSAFE.iter().any(|word| code.contains(word))
        })
        .filter(|(index, _)| {
            !lines
                .iter()
                .take(index + 1)
                .skip(index.saturating_sub(REASON_WITHIN))
                .any(|line| line.contains("SAFETY:"))
        })
        .map(|(index, _)| Finding::error(at(file, index + 1), "`unsafe` without a SAFETY sentence"))
        .collect()
}

fn at(file: &File, line: usize) -> String {
    format!("{}:{line}", file.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        check(&Tree { files: vec![file] })
            .into_iter()
            .map(|finding| finding.at)
            .collect()
    }

    #[test]
    fn a_panic_in_code_that_ships_is_found() {
        let text = "fn a() { b.unwrap() } // c.unwrap()\n// d.unwrap()\n\
                    #[cfg(test)]\nmod tests { fn e() { f.unwrap() } }\n";
        assert_eq!(findings("agent/src/a.rs", text), ["agent/src/a.rs:1"]);
        assert!(findings("xtask/src/a.rs", text).is_empty());
        assert!(findings("agent/src/a/tests.rs", text).is_empty());
    }

    #[test]
    fn unsafe_needs_its_reason_near() {
        let block = format!("let a = {} b() }};\n", UNSAFE[0]);
        let with = format!("// SAFETY: it is.\n{block}");
        assert!(findings("ebpf/src/a.rs", &with).is_empty());
        let far = format!("// SAFETY: it was.\n{}{block}", "\n".repeat(9));
        assert_eq!(findings("ebpf/src/a.rs", &far), ["ebpf/src/a.rs:11"]);
    }

    #[test]
    fn mod_rs_is_an_error() {
        assert_eq!(findings("agent/src/a/mod.rs", ""), ["agent/src/a/mod.rs"]);
    }
}
