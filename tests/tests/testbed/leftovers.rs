//! Nothing stays behind.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use waysteer_tests::interrupt;
use waysteer_tests::netns::{self, NetNs};
use waysteer_tests::process::{Process, Scratch};
use waysteer_tests::topology::Topology;
use waysteer_tests::wait::wait_until;

fn ours() -> Vec<PathBuf> {
    netns_with(&format!("waysteer-{}-", std::process::id()))
}

fn netns_with(prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        })
        .collect()
}

#[test]
fn a_topology_goes_away_when_dropped_and_on_a_panic() -> Result<()> {
    let topology = Topology::new(&["client"], &["far"])?;
    assert_eq!(ours().len(), 5);
    drop(topology);
    assert_eq!(ours(), Vec::<PathBuf>::new());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _topology = Topology::new(&["client"], &[]);
        panic!("as a failing test does");
    }));
    assert!(panicked.is_err());
    assert_eq!(ours(), Vec::<PathBuf>::new());
    Ok(())
}

#[test]
fn a_namespace_is_entered_and_left() -> Result<()> {
    let (one, other) = (NetNs::new("one")?, NetNs::new("other")?);
    assert_ne!(one.cookie()?, other.cookie()?);
    assert_eq!(one.cookie()?, one.cookie()?);
    let own = fs::read_link("/proc/thread-self/ns/net")?;
    let inside = one.run(|| fs::read_link("/proc/thread-self/ns/net"))?;
    assert_ne!(own, inside);
    assert_eq!(fs::read_link("/proc/thread-self/ns/net")?, own);
    let panicked = catch_unwind(AssertUnwindSafe(|| one.run(|| panic!("inside"))));
    let message = panicked
        .expect_err("it panics")
        .downcast_ref::<&str>()
        .copied();
    assert_eq!(message, Some("inside"));
    Ok(())
}

#[test]
fn a_command_runs_inside_and_sees_the_pins() -> Result<()> {
    let netns = NetNs::new("one")?;
    let output = netns
        .command("sh")
        .args([
            "-c",
            "readlink /proc/self/ns/net; stat -f -c %T /sys/fs/bpf",
        ])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let inside = netns.run(|| fs::read_link("/proc/thread-self/ns/net"))?;
    let mut lines = text.lines();
    assert_eq!(lines.next().map(Path::new), Some(inside.as_path()));
    let outside = Command::new("stat")
        .args(["-f", "-c", "%T", "/sys/fs/bpf"])
        .output()?;
    assert_eq!(
        lines.next(),
        Some(String::from_utf8(outside.stdout)?.trim())
    );
    Ok(())
}

#[test]
fn a_dead_run_is_swept_up_with_its_processes() -> Result<()> {
    // A process that is no more stands for a killed run: its id is in the name.
    let mut dead = Command::new("true").spawn()?;
    dead.wait()?;
    let name = format!("waysteer-{}-0-left", dead.id());
    let path = Path::new("/run/netns").join(&name);
    let status = Command::new("ip").args(["netns", "add", &name]).status()?;
    assert!(status.success());
    let mut inside = Command::new("nsenter")
        .arg(format!("--net={}", path.display()))
        .args(["sleep", "1000"])
        .spawn()?;
    let namespace = fs::metadata(&path)?;
    let process = PathBuf::from(format!("/proc/{}/ns/net", inside.id()));
    wait_until(Duration::from_secs(2), "sleep is inside", || {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(&process).is_ok_and(|theirs| theirs.ino() == namespace.ino())
    })?;

    let living = NetNs::new("living")?;
    assert_eq!(netns::sweep()?, [name]);
    assert!(!path.exists());
    assert!(living.path().exists(), "a living run's is left alone");
    assert!(!inside.wait()?.success(), "killed");
    Ok(())
}

#[test]
fn a_process_ends_with_its_handle() -> Result<()> {
    let scratch = Scratch::new()?;
    let directory = scratch.path().to_owned();
    let mut command = Command::new("sh");
    command.args(["-c", "echo ready; exec sleep 1000"]);
    let mut process = Process::start("sleeper", command, &scratch)?;
    process.wait_for_log(Duration::from_secs(2), "ready")?;
    let running = PathBuf::from(format!("/proc/{}", process.id()));
    assert!(running.exists());
    drop(process);
    assert!(!running.exists());

    let mut command = Command::new("sh");
    command.args(["-c", "echo broken; exit 3"]);
    let mut process = Process::start("broken", command, &scratch)?;
    let error = process
        .wait_for_log(Duration::from_secs(2), "ready")
        .err()
        .context("it never says so")?;
    assert!(error.to_string().contains("exit status: 3"), "{error}");
    drop(scratch);
    assert!(!directory.exists());
    Ok(())
}

#[test]
fn ctrl_c_ends_waiting_and_no_more() -> Result<()> {
    // In a process of its own, because the request is for good: this very test, told to wait.
    const WAITS: &str = "WAYSTEER_TEST_WAITS";
    if std::env::var_os(WAITS).is_some() {
        interrupt::install()?;
        let topology = Topology::new(&["client"], &[])?;
        println!("made {}", topology.node.netns.name());
        let error = wait_until(Duration::from_secs(60), "for ever", || false)
            .err()
            .context("it is interrupted")?;
        assert!(error.to_string().contains("interrupted"), "{error}");
        return Ok(());
    }
    let scratch = Scratch::new()?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--exact", "--nocapture"])
        .arg("testbed::leftovers::ctrl_c_ends_waiting_and_no_more")
        .env(WAITS, "1");
    let mut process = Process::start("waiter", command, &scratch)?;
    process.wait_for_log(Duration::from_secs(5), "made ")?;
    let prefix = format!("waysteer-{}-", process.id());
    assert!(netns_with(&prefix).len() >= 4);
    process.signal(Signal::SIGINT)?;
    wait_until(Duration::from_secs(5), "it ends", || !process.is_running())?;
    assert!(process.log().contains("1 passed"), "{}", process.log());
    assert_eq!(netns_with(&prefix), Vec::<PathBuf>::new());
    Ok(())
}
