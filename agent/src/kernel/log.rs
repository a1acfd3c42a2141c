//! What the kernel programs log: rare failures, for debugging. Facts are counters.

use std::io;

use aya::Ebpf;
use aya_log::{EbpfLogger, Level};
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

/// What is logged at all; fixed when the programs are loaded, so that the verifier removes the
/// rest.
pub(super) const LEVEL: Level = Level::Warn;
/// The global that holds it.
pub(super) const LEVEL_GLOBAL: &str = aya_log::LEVEL;

#[derive(Debug, Error)]
#[error("cannot read what the kernel programs log")]
pub struct LogError(#[source] aya_log::Error);

/// The programs' log, passed on to the agent's own.
pub struct KernelLog {
    logger: EbpfLogger<&'static dyn log::Log>,
}

impl std::fmt::Debug for KernelLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelLog").finish_non_exhaustive()
    }
}

impl KernelLog {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, LogError> {
        Ok(Self {
            logger: EbpfLogger::init(ebpf).map_err(LogError)?,
        })
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) -> io::Result<()> {
        // SAFETY: the logger owns its ring's descriptor and keeps it open as long as it lives.
        let mut ring = unsafe { AsyncFd::register_with_interest(self.logger, Interest::READABLE) }?;
        loop {
            let mut ready = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                ready = ring.readable_mut() => ready?,
            };
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    }
}
