//! The machine: file systems, modules, and its end.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sys::utsname::uname;

/// Type and place. bpffs is left to the agent, which mounts it where it is not.
const FILE_SYSTEMS: [(&str, &str); 6] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("devpts", "/dev/pts"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("tmpfs", "/run"),
];

pub(crate) fn mount_all() -> Result<()> {
    for (kind, place) in FILE_SYSTEMS {
        fs::create_dir_all(place).with_context(|| format!("{place} could not be made"))?;
        mount(
            Some(kind),
            place,
            Some(kind),
            MsFlags::empty(),
            None::<&str>,
        )
        .with_context(|| format!("{kind} could not be mounted at {place}"))?;
    }
    fs::create_dir_all("/tmp").context("/tmp could not be made")
}

pub(crate) fn release() -> Result<String> {
    let name = uname().context("the kernel's name")?;
    Ok(name.release().to_string_lossy().into_owned())
}

pub(crate) fn load_module(path: &Path) -> Result<()> {
    let what = || format!("module {}", path.display());
    let file = File::open(path).with_context(what)?;
    // SAFETY: finit_module(2) takes a descriptor that is open, a string that ends in NUL, and no
    // flags; it keeps none of them.
    let result =
        unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
    let error = std::io::Error::last_os_error();
    ensure!(result == 0, "{}: {error}", what());
    Ok(())
}

pub(crate) fn power_off() -> ! {
    // SAFETY: reboot(2) with this command takes no pointer, and does not return where it works.
    unsafe { libc::reboot(libc::RB_POWER_OFF) };
    panic!("the machine could not be turned off");
}
