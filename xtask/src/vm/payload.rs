//! What lies in a machine: our programs, the tools that tests call, and the libraries of both.

mod debian;
mod here;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::arch::{Arch, Cross};
use super::initramfs::Initramfs;
use super::modules::Module;
use crate::build_ebpf::{self, Variant};
use crate::{command, workspace};

const OURS: [&str; 4] = [
    "waysteer",
    "hbone-peer",
    "waysteer-stand-in",
    "waysteer-init",
];
/// The binaries that hold the tests.
pub(super) const TESTS: [&str; 2] = ["kernel", "kernel_side"];
const TOOLS: [&str; 18] = [
    "bash", "bpftool", "ip", "mount", "nsenter", "script", "setpriv", "sh", "sleep", "ss", "stat",
    "sysctl", "tc", "touch", "true", "umount", "unshare", "cat",
];
/// Where all of them are.
pub(super) const PROGRAMS: &str = "/bin";

/// Files of this machine, and where they go in the other.
type Files = Vec<(PathBuf, PathBuf)>;

pub(super) struct Payload {
    files: Files,
}

impl Payload {
    /// Builds what is ours, and finds what is not.
    pub(super) fn build(arch: Arch) -> Result<Self> {
        for variant in [Variant::Code, Variant::Layout] {
            build_ebpf::run(&build_ebpf::Args::variant(variant))?;
        }
        build_ebpf::run(&build_ebpf::Args::quiet())?;
        let mut files = Vec::new();
        for (name, path) in executables(arch)? {
            let copy = stripped(arch, &name, &path)?;
            files.push((copy, Path::new(PROGRAMS).join(&name)));
        }
        let others = match arch.cross() {
            None => here::collect(&files)?,
            Some(cross) => debian::collect(arch, &cross, &files)?,
        };
        files.extend(others);
        // Tests look for these where they were built.
        for variant in ["code", "layout"] {
            let object = workspace::bpf_variant(variant);
            files.push((object.clone(), object));
        }
        Ok(Self { files })
    }

    /// The archive that a kernel boots with.
    pub(super) fn archive(&self, modules: &[Module], steps: &str) -> Result<Vec<u8>> {
        let mut archive = Initramfs::default();
        for directory in ["/dev", "/proc", "/sys", "/run", "/tmp"] {
            archive.add_directory(Path::new(directory))?;
        }
        // Tests go to the workspace by a way that leads through their own package.
        archive.add_directory(&workspace::root().join("tests"))?;
        for (from, to) in &self.files {
            archive.copy(from, to)?;
        }
        let init = Path::new(PROGRAMS).join("waysteer-init");
        let (init, _) = self
            .files
            .iter()
            .find(|(_, to)| *to == init)
            .context("the first program is missing")?;
        archive.copy(init, Path::new("/init"))?;
        let mut plan = String::new();
        for module in modules {
            let path = format!("/modules/{}.ko", module.name);
            archive.add(Path::new(&path), &module.bytes)?;
            plan += &format!("module\t{path}\n");
        }
        plan += steps;
        archive.add(Path::new("/plan"), plan.as_bytes())?;
        archive.finish()
    }
}

/// Builds our programs and tests, and asks cargo where they are.
///
/// No package is named: cargo would choose other features for each choice of packages, and build
/// all dependencies again.
fn executables(arch: Arch) -> Result<Vec<(String, PathBuf)>> {
    let bins = OURS.map(|name| ["--bin", name]);
    let tests = TESTS.map(|name| ["--test", name]);
    let mut build = cargo(arch, &["build"]);
    build.args(bins.as_flattened());
    let mut found = built(&mut build, &OURS)?;
    let mut build = cargo(
        arch,
        &["test", "--no-run", "--features", "waysteer-tests/kernel"],
    );
    build.args(tests.as_flattened());
    found.extend(built(&mut build, &TESTS)?);
    Ok(found)
}

fn cargo(arch: Arch, arguments: &[&str]) -> Command {
    let mut cargo = command::cargo(arguments);
    if let Some(Cross { target, tools, .. }) = arch.cross() {
        let variable = target.replace('-', "_").to_uppercase();
        let variable = format!("CARGO_TARGET_{variable}_LINKER");
        cargo
            .args(["--target", target])
            .env(variable, format!("{tools}gcc"));
    }
    cargo
}

fn built(build: &mut Command, names: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    build.arg("--message-format=json-render-diagnostics");
    eprintln!("$ {}", command::describe(build));
    let output = build.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the build failed");
    let messages = String::from_utf8_lossy(&output.stdout);
    let find = |name: &str| {
        let path = messages.lines().find_map(|line| executable(line, name));
        let path = path.with_context(|| format!("cargo does not say where {name} is"))?;
        Ok((name.to_owned(), path))
    };
    names.iter().copied().map(find).collect()
}

/// A target's executable, if a message of cargo's is about that.
fn executable(message: &str, name: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let is_it = message.get("target")?.get("name")?.as_str()? == name;
    let path = message.get("executable")?.as_str()?;
    is_it.then(|| path.into())
}

/// A copy without what only debuggers read: nine tenths of it.
fn stripped(arch: Arch, name: &str, program: &Path) -> Result<PathBuf> {
    let directory = workspace::target().join(format!("vm/programs-{arch}"));
    fs::create_dir_all(&directory).with_context(|| format!("{}", directory.display()))?;
    let copy = directory.join(name);
    let tools = arch.cross().map(|cross| cross.tools).unwrap_or_default();
    let mut strip = Command::new(format!("{tools}strip"));
    command::run(strip.arg("-o").arg(&copy).arg(program))?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_is_found_in_what_cargo_says() {
        let message = r#"{"reason":"compiler-artifact","target":{"name":"kernel"},"executable":"/d/kernel-1"}"#;
        assert_eq!(executable(message, "kernel"), Some("/d/kernel-1".into()));
        assert_eq!(executable(message, "kernel_side"), None);
        assert_eq!(executable("not of ours", "kernel"), None);
    }
}
