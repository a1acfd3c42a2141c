//! Lines to whoever started the machine.

use std::fs::{File, OpenOptions};
use std::io::Write as _;

use anyhow::{Context as _, Result};

/// The second serial port: the kernel's own messages go to the first one. Closing it waits until
/// all has gone out.
pub(crate) struct Report {
    port: File,
    path: String,
}

impl Report {
    pub(crate) fn open(path: String) -> Result<Self> {
        let port = OpenOptions::new().write(true).open(&path);
        let port = port.with_context(|| path.clone())?;
        Ok(Self { port, path })
    }

    /// One line; what would look like a field or a line of its own is a space.
    pub(crate) fn tell(&mut self, fields: &[&str]) -> Result<()> {
        let plain = |field: &&str| field.replace(|character: char| character.is_control(), " ");
        let line = fields.iter().map(plain).collect::<Vec<_>>().join("\t") + "\n";
        let written = self.port.write_all(line.as_bytes());
        written.with_context(|| self.path.clone())
    }
}
