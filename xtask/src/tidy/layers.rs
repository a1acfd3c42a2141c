//! Layering: what each module may not import, read from `use crate::` lines and paths.

use super::Finding;
use super::tree::{File, Tree};

struct Layer {
    /// The module's files: `PATH.rs` and what is under `PATH/`.
    path: &'static str,
    /// Modules of its crate that it must not know, because data flows from it to them, or because
    /// they do I/O and it does not.
    modules: &'static [&'static str],
    /// Paths outside of the crate that it must not use.
    outside: &'static [&'static str],
}

/// What a pure module has no business with. Addresses (`std::net::IpAddr`) are values.
const IMPURE: &[&str] = &[
    "aya::",
    "tokio::",
    "rand::",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
    "SystemTime::now",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os::unix::net",
    "rtnetlink::",
    "nix::",
];

/// Whatever stands above the flow: it sees the layers, they do not see it.
const ABOVE: [&str; 9] = [
    "app",
    "ask",
    "cli",
    "admin",
    "metrics",
    "reconcile",
    "enrol",
    "show",
    "zds",
];

const LAYERS: &[Layer] = &[
    // source → model → authorize → compile → kernel. A source makes values of the model and nothing else.
    Layer {
        path: "agent/src/source",
        modules: &["authorize", "compile", "kernel"],
        outside: &["aya::"],
    },
    Layer {
        path: "agent/src/model",
        modules: &["source", "authorize", "compile", "kernel", "config"],
        outside: IMPURE,
    },
    Layer {
        path: "agent/src/authorize",
        modules: &["source", "compile", "kernel", "config"],
        outside: IMPURE,
    },
    Layer {
        path: "agent/src/compile",
        modules: &["source", "kernel", "config"],
        outside: IMPURE,
    },
    Layer {
        path: "agent/src/kernel",
        modules: &["source"],
        outside: &[],
    },
    // load → classify → report → steer, the programs above them.
    Layer {
        path: "ebpf/src/load",
        modules: &["lookup", "report", "steer", "programs"],
        outside: &[],
    },
    Layer {
        path: "ebpf/src/lookup",
        modules: &["report", "steer", "programs"],
        outside: &[],
    },
    Layer {
        path: "ebpf/src/report",
        modules: &["steer", "programs"],
        outside: &[],
    },
    Layer {
        path: "ebpf/src/steer",
        modules: &["programs"],
        outside: &[],
    },
    Layer {
        path: "common/src",
        modules: &[],
        outside: &["aya::", "aya_ebpf::", "std::", "tokio::"],
    },
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .flat_map(|file| {
            LAYERS
                .iter()
                .filter(|layer| layer.holds(&file.path))
                .flat_map(|layer| layer.check(file))
        })
        .collect()
}

impl Layer {
    fn holds(&self, path: &str) -> bool {
        path.strip_prefix(self.path)
            .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    }

    fn check(&self, file: &File) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (number, line) in file.code() {
            let at = format!("{}:{number}", file.path);
            let above = ABOVE.iter().filter(|_| self.path.starts_with("agent/"));
            for module in self.modules.iter().chain(above) {
                if names(line, &format!("crate::{module}")) {
                    findings.push(Finding::error(
                        &at,
                        format!("`{}` must not know `{module}`", self.path),
                    ));
                }
            }
            for outside in self.outside.iter().filter(|word| names(line, word)) {
                findings.push(Finding::error(
                    &at,
                    format!("`{}` must not use `{outside}`", self.path),
                ));
            }
        }
        findings
    }
}

/// Whether a path stands in a line as itself, not as the tail or the head of a longer name.
fn names(line: &str, path: &str) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(path).any(|(start, _)| {
        let (before, rest) = line.split_at(start);
        let after = rest.get(path.len()..).unwrap_or_default();
        // `std::net::Tcp` and `IMPURE` modules such as `aya::` go on as they like.
        let is_prefix = path.ends_with(':') || path.starts_with("std::net::");
        !before.ends_with(is_word)
            && !before.ends_with("::")
            && (is_prefix || !after.starts_with(is_word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        check(&Tree { files: vec![file] }).len()
    }

    #[test]
    fn imports_go_one_way() {
        assert_eq!(
            findings("agent/src/model/a.rs", "use crate::compile::Tables;"),
            1
        );
        assert_eq!(
            findings("agent/src/compile/a.rs", "use crate::model::Mesh;"),
            0
        );
        assert_eq!(
            findings("agent/src/compile.rs", "use crate::kernel::Maps;"),
            1
        );
        assert_eq!(findings("agent/src/kernel/a.rs", "use crate::app::App;"), 1);
        assert_eq!(findings("ebpf/src/report.rs", "use crate::steer;"), 1);
        assert_eq!(findings("agent/src/app.rs", "use crate::kernel::Maps;"), 0);
    }

    #[test]
    fn the_core_is_pure() {
        assert_eq!(findings("agent/src/model.rs", "use std::net::IpAddr;"), 0);
        assert_eq!(
            findings("agent/src/model.rs", "use std::net::TcpStream;"),
            1
        );
        assert_eq!(
            findings("agent/src/compile/a.rs", "let now = Instant::now();"),
            1
        );
        assert_eq!(findings("agent/src/compile/a.rs", "use crate::maya::b;"), 0);
    }

    #[test]
    fn a_longer_name_is_another_module() {
        assert_eq!(
            findings("agent/src/source/a.rs", "use crate::kernels::A;"),
            0
        );
        assert_eq!(
            findings("agent/src/source/a.rs", "// use crate::kernel::A;"),
            0
        );
    }
}
