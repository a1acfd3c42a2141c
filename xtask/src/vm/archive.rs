//! Debian's archive, read by apt with lists and settings of its own under `target/vm`: this
//! machine's packages and sources are neither used nor changed. apt verifies the signature of each
//! suite, and by it the checksum of each package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::arch::Arch;
use super::release::Release;
use crate::{command, workspace};

const MIRROR: &str = "http://deb.debian.org/debian";
/// What the suites are signed with.
pub(crate) const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Older kernels and the newest ones that Debian builds for a release.
const SUITES: [&str; 3] = ["bookworm", "trixie", "trixie-backports"];

/// How the names of kernels for emulated machines end.
pub(super) fn flavour(arch: Arch) -> String {
    format!("-cloud-{arch}")
}

pub(super) struct Archive {
    arch: Arch,
    directory: PathBuf,
}

impl Archive {
    /// With new lists of what there is.
    pub(super) fn open(arch: Arch) -> Result<Self> {
        let directory = workspace::target().join(format!("vm/apt-{arch}"));
        for name in ["lists/partial", "archives/partial"] {
            let path = directory.join(name);
            fs::create_dir_all(&path).with_context(|| format!("{} not made", path.display()))?;
        }
        let sources: String = SUITES
            .iter()
            .map(|suite| format!("deb [arch={arch} signed-by={KEYS}] {MIRROR} {suite} main\n"))
            .collect();
        fs::write(directory.join("sources.list"), sources)?;
        // Nothing is installed, as far as this apt knows.
        fs::write(directory.join("status"), "")?;
        let archive = Self { arch, directory };
        command::run(archive.apt("apt-get").args(["--quiet", "update"]))?;
        Ok(archive)
    }

    /// The kernels on offer.
    pub(super) fn releases(&self) -> Result<Vec<Release>> {
        let names = self.ask(&["pkgnames", "linux-image-"])?;
        Ok(names
            .lines()
            .filter_map(|package| kernel_in(package, self.arch))
            .collect())
    }

    /// Unpacks a kernel with its modules into a directory.
    pub(super) fn unpack_kernel(&self, release: &Release, into: &Path) -> Result<()> {
        let image = format!("linux-image-{}", release.name());
        let about = self.ask(&["show", "--no-all-versions", &image])?;
        let mut packages = vec![image];
        // A part that is not on offer holds nothing that boots or is loaded: 6.18 depends on one.
        let is_offered = |part: &String| {
            let about = self.ask(&["show", "--no-all-versions", part]);
            about.is_ok_and(|about| !about.is_empty())
        };
        packages.extend(of_one_build(&about).into_iter().filter(is_offered));
        let download = self.empty("download")?;
        let mut apt = self.apt("apt-get");
        apt.args(["--quiet", "download"]).args(&packages);
        command::run(apt.current_dir(&download))?;
        unpack(&download, into)
    }

    /// Unpacks packages and all that they depend on into a directory.
    pub(super) fn unpack_whole(&self, packages: &[&str], into: &Path) -> Result<()> {
        let download = self.empty("download")?;
        fs::create_dir_all(download.join("partial"))?;
        let mut apt = self.apt("apt-get");
        apt.arg("-o")
            .arg(format!("Dir::Cache::Archives={}", download.display()))
            .args(["--quiet", "--yes", "--no-install-recommends"])
            .args(["install", "--download-only"])
            .args(packages);
        command::run(&mut apt)?;
        unpack(&download, into)
    }

    fn empty(&self, name: &str) -> Result<PathBuf> {
        let directory = self.directory.join(name);
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)
            .with_context(|| format!("{} not made", directory.display()))?;
        Ok(directory)
    }

    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let mut apt = self.apt("apt-cache");
        let output = apt.args(arguments).output().context("apt-cache")?;
        ensure!(
            output.status.success(),
            "apt-cache {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn apt(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        let directory = self.directory.display();
        for setting in [
            format!("Dir::State={directory}"),
            format!("Dir::State::status={directory}/status"),
            format!("Dir::Cache={directory}"),
            format!("Dir::Etc::SourceList={directory}/sources.list"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            "Dir::Etc::PreferencesParts=/dev/null".to_owned(),
            format!("APT::Architecture={}", self.arch),
            format!("APT::Architectures={}", self.arch),
            // The directory is the developer's, and `_apt` may not be able to enter it.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
            // Mirrors lag behind, and a kernel of last month is as good to be tested on.
            "Acquire::Check-Valid-Until=false".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        ] {
            apt.args(["-o", &setting]);
        }
        apt
    }
}

/// The kernel that a package of that name holds, if it is one for emulated machines.
fn kernel_in(package: &str, arch: Arch) -> Option<Release> {
    let release = package.strip_prefix("linux-image-")?;
    let is_numbered = release.starts_with(|first: char| first.is_ascii_digit());
    (is_numbered && release.ends_with(&flavour(arch))).then(|| Release::new(release))
}

/// Unpacks all packages of a directory, and removes that.
fn unpack(download: &Path, into: &Path) -> Result<()> {
    for entry in fs::read_dir(download)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            let mut dpkg = Command::new("dpkg-deb");
            command::run(dpkg.arg("--extract").arg(&path).arg(into))?;
        }
    }
    fs::remove_dir_all(download)?;
    Ok(())
}

/// Of what `apt-cache show` says of an image the packages that were built with it: newer kernels
/// are split, and their parts depend on each other in exactly their own version.
fn of_one_build(about: &str) -> Vec<String> {
    let field = |name: &str| about.lines().find_map(|line| line.strip_prefix(name));
    let version = field("Version: ").unwrap_or_default();
    let exactly = format!(" (= {version})");
    let depends = field("Depends: ").unwrap_or_default().split(", ");
    let parts = depends.filter_map(|package| package.strip_suffix(&exactly));
    parts.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_found_in_the_name_of_its_package() {
        let name = "6.12.107+deb13-cloud-arm64";
        let package = format!("linux-image-{name}");
        let found = kernel_in(&package, Arch::Arm64);
        assert_eq!(found, Some(Release::new(name)));
        assert_eq!(kernel_in(&package, Arch::Amd64), None);
        for other in [
            "linux-image-cloud-arm64",
            "linux-image-6.12.107+deb13-arm64",
            "linux-image-6.12.107+deb13-cloud-arm64-unsigned",
        ] {
            assert_eq!(kernel_in(other, Arch::Arm64), None, "{other}");
        }
    }

    #[test]
    fn the_parts_of_a_split_kernel_are_found() {
        let about = "Package: linux-image-7.3.4+deb13-cloud-amd64\nVersion: 7.3.4-1~bpo13+1\n\
                     Depends: dracut | linux-initramfs-tool, kmod (>= 3), \
                     linux-base-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1), \
                     linux-binary-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1), \
                     linux-modules-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1)\n";
        let parts = of_one_build(about);
        let expected = ["base", "binary", "modules"]
            .map(|part| format!("linux-{part}-7.3.4+deb13-cloud-amd64"));
        assert_eq!(parts, expected);
    }

    #[test]
    fn an_old_kernel_is_one_package() {
        let about = "Version: 6.1.176-1\nDepends: kmod, linux-base (>= 4.3~)\n";
        assert_eq!(of_one_build(about), Vec::<String>::new());
        assert_eq!(of_one_build(""), Vec::<String>::new());
    }
}
