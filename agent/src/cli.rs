//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use waysteer_common::verdict::{Class, Reason};

use crate::config::{ConfigArgs, PIN_ROOT};

/// Node redirection agent for Istio's ambient mesh
#[derive(Debug, Parser)]
#[command(name = "waysteer", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent
    Run(Box<RunArgs>),
    /// Report whether this kernel, these privileges and this configuration are enough
    Check(Box<CheckArgs>),
    /// Show which pods are captured, and what is wrong; without an agent, from what is pinned
    ///
    /// The exit status is 0 where all is well, 3 where something is not, 1 where that cannot be told.
    Status(StatusArgs),
    /// Show the last verdicts of the kernel
    Flows(FlowsArgs),
    /// Print what is in the kernel's maps, decoded; also without an agent
    Dump(DumpArgs),
    /// Show verdicts as they come
    Monitor(MonitorArgs),
    /// Show pods, connections and traffic on the whole terminal
    Top(TopArgs),
    /// Remove everything that agents have ever made on this node
    Cleanup(CleanupArgs),
    /// Ask the kernel what becomes of a connection, and why; also without an agent
    Explain(ExplainArgs),
    /// Show what the running agent logs, or have it log something else
    Log(LogArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write man pages
    Man {
        /// Where to
        directory: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The configuration file, TOML or YAML
    #[arg(long, env = "WAYSTEER_CONFIG")]
    pub config: Option<PathBuf>,
    /// Kernel programs in place of those that were built in: for tests of upgrades
    #[arg(long, env = "WAYSTEER_OBJECT", hide = true)]
    pub object: Option<PathBuf>,
    #[command(flatten)]
    pub settings: ConfigArgs,
}

#[derive(Debug, clap::Args)]
pub struct ClientArgs {
    /// The running agent's socket
    #[arg(
        long,
        env = "WAYSTEER_ADMIN_SOCKET",
        default_value = "/run/waysteer/admin.sock"
    )]
    pub socket: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
    /// The same, for people
    Yaml,
}

#[derive(Debug, clap::Args)]
pub struct OutputArgs {
    /// The form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The agent's configuration file, TOML or YAML: what it asks for is looked at too
    #[arg(long, env = "WAYSTEER_CONFIG")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub settings: ConfigArgs,
}

#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// One pod alone: NAMESPACE/NAME, a name or a uid
    pub pod: Option<String>,
    /// Where to look when no agent answers
    #[arg(long, env = "WAYSTEER_PIN_ROOT", default_value = PIN_ROOT)]
    pub pin_root: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Debug, clap::Args)]
pub struct FlowsArgs {
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DumpKind {
    /// Who has an address, and how it is reached
    Workloads,
    /// Virtual addresses, their ports and endpoints
    Services,
    /// What stands before services and workloads
    Waypoints,
    /// What policies say of pods that dial their neighbours
    Policies,
    /// The pods whose connections are judged
    Pods,
    /// The connections that the kernel remembers
    Flows,
    /// What connections did, by pod and destination
    Traffic,
    /// What was counted
    Counters,
}

impl DumpKind {
    pub fn label(self) -> &'static str {
        match self {
            Self::Workloads => "workloads",
            Self::Services => "services",
            Self::Waypoints => "waypoints",
            Self::Policies => "policies",
            Self::Pods => "pods",
            Self::Flows => "flows",
            Self::Traffic => "traffic",
            Self::Counters => "counters",
        }
    }
}

#[derive(Debug, clap::Args)]
pub struct DumpArgs {
    pub kind: DumpKind,
    /// Only what is in this namespace
    #[arg(long)]
    pub namespace: Option<String>,
    /// Only what concerns this pod: NAMESPACE/NAME, a name, or for `pods` a netns cookie
    #[arg(long)]
    pub pod: Option<String>,
    /// Only what is called so: NAMESPACE/NAME, a name, a host's name or its first labels, or an id
    #[arg(long)]
    pub name: Option<String>,
    /// Only what has this address
    #[arg(long)]
    pub address: Option<std::net::IpAddr>,
    /// Where the maps are pinned
    #[arg(long, env = "WAYSTEER_PIN_ROOT", default_value = PIN_ROOT)]
    pub pin_root: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Debug, clap::Args)]
pub struct MonitorArgs {
    /// Only of this pod: NAMESPACE/NAME or a name
    #[arg(long)]
    pub pod: Option<String>,
    /// Only of this class
    #[arg(long, value_parser = class)]
    pub class: Option<Class>,
    /// Only for this reason
    #[arg(long, value_parser = reason)]
    pub reason: Option<Reason>,
    /// Only to this address, block of addresses, service or workload
    #[arg(long)]
    pub dst: Option<String>,
    /// In place of verdicts, packets that are held or dropped and connections that are refused: when,
    /// whose, from where to where, and why
    #[arg(long, conflicts_with_all = ["class", "reason"])]
    pub drops: bool,
    /// Sum up, once a second on a terminal, else at the end
    #[arg(long)]
    pub summary: bool,
    /// End after so many seconds [default: with Ctrl-C]
    #[arg(long)]
    pub seconds: Option<u64>,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Debug, clap::Args)]
pub struct TopArgs {
    /// Seconds between two looks
    #[arg(long, default_value_t = 1.0)]
    pub interval: f64,
    #[command(flatten)]
    pub client: ClientArgs,
}

fn class(text: &str) -> Result<Class, String> {
    let found = Class::ALL
        .iter()
        .find(|it| it.label().eq_ignore_ascii_case(text));
    let labels: Vec<&str> = Class::ALL.iter().map(|it| it.label()).collect();
    found
        .copied()
        .ok_or_else(|| format!("classes are {}", labels.join(", ")))
}

fn reason(text: &str) -> Result<Reason, String> {
    let found = Reason::ALL
        .iter()
        .find(|it| it.label().eq_ignore_ascii_case(text));
    let labels: Vec<&str> = Reason::ALL.iter().map(|it| it.label()).collect();
    found
        .copied()
        .ok_or_else(|| format!("reasons are {}", labels.join(", ")))
}

#[derive(Debug, clap::Args)]
pub struct CleanupArgs {
    /// Where programs, maps and links are pinned [default: where the running agent says, else
    /// /sys/fs/bpf/waysteer]
    #[arg(long, env = "WAYSTEER_PIN_ROOT")]
    pub pin_root: Option<PathBuf>,
    /// Where ztunnel connected, if it was the tunnel
    #[arg(
        long,
        env = "WAYSTEER_TUNNEL_SOCKET",
        default_value = "/var/run/ztunnel/ztunnel.sock"
    )]
    pub tunnel_socket: PathBuf,
    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// The source pod: NAMESPACE/NAME, a name or a uid
    pub pod: String,
    /// The destination: an address, a service (NAME, NAME.NAMESPACE, its host's name) or a workload
    /// (NAMESPACE/NAME), with :PORT where it has more than one
    pub destination: String,
    /// The source port of a connection that is open: what it got when it began
    #[arg(long, value_name = "PORT")]
    pub from_port: Option<u16>,
    /// Where to look when no agent answers
    #[arg(long, env = "WAYSTEER_PIN_ROOT", default_value = PIN_ROOT)]
    pub pin_root: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Debug, clap::Args)]
pub struct LogArgs {
    /// A filter of tracing's EnvFilter, such as `debug` or `info,waysteer::reconcile=trace`; stays
    /// until the agent ends
    pub filter: Option<String>,
    #[command(flatten)]
    pub client: ClientArgs,
}
