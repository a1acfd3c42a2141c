//! `waysteer check`: whether this kernel, these privileges and this configuration are enough, a line
//! each.

mod xds;
mod ztunnel;

use std::path::Path;

use anyhow::bail;

use crate::ask;
use crate::cli::CheckArgs;
use crate::config::{
    Config, ConfigArgs, ConfigError, EXPEDITE_RCU_FILE, PIN_ROOT, Source, SourceArgs, Tunnel,
};
use crate::error::chain;
use crate::kernel::features::{self, Asked, Finding, Outcome};
use crate::show;

/// Prints what was found: of the kernel always, of what a configuration asks for where there is one.
///
/// # Errors
/// When something that is needed is missing.
pub async fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let CheckArgs {
        json,
        config,
        settings,
    } = args;
    // Most who ask about a kernel have no configuration yet.
    let is_configured = config.is_some() || settings.source != SourceArgs::default();
    let config = is_configured.then(|| Config::load(config.as_deref(), settings));
    let (asked, pin_root) = match &config {
        Some(Ok(config)) => {
            let asked = Asked {
                object: None,
                cgroup: config.cgroup.given(),
                expedite: config.expedite_rcu.file(),
            };
            (asked, config.pin_root.as_path())
        }
        Some(Err(_)) | None => unconfigured(settings),
    };
    let mut findings = features::check(asked, pin_root);
    if let Some(config) = &config {
        findings.extend(of_configuration(config).await);
    }
    if *json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        anstream::print!("{}", show::findings(&findings, ask::width()));
    }
    let failures = findings.iter().filter(|finding| finding.is_failure());
    match failures.count() {
        0 => Ok(()),
        count => bail!(
            "{count} of {} things that are needed are missing",
            findings.len()
        ),
    }
}

fn unconfigured(settings: &ConfigArgs) -> (Asked<'_>, &Path) {
    let file = settings.expedite_rcu_file.as_deref();
    let file = file.unwrap_or(Path::new(EXPEDITE_RCU_FILE));
    let asked = Asked {
        object: None,
        cgroup: settings.cgroup.as_deref(),
        expedite: settings.expedite_rcu.unwrap_or(true).then_some(file),
    };
    let pin_root = settings.pin_root.as_deref();
    (asked, pin_root.unwrap_or(Path::new(PIN_ROOT)))
}

async fn of_configuration(config: &Result<Config, ConfigError>) -> Vec<Finding> {
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            let reason = chain(error);
            let wrong = Finding::new("configuration", Outcome::Fails { reason });
            return vec![wrong.or("`waysteer run --help` has every key")];
        }
    };
    let mut findings = match &config.source {
        Source::Xds(xds) => xds::findings(xds).await,
        // Files may come later, and the agent says what is wrong with them.
        Source::File { .. } => Vec::new(),
    };
    if let Tunnel::Ztunnel { socket } = &config.tunnel {
        findings.push(ztunnel::finding(socket, &config.admin.socket));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wrong_configuration_is_one_of_the_findings() {
        let missing = Path::new("/nowhere/waysteer.toml");
        let config = Config::load(Some(missing), &ConfigArgs::default());
        let found = of_configuration(&config).await;
        let [finding] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert!(finding.is_failure());
        assert!(format!("{finding:?}").contains("/nowhere/waysteer.toml"));
    }
}
