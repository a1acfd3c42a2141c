//! Debian's archive, read by apt with lists and settings of its own under `target/vm`: this
//! machine's packages and sources are neither used nor changed. apt verifies the signature of each
//! suite, and by it the checksum of each package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::release::Release;
use crate::{command, workspace};

const MIRROR: &str = "http://deb.debian.org/debian";
/// What the suites are signed with.
pub(crate) const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Older kernels and the newest ones that Debian builds for a release.
const SUITES: [&str; 3] = ["bookworm", "trixie", "trixie-backports"];
const FLAVOUR: &str = "-cloud-amd64";

pub(super) struct Archive {
    directory: PathBuf,
}

impl Archive {
    /// With new lists of what there is.
    pub(super) fn open() -> Result<Self> {
        let directory = workspace::target().join("vm/apt");
        for name in ["lists/partial", "archives/partial"] {
            let path = directory.join(name);
            fs::create_dir_all(&path).with_context(|| format!("{} not made", path.display()))?;
        }
        let sources: String = SUITES
            .iter()
            .map(|suite| format!("deb [arch=amd64 signed-by={KEYS}] {MIRROR} {suite} main\n"))
            .collect();
        fs::write(directory.join("sources.list"), sources)?;
        // Nothing is installed, as far as this apt knows.
        fs::write(directory.join("status"), "")?;
        let archive = Self { directory };
        command::run(archive.apt("apt-get").args(["--quiet", "update"]))?;
        Ok(archive)
    }

    /// The kernels on offer.
    pub(super) fn releases(&self) -> Result<Vec<Release>> {
        let names = self.ask(&["pkgnames", "linux-image-"])?;
        let releases = names.lines().filter_map(|package| {
            let release = package.strip_prefix("linux-image-")?;
            let is_numbered = release.starts_with(|first: char| first.is_ascii_digit());
            (is_numbered && release.ends_with(FLAVOUR)).then(|| Release::new(release))
        });
        Ok(releases.collect())
    }

    /// Unpacks a kernel with its modules into a directory.
    pub(super) fn unpack(&self, release: &Release, into: &Path) -> Result<()> {
        let download = self.directory.join("download");
        if download.exists() {
            fs::remove_dir_all(&download)?;
        }
        fs::create_dir_all(&download)?;
        let image = format!("linux-image-{}", release.name());
        let about = self.ask(&["show", "--no-all-versions", &image])?;
        let mut packages = vec![image];
        // A part that is not on offer holds nothing that boots or is loaded: 6.18 depends on one.
        let is_offered = |part: &String| {
            let about = self.ask(&["show", "--no-all-versions", part]);
            about.is_ok_and(|about| !about.is_empty())
        };
        packages.extend(of_one_build(&about).into_iter().filter(is_offered));
        let mut apt = self.apt("apt-get");
        apt.args(["--quiet", "download"]).args(&packages);
        command::run(apt.current_dir(&download))?;
        for entry in fs::read_dir(&download)? {
            let mut dpkg = Command::new("dpkg-deb");
            dpkg.arg("--extract").arg(entry?.path()).arg(into);
            command::run(&mut dpkg)?;
        }
        fs::remove_dir_all(&download)?;
        Ok(())
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
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
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
