//! The parameter's file.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::ExpediteError;

const ON: &str = "1";
pub(super) const OFF: &str = "0";
/// Beside it, and stronger.
const NORMAL: &str = "rcu_normal";

#[derive(Debug)]
pub(super) struct Parameter {
    file: PathBuf,
}

impl Parameter {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
        }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// What is in the way of writing it, or makes that useless. Writes nothing.
    pub(super) fn look(&self) -> Result<(), ExpediteError> {
        self.is_off()?;
        // Opening is refused where the file system is read-only.
        let opened = OpenOptions::new().write(true).open(&self.file);
        opened.map_err(|source| self.failed("write", source))?;
        let file = self.file.with_file_name(NORMAL);
        match fs::read_to_string(&file) {
            Ok(value) if value.trim_end() == ON => Err(ExpediteError::Normal { file }),
            // Not every kernel has it.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Whoever has set it to anything else wants it so.
    pub(super) fn is_off(&self) -> Result<bool, ExpediteError> {
        Ok(self.read()? == OFF)
    }

    pub(super) fn set(&self, on: bool) -> Result<(), ExpediteError> {
        let value = if on { ON } else { OFF };
        // One byte over another: whoever reads meanwhile sees one of them.
        let file = OpenOptions::new().write(true).open(&self.file);
        let written = file.and_then(|mut file| file.write_all(value.as_bytes()));
        written.map_err(|source| self.failed("write", source))
    }

    /// From 1 to 0. What somebody has set meanwhile stays.
    pub(super) fn put_back(&self) -> Result<(), ExpediteError> {
        match self.read()? == ON {
            true => self.set(false),
            false => Ok(()),
        }
    }

    fn read(&self) -> Result<String, ExpediteError> {
        let read = fs::read_to_string(&self.file);
        let value = read.map_err(|source| self.failed("read", source))?;
        Ok(value.trim_end().to_owned())
    }

    fn failed(&self, verb: &'static str, source: io::Error) -> ExpediteError {
        ExpediteError::Parameter {
            verb,
            file: self.file.clone(),
            source,
        }
    }
}
