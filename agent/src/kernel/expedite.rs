//! Short grace periods while programs are attached and taken off.
//!
//! Each of these waits for a grace period of RCU under the one lock of all network configuration
//! (`tcx_entry_sync`, Linux 6.6): two ticks on an idle node, more on a busy one. While
//! `/sys/kernel/rcu_expedited` is 1 the kernel interrupts all processors instead, and is done in less
//! than a millisecond. That is the whole node's, so it is 1 no longer than needed, and what it was is
//! written down first (`ledger`): who is killed in between leaves nothing behind for good.
//!
//! Another agent may do the same. Who finds 1 changes nothing, so who found 0 may put that back under
//! the other's hands, who is slow then, and no worse.

mod ledger;
mod parameter;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use thiserror::Error;

pub use self::ledger::{Debt, debt, put_back};
use self::ledger::{Ledger, PinnedLedger};
use self::parameter::Parameter;
use super::pins::{PinError, PinRoot};
use crate::error::chain;

/// What to do where that is not possible.
pub const REMEDY: &str = "mount the node's /sys/kernel/rcu_expedited into the container, writable, \
     and leave rcu_normal at 0; or set expedite_rcu = false";

/// Makes grace periods short for as long as somebody asks for it.
#[derive(Debug)]
pub struct Expediter {
    /// `None` where they stay as they are.
    means: Option<Means>,
    use_: Mutex<Use>,
}

#[derive(Debug)]
struct Means {
    parameter: Parameter,
    ledger: Box<dyn Ledger>,
}

#[derive(Debug, Default)]
struct Use {
    holders: usize,
    /// It was 0, and is 1 by us.
    is_changed: bool,
    /// That it does not work.
    is_told: bool,
}

/// Grace periods are short until it is dropped, as far as that is possible.
#[derive(Debug)]
pub struct Hold<'a>(&'a Expediter);

#[derive(Debug, Error)]
pub enum ExpediteError {
    #[error("cannot {verb} {}", file.display())]
    Parameter {
        verb: &'static str,
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is 1: the kernel expedites nothing", file.display())]
    Normal { file: PathBuf },
    #[error("cannot write down that {} is changed", file.display())]
    Ledger {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot read what is written down at {}", path.display())]
    Debt {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Pins(#[from] PinError),
}

impl Expediter {
    /// Puts back what an earlier agent has left changed. With a file, goes on to change it; what is
    /// in the way of that is logged, and everything takes longer.
    pub fn open(root: &PinRoot, file: Option<&Path>) -> Self {
        match put_back(root) {
            Ok(None) => {}
            Ok(Some(Debt { file, before })) => tracing::info!(
                file = %file.display(),
                before,
                "put back what an earlier agent had changed"
            ),
            // What is written down must not be lost by writing something else.
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "a kernel parameter stays changed");
                return Self::new(None);
            }
        }
        let Some(file) = file else {
            return Self::new(None);
        };
        let parameter = Parameter::new(file);
        let means = match PinnedLedger::new(root, &parameter) {
            Ok(ledger) => Some(Means {
                parameter,
                ledger: Box::new(ledger),
            }),
            Err(error) => {
                tell(&error);
                None
            }
        };
        let expediter = Self::new(means);
        // What is in the way is told at the start, and not with the first pod.
        if let Some(Means { parameter, .. }) = &expediter.means
            && let Err(error) = parameter.look()
        {
            tell(&error);
            expediter.lock().is_told = true;
        }
        expediter
    }

    fn new(means: Option<Means>) -> Self {
        Self {
            means,
            use_: Mutex::default(),
        }
    }

    /// May be called while others hold it. Never fails: without it all is only slower.
    pub fn hold(&self) -> Hold<'_> {
        let mut use_ = self.lock();
        use_.holders += 1;
        if let Some(means) = &self.means
            && use_.holders == 1
            && !use_.is_changed
        {
            match means.begin() {
                Ok(is_changed) => use_.is_changed = is_changed,
                Err(error) => use_.tell(&error),
            }
        }
        Hold(self)
    }

    fn lock(&self) -> MutexGuard<'_, Use> {
        self.use_.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the file can be used as it is meant to be, for `waysteer check`.
///
/// # Errors
/// Why not.
pub fn check(file: &Path) -> Result<(), ExpediteError> {
    Parameter::new(file).look()
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let Self(expediter) = self;
        let mut use_ = expediter.lock();
        use_.holders = use_.holders.saturating_sub(1);
        if let Some(means) = &expediter.means
            && use_.holders == 0
            && use_.is_changed
        {
            match means.end() {
                Ok(()) => use_.is_changed = false,
                // It stays written down, and the next one tries again.
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(error, "a kernel parameter stays changed");
                }
            }
        }
    }
}

impl Means {
    /// Whether anything was changed.
    fn begin(&self) -> Result<bool, ExpediteError> {
        self.parameter.look()?;
        if !self.parameter.is_off()? {
            return Ok(false);
        }
        self.ledger.enter()?;
        if let Err(error) = self.parameter.set(true) {
            self.ledger.strike()?;
            return Err(error);
        }
        Ok(true)
    }

    fn end(&self) -> Result<(), ExpediteError> {
        self.parameter.put_back()?;
        self.ledger.strike()
    }
}

impl Use {
    fn tell(&mut self, error: &ExpediteError) {
        if !self.is_told {
            self.is_told = true;
            tell(error);
        }
    }
}

fn tell(error: &ExpediteError) {
    let error = chain(error);
    tracing::warn!(
        error,
        "grace periods are not expedited: enrolling pods takes longer, see waysteer check"
    );
}
