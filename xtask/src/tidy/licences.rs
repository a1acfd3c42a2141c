//! Licences, stated per crate: the kernel wants GPL-compatible programs, user space is Apache.

use super::Finding;
use super::tree::Tree;

const USER_SPACE: &str = "Apache-2.0";
const KERNEL: &str = "MIT OR GPL-2.0-only";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(root) = tree.file("Cargo.toml") else {
        return vec![Finding::error("Cargo.toml", "is missing")];
    };
    let Ok(workspace) = root.text.parse::<toml::Table>() else {
        return vec![Finding::error("Cargo.toml", "does not parse")];
    };
    let shared = workspace
        .get("workspace")
        .and_then(|workspace| workspace.get("package")?.get("license")?.as_str());
    tree.files
        .iter()
        .filter(|file| file.path.ends_with("/Cargo.toml"))
        .filter_map(|file| {
            let problem = licence_problem(&file.path, &file.text, shared)?;
            Some(Finding::error(&file.path, problem))
        })
        .collect()
}

fn licence_problem(path: &str, manifest: &str, shared: Option<&str>) -> Option<String> {
    let Ok(manifest) = manifest.parse::<toml::Table>() else {
        return Some("does not parse".to_owned());
    };
    let field = manifest
        .get("package")
        .and_then(|package| package.get("license"));
    let licence = match field {
        Some(toml::Value::String(licence)) => Some(licence.as_str()),
        // `license.workspace = true`
        Some(toml::Value::Table(_)) => shared,
        _ => None,
    };
    let Some(licence) = licence else {
        return Some("states no licence".to_owned());
    };
    let is_right = match path {
        "ebpf/Cargo.toml" => licence == KERNEL,
        // Linked into both sides, so it may offer both.
        "common/Cargo.toml" => licence.contains(USER_SPACE),
        _ => licence == USER_SPACE,
    };
    (!is_right).then(|| format!("unexpected licence `{licence}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_has_its_licence() {
        let own = "[package]\nlicense = \"MIT OR GPL-2.0-only\"\n";
        let shared = "[package]\nlicense.workspace = true\n";
        let apache = Some(USER_SPACE);
        assert_eq!(licence_problem("ebpf/Cargo.toml", own, apache), None);
        assert!(licence_problem("ebpf/Cargo.toml", shared, apache).is_some());
        assert_eq!(licence_problem("agent/Cargo.toml", shared, apache), None);
        assert!(licence_problem("agent/Cargo.toml", own, apache).is_some());
        assert!(licence_problem("agent/Cargo.toml", "[package]\n", apache).is_some());
    }
}
