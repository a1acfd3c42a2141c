//! Modules of a kernel, in an order in which each finds what it depends on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use object::{Object as _, ObjectSection as _};

/// A module as the kernel takes it.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// Those wanted that are not built in, behind those that they need.
pub(super) fn collect(directory: &Path, wanted: &[&str]) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    find(&directory.join("kernel"), &mut files)?;
    let builtin = directory.join("modules.builtin");
    let builtin = fs::read_to_string(&builtin).with_context(|| format!("{}", builtin.display()))?;
    let is_builtin = |name: &str| builtin.lines().any(|line| name_of(Path::new(line)) == name);
    let mut modules = Vec::new();
    for name in wanted {
        if !is_builtin(name) {
            add(name, &files, &mut modules)?;
        }
    }
    Ok(modules)
}

fn add(name: &str, files: &BTreeMap<String, PathBuf>, modules: &mut Vec<Module>) -> Result<()> {
    if modules.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let file = files.get(name);
    let file = file.with_context(|| format!("this kernel has no module {name}"))?;
    let bytes = read(file)?;
    let needs = needs(&bytes).with_context(|| format!("{}", file.display()))?;
    for needed in needs {
        add(&needed, files, modules)?;
    }
    modules.push(Module {
        name: name.to_owned(),
        bytes,
    });
    Ok(())
}

/// What a module says itself that it depends on.
fn needs(bytes: &[u8]) -> Result<Vec<String>> {
    let module = object::File::parse(bytes).context("no object file")?;
    let section = module.section_by_name(".modinfo").context("no .modinfo")?;
    let fields = section.data()?.split(|byte| *byte == 0);
    let depends = fields.filter_map(|field| field.strip_prefix(b"depends="));
    let names = depends.flat_map(|names| names.split(|byte| *byte == b','));
    let names = names.filter(|name| !name.is_empty());
    Ok(names
        .map(|name| canonical(&String::from_utf8_lossy(name)))
        .collect())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let program = match file.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => return fs::read(file).with_context(|| format!("{}", file.display())),
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => bail!("{} is packed in an unknown way", file.display()),
    };
    let mut unpack = Command::new(program);
    let output = unpack
        .args(["--decompress", "--stdout", "--quiet"])
        .arg(file)
        .output();
    let output = output.with_context(|| format!("{program} could not be started"))?;
    ensure!(
        output.status.success(),
        "{program} cannot read {}",
        file.display()
    );
    Ok(output.stdout)
}

fn find(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("{}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else {
            files.insert(name_of(&path), path);
        }
    }
    Ok(())
}

/// `kernel/net/sched/sch_ingress.ko.xz` is `sch_ingress`.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    canonical(name.split(".ko").next().unwrap_or_default())
}

/// The kernel takes `-` and `_` for the same.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_kernel() {
        for (file, name) in [
            ("kernel/drivers/net/veth.ko", "veth"),
            ("kernel/net/netfilter/nf-tables.ko.xz", "nf_tables"),
            ("kernel/net/llc.ko.zst", "llc"),
        ] {
            assert_eq!(name_of(Path::new(file)), name);
        }
    }

    #[test]
    fn what_is_no_module_is_refused() {
        assert!(needs(b"not ELF").is_err());
    }
}
