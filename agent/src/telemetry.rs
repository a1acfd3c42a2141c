//! Logging: to standard error, as text or JSON, with a filter that can be changed while it runs.

mod limit;

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use self::limit::Limit;
pub use self::limit::suppressed;
use crate::config::LogFormat;

/// What the data path logs, a line a connection, is counted and limited under this target.
pub const VERDICT: &str = "waysteer::verdict";

static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    #[error("no filter: {0}")]
    Parse(#[from] ParseError),
    #[error("logging has not started")]
    NotStarted,
    #[error("the filter cannot be changed")]
    Reload(#[from] reload::Error),
}

/// Starts logging.
///
/// # Errors
/// When the filter is not one.
pub fn start(filter: &str, format: LogFormat) -> Result<(), ParseError> {
    let (filter, handle) = reload::Layer::new(filter.parse::<EnvFilter>()?);
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let started = tracing_subscriber::registry()
        .with(filter)
        .with(lines.with_filter(Limit::default()))
        .try_init();
    // A second start, in tests, changes nothing.
    if started.is_ok() {
        let _ = FILTER.set(handle);
    }
    Ok(())
}

/// The filter that is used now.
///
/// # Errors
/// When logging has not started.
pub fn filter() -> Result<String, FilterError> {
    let handle = FILTER.get().ok_or(FilterError::NotStarted)?;
    Ok(handle.with_current(ToString::to_string)?)
}

/// Uses another one from now on, until the process ends.
///
/// # Errors
/// When it is not one; then all stays as it is.
pub fn set_filter(filter: &str) -> Result<(), FilterError> {
    let filter = filter.parse::<EnvFilter>()?;
    let handle = FILTER.get().ok_or(FilterError::NotStarted)?;
    Ok(handle.reload(filter)?)
}
