//! What lies in a machine: our programs, the tools that tests call, and the libraries of both.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

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
pub(super) struct Payload {
    files: Vec<(PathBuf, PathBuf)>,
}

impl Payload {
    /// Builds what is ours.
    pub(super) fn build() -> Result<Self> {
        for variant in [Variant::Code, Variant::Layout] {
            build_ebpf::run(&build_ebpf::Args::variant(variant))?;
        }
        build_ebpf::run(&build_ebpf::Args::quiet())?;
        let mut files = Vec::new();
        for (name, path) in executables()? {
            files.push((stripped(&name, &path)?, Path::new(PROGRAMS).join(&name)));
        }
        for tool in TOOLS {
            let path = find(tool)?;
            files.push((path, Path::new(PROGRAMS).join(tool)));
        }
        let programs = files.iter().map(|(path, _)| path.as_path());
        let libraries = libraries(programs)?.into_iter();
        files.extend(libraries.map(|library| (library.clone(), library)));
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
fn executables() -> Result<Vec<(String, PathBuf)>> {
    let bins = OURS.map(|name| ["--bin", name]);
    let tests = TESTS.map(|name| ["--test", name]);
    let mut build = command::cargo(["build"]);
    build.args(bins.as_flattened());
    let mut found = built(&mut build, &OURS)?;
    let mut build = command::cargo(["test", "--no-run", "--features", "waysteer-tests/kernel"]);
    build.args(tests.as_flattened());
    found.extend(built(&mut build, &TESTS)?);
    Ok(found)
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
fn stripped(name: &str, program: &Path) -> Result<PathBuf> {
    let directory = workspace::target().join("vm/programs");
    fs::create_dir_all(&directory).with_context(|| format!("{}", directory.display()))?;
    let copy = directory.join(name);
    let mut strip = Command::new("strip");
    command::run(strip.arg("-o").arg(&copy).arg(program))?;
    Ok(copy)
}

fn find(tool: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Tools of administrators are not on everybody's path.
    let directories = std::env::split_paths(&path);
    let directories = directories.chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let mut candidates = directories.map(|directory| directory.join(tool));
    let found = candidates.find(|path| path.is_file());
    found.with_context(|| format!("{tool} is not installed; run `cargo xtask setup --with-vm`"))
}

/// What the dynamic loader would load for these programs, and itself.
fn libraries<'a>(programs: impl Iterator<Item = &'a Path>) -> Result<BTreeSet<PathBuf>> {
    let mut libraries = BTreeSet::new();
    for program in programs {
        let mut ldd = Command::new("ldd");
        let output = ldd.arg(program).output().context("ldd")?;
        ensure!(
            output.status.success(),
            "ldd cannot read {}: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        libraries.extend(loaded(&String::from_utf8_lossy(&output.stdout)));
    }
    Ok(libraries)
}

/// The paths in what ldd prints: `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` for the loader.
fn loaded(printed: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let mut words = line.split_whitespace();
        let path = words.find(|word| Path::new(OsStr::new(word)).is_absolute())?;
        Some(path.into())
    };
    printed.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_found() {
        let printed = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                       \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(loaded(printed), expected.map(PathBuf::from));
    }

    #[test]
    fn an_executable_is_found_in_what_cargo_says() {
        let message = r#"{"reason":"compiler-artifact","target":{"name":"kernel"},"executable":"/d/kernel-1"}"#;
        assert_eq!(executable(message, "kernel"), Some("/d/kernel-1".into()));
        assert_eq!(executable(message, "kernel_side"), None);
        assert_eq!(executable("not of ours", "kernel"), None);
    }
}
