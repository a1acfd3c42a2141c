//! Completions and man pages, from the definition of the command line itself.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;

const NAME: &str = "waysteer";

#[derive(Debug, thiserror::Error)]
pub enum ManualError {
    #[error("cannot print the completions")]
    Print(#[source] io::Error),
    #[error("cannot write man pages to {}", directory.display())]
    Write {
        directory: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Prints the completions for a shell.
///
/// # Errors
/// When standard output cannot be written.
pub fn completions(shell: Shell) -> Result<(), ManualError> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut text);
    io::stdout().write_all(&text).map_err(ManualError::Print)
}

/// Writes `waysteer.1`, and a page for each command, to a directory, which is made where there is
/// none.
///
/// # Errors
/// When they cannot be written there.
pub fn pages(directory: &Path) -> Result<(), ManualError> {
    let written = std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), directory));
    written.map_err(|source| ManualError::Write {
        directory: directory.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_command_has_a_page() {
        let directory = std::env::temp_dir().join(format!("waysteer-man-{}", std::process::id()));
        pages(&directory).expect("pages");
        let page = |name: &str| std::fs::read_to_string(directory.join(name)).expect("a page");
        assert!(page("waysteer.1").contains("ambient mesh"));
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(
                page(&format!("waysteer-{name}.1")).contains(".TH"),
                "{name}"
            );
        }
        std::fs::remove_dir_all(&directory).expect("removed");
    }
}
