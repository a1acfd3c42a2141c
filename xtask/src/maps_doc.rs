//! `cargo xtask maps-doc`: docs/maps.md, from the sources of the ABI and of the maps.
//!
//! The sources are read as text. They are formatted, and regular; what is not understood is an
//! error and never left out.

mod maps;
mod notes;
mod page;
mod types;

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::workspace;
use types::Abi;

/// What is generated.
pub(crate) const PAGE: &str = "docs/maps.md";

const MAPS: &str = "ebpf/src/maps.rs";

/// Where the layouts and numbers are defined, in the order of the page.
const ABI: &[&str] = &[
    "common/src/abi/names.rs",
    "common/src/abi/settings.rs",
    "common/src/abi/pod.rs",
    "common/src/abi/key.rs",
    "common/src/abi/value.rs",
    "common/src/abi/event.rs",
    "common/src/verdict.rs",
];

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Only compares, and fails when the page is not current
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let read = |path: &str| fs::read_to_string(workspace::root().join(path)).ok();
    let page = generate(&read)?;
    if args.check {
        ensure!(
            read(PAGE).is_some_and(|written| written == page),
            "{PAGE} is not current: run `cargo xtask maps-doc`"
        );
    } else if read(PAGE).is_none_or(|written| written != page) {
        fs::write(workspace::root().join(PAGE), &page)
            .with_context(|| format!("{PAGE} could not be written"))?;
        println!("{PAGE} written");
    }
    Ok(())
}

/// The page as it should be; `read` gives the text of a file of the workspace.
pub(crate) fn generate(read: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    let text = |path: &str| read(path).with_context(|| format!("{path} could not be read"));
    let mut abi = Abi::default();
    for path in ABI {
        abi.read(&text(path)?)
            .with_context(|| format!("{path} is not as expected"))?;
    }
    let maps =
        maps::parse(&text(MAPS)?, &abi).with_context(|| format!("{MAPS} is not as expected"))?;
    page::render(&abi, &maps)
}
