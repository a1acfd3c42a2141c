//! `cargo xtask bench scale`: a mesh of each size, from a control plane over the agent to the kernel.
//!
//! Each size is told to an agent of its own, which has nothing and knows nothing; then single changes
//! of that mesh are made and looked for in the pinned maps, as the programs would find them.

mod agent;
mod measure;
mod mesh;
mod plane;
mod report;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Parser;

use mesh::Mesh;

#[derive(Debug, Parser)]
#[command(about = "What meshes of several sizes cost the agent")]
struct Args {
    /// The agent under test
    #[arg(long)]
    agent: PathBuf,
    /// Numbers of workloads
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000])]
    sizes: Vec<usize>,
    /// A million workloads too
    #[arg(long)]
    million: bool,
    /// One JSON document instead of the table
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Args {
        agent,
        mut sizes,
        million,
        json,
    } = Args::parse();
    sizes.extend(million.then_some(1_000_000));
    let mut all = Vec::new();
    for workloads in sizes {
        ensure!(workloads >= 1_000, "a thousand workloads are the fewest");
        eprintln!("{workloads} workloads");
        all.push(measure::measure(&agent, Mesh { workloads }).await?);
    }
    if json {
        println!("{}", report::json(&all));
    } else {
        print!("{}", report::table(&all));
    }
    Ok(())
}
