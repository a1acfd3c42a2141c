//! Packages of Debian and Ubuntu.

use std::fs;
use std::process::Command;

use anyhow::{Result, bail};

use crate::{command, workspace};

/// Installs packages, or says what to install where it may not or cannot.
pub(super) fn install(packages: &[&str], purpose: &str) -> Result<()> {
    let list = packages.join(" ");
    if command::output("apt-get", &["--version"]).is_none() {
        bail!(
            "this is not Debian or Ubuntu; install {purpose} \
             (there: apt-get install {list}) and run this again"
        );
    }
    if !workspace::is_root() {
        bail!("needs root: run `sudo apt-get install {list}` and then this again");
    }
    let offered = |package: &&str| {
        command::output("apt-cache", &["show", "--no-all-versions", package])
            .is_some_and(|text| !text.is_empty())
    };
    if lists_are_empty() || !packages.iter().all(offered) {
        command::run(apt_get().arg("update"))?;
    }
    let unknown: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|package| !offered(package))
        .collect();
    if !unknown.is_empty() {
        bail!(
            "this release does not offer {}; install {purpose} by hand",
            unknown.join(", ")
        );
    }
    command::run(
        apt_get()
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages),
    )
}

fn apt_get() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

/// Fresh images come without package lists.
fn lists_are_empty() -> bool {
    let Ok(entries) = fs::read_dir("/var/lib/apt/lists") else {
        return true;
    };
    !entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}
