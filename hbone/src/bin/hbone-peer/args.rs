//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use waysteer_hbone::identity::SpiffeId;

/// Serves HBONE and prints one JSON line for every CONNECT when it is over.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: Option<ServeArgs>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Writes ca.pem, NAME.pem and NAME.key for an identity, and makes the authority if needed.
    Certs(CertsArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CertsArgs {
    /// Directory of the authority (ca.pem, ca.key).
    #[arg(long, value_name = "DIR")]
    pub(crate) ca: PathBuf,
    #[arg(long, value_name = "SPIFFE-ID")]
    pub(crate) identity: SpiffeId,
    /// Directory to write to.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Name of the files; the service account by default.
    #[arg(long)]
    pub(crate) name: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Address to listen on, HBONE's port being 15008; may be given more than once.
    #[arg(long, value_name = "ADDR:PORT", required = true)]
    pub(crate) listen: Vec<SocketAddr>,
    /// Whom to serve as; with --cert it is what the certificate says.
    #[arg(long, value_name = "SPIFFE-ID")]
    pub(crate) identity: Option<SpiffeId>,
    /// Directory of the local authority, which is made if it does not exist.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["cert", "key", "root"])]
    pub(crate) ca: Option<PathBuf>,
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    #[arg(long, value_name = "FILE", requires = "root")]
    pub(crate) key: Option<PathBuf>,
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) root: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Mode::Node)]
    pub(crate) mode: Mode,
    /// Answer 401 to everybody else; may be given more than once.
    #[arg(long, value_name = "SPIFFE-ID")]
    pub(crate) allow: Vec<SpiffeId>,
    /// Replace the authority's address by this one (for a VIP), keeping its port.
    #[arg(long, value_name = "IP")]
    pub(crate) map_to: Option<IpAddr>,
    /// Dial the application from the client's address (needs CAP_NET_ADMIN and the return route).
    #[arg(long)]
    pub(crate) transparent: bool,
    /// Mark of all sockets (SO_MARK, needs CAP_NET_ADMIN).
    #[arg(long, value_parser = parse_mark)]
    pub(crate) mark: Option<u32>,
    /// Waypoint: reach the authority over HBONE through this address instead of dialling it.
    #[arg(long, value_name = "ADDR:PORT", requires = "expect")]
    pub(crate) next_hop: Option<SocketAddr>,
    /// Waypoint: who may answer at the next hop; may be given more than once.
    #[arg(long, value_name = "SPIFFE-ID", requires = "next_hop")]
    pub(crate) expect: Vec<SpiffeId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// The end of the way: dials the application that the authority names.
    Node,
    /// A stop on the way: goes on over HBONE where --next-hop is given.
    Waypoint,
}

fn parse_mark(text: &str) -> Result<u32, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    }
}
