//! The agent under test, its maps and what it costs.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, HashMap, Map, MapData};
use nix::sys::signal::Signal;
use waysteer_common::abi::names::ABI_VERSION;
use waysteer_common::abi::settings::SettingsValue;
use waysteer_common::abi::value::WorkloadValue;
use waysteer_tests::admin;
use waysteer_tests::pins::PinDirectory;
use waysteer_tests::process::{Process, Scratch};

/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two looks at a map.
const LOOK: Duration = Duration::from_micros(20);

pub(crate) type Address = [u8; 16];
pub(crate) type Workload = [u8; size_of::<WorkloadValue>()];
type Settings = [u8; size_of::<SettingsValue>()];

// Dropped in this order: the process before what it works on.
pub(crate) struct Agent {
    process: Process,
    pins: PinDirectory,
    scratch: Scratch,
}

/// What was written so far, by all maps together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) entries: u64,
    pub(crate) syscalls: u64,
}

impl Agent {
    /// It has no pods, and waits for what the control plane says.
    pub(crate) fn start(program: &Path, plane: &str) -> Result<Self> {
        let scratch = Scratch::new()?;
        let pins = PinDirectory::new(&format!("wsscale-{}", std::process::id()));
        let pods = scratch.write("pods.yaml", "pods: []\n")?;
        let path = |name: &str| scratch.path().join(name);
        let mut command = Command::new(program);
        command.args(["run", "--node", "node-0.example.internal", "--log", "info"]);
        command.args(["--on-stop", "undo", "--admin-listen", "127.0.0.1:0"]);
        command.args(["--source-kind", "xds", "--source-plaintext"]);
        command.args(["--source-pod-name", "waysteer", "--source-pod-ip"]);
        command.args(["10.0.0.1", "--source-pod-namespace", "istio-system"]);
        command.args(["--source-address", plane, "--tunnel-kind", "embedded"]);
        command.arg("--tunnel-ca-dir").arg(path("ca"));
        command.arg("--admin-socket").arg(path("admin.sock"));
        command.arg("--pin-root").arg(pins.path());
        command.arg("--source-pods").arg(pods);
        let process = Process::start("waysteer", command, &scratch)?;
        Ok(Self {
            process,
            pins,
            scratch,
        })
    }

    pub(crate) fn workloads(&self) -> Result<HashMap<MapData, Address, Workload>> {
        let data = MapData::from_pin(self.map("WORKLOADS"))?;
        Ok(HashMap::try_from(Map::HashMap(data))?)
    }

    /// Waits until the programs go by a whole mesh: then all of it is in the maps.
    pub(crate) fn wait_until_synced(&mut self) -> Result<()> {
        let data = MapData::from_pin(self.map("SETTINGS"))?;
        let settings: Array<MapData, Settings> = Array::try_from(Map::Array(data))?;
        self.wait("the mesh is in the maps", || {
            // It begins with the flags.
            let [a, b, c, d, ..] = settings.get(&0, 0).ok()?;
            let flags = u32::from_be_bytes([a, b, c, d]);
            (flags & SettingsValue::SYNCED != 0).then_some(())
        })
    }

    /// Looks again and again, and fails where the agent has ended.
    pub(crate) fn wait<T>(&mut self, what: &str, look: impl Fn() -> Option<T>) -> Result<T> {
        let start = Instant::now();
        let mut alive = start;
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if alive.elapsed() > Duration::from_secs(1) {
                alive = Instant::now();
                if !self.process.is_running() || start.elapsed() > PATIENCE {
                    self.process.show_log();
                    anyhow::bail!("waited in vain: {what}");
                }
            }
            thread::sleep(LOOK);
        }
    }

    pub(crate) fn written(&self) -> Result<Written> {
        let socket = self.scratch.path().join("admin.sock");
        Ok(Written {
            entries: admin::metric(&socket, "waysteer_map_writes", &[])?,
            syscalls: admin::metric(&socket, "waysteer_map_syscalls", &[])?,
        })
    }

    /// Kilobytes; `VmRSS` is of now, `VmHWM` the most that it ever was.
    pub(crate) fn memory(&self, what: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.process.id());
        number(&fs::read_to_string(path)?, what)
    }

    /// Kilobytes that the kernel holds for all maps of the agent.
    pub(crate) fn kernel_memory(&self) -> Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(self.maps())? {
            let data = MapData::from_pin(entry?.path())?;
            let fd = data.fd().as_fd().as_raw_fd();
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
            bytes += number(&info, "memlock")?;
        }
        Ok(bytes / 1024)
    }

    /// Seconds of processor time so far.
    pub(crate) fn processor_time(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let (_, fields) = stat.rsplit_once(") ").context("a name in /proc/PID/stat")?;
        let ticks = fields.split(' ').skip(11).take(2);
        let ticks: u64 = ticks.map(|field| field.parse::<u64>().unwrap_or(0)).sum();
        // USER_HZ.
        Ok(ticks as f64 / 100.0)
    }

    /// Seconds that threads of it could have run and others did.
    pub(crate) fn waited_for_processor(&self) -> Result<f64> {
        let mut nanoseconds = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            // One that has ended meanwhile is not asked.
            let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else {
                continue;
            };
            let waited = text.split_whitespace().nth(1).unwrap_or_default();
            nanoseconds += waited.parse::<u64>()?;
        }
        Ok(nanoseconds as f64 / 1e9)
    }

    pub(crate) fn stop(mut self) -> Result<()> {
        // A million workloads are let go of one by one.
        self.process.signal(Signal::SIGTERM)?;
        let status = self.process.wait_for_end(PATIENCE)?;
        ensure!(status.success(), "the agent ended with {status}");
        Ok(())
    }

    fn maps(&self) -> PathBuf {
        self.pins.path().join(format!("v{ABI_VERSION}/maps"))
    }

    fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }
}

/// The number behind `WHAT:`.
fn number(text: &str, what: &str) -> Result<u64> {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let value = value.with_context(|| format!("no {what} in {text:?}"))?;
    let number = value.split_whitespace().next().unwrap_or_default();
    Ok(number.parse()?)
}
