//! Lines to whoever started the machine.

use std::fs::{File, OpenOptions};
use std::io::Write as _;

use anyhow::{Context as _, Result};

/// The kernel's own messages go to the first one.
const PORT: &str = "/dev/ttyS1";

/// The second serial port. Closing it waits until all has gone out.
pub(crate) struct Report {
    port: File,
}

impl Report {
    pub(crate) fn open() -> Result<Self> {
        let port = OpenOptions::new().write(true).open(PORT).context(PORT)?;
        Ok(Self { port })
    }

    /// One line; what would look like a field or a line of its own is a space.
    pub(crate) fn tell(&mut self, fields: &[&str]) -> Result<()> {
        let plain = |field: &&str| field.replace(|character: char| character.is_control(), " ");
        let line = fields.iter().map(plain).collect::<Vec<_>>().join("\t") + "\n";
        self.port.write_all(line.as_bytes()).context(PORT)
    }
}
