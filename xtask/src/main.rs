//! waysteer's developer commands: `cargo xtask COMMAND`, one module a command.

mod bench;
mod budget;
mod build_ebpf;
mod ci;
mod command;
mod demo;
mod fuzz;
mod maps_doc;
mod setup;
mod soak;
mod test;
mod tidy;
mod vm;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "waysteer's developer commands")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Installs what building needs and this machine lacks
    Setup(setup::Args),
    /// Builds the kernel programs to target/bpf/waysteer.o
    BuildEbpf(build_ebpf::Args),
    /// Measures; needs root
    Bench(bench::Args),
    /// Sends real requests of every class through a small mesh, and prints what became of them
    Demo(demo::Args),
    /// Runs the host tests and, as root, the kernel tests
    Test(test::Args),
    /// Lets all that can happen on a node happen, under traffic, for as long as one likes
    Soak(soak::Args),
    /// Boots kernels in emulated machines, and runs the tests that they can make a difference to
    Vm(vm::Args),
    /// Runs the fuzz targets, each for a while
    Fuzz(fuzz::Args),
    /// Writes docs/maps.md from the sources of the maps
    MapsDoc(maps_doc::Args),
    /// Checks layout, layering and house rules that no compiler knows
    Tidy,
    /// Runs everything that a change must pass
    Ci(ci::Args),
}

fn main() -> ExitCode {
    // Printed by hand: with RUST_BACKTRACE set, as it often is, a returned error buries what went
    // wrong under twenty frames.
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Setup(args) => setup::run(&args),
        Command::BuildEbpf(args) => build_ebpf::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Vm(args) => vm::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::MapsDoc(args) => maps_doc::run(&args),
        Command::Tidy => tidy::run(),
        Command::Ci(args) => ci::run(&args),
    }
}
