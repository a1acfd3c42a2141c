//! What is needed to talk to istiod.

use std::path::Path;

use crate::config::{Transport, Xds};
use crate::kernel::features::{Finding, Outcome};

/// Looks, and connects to nothing.
pub(super) async fn findings(xds: &Xds) -> Vec<Finding> {
    let outcome = address(&xds.address).await;
    let mut findings = vec![Finding::new("istiod's address", outcome)];
    if let Transport::Tls { root_ca, .. } = &xds.transport {
        let outcome = file(root_ca, |text| {
            let count = text.matches("-----BEGIN CERTIFICATE-----").count();
            (count > 0)
                .then(|| format!("{count} certificates"))
                .ok_or("no certificate in it")
        });
        findings.push(
            Finding::new("istiod's root certificate", outcome).or(
                "mount the ConfigMap istio-ca-root-cert, which istiod puts into each namespace",
            ),
        );
    }
    if let Some(token) = &xds.token {
        let outcome = file(token, |text| {
            // It is not to be shown.
            (!text.trim().is_empty())
                .then(|| "readable".to_owned())
                .ok_or("empty")
        });
        findings.push(
            Finding::new("the token for istiod", outcome)
                .or("mount a projected service account token with the audience istio-ca"),
        );
    }
    findings
}

async fn address(address: &str) -> Outcome {
    match tokio::net::lookup_host(address).await {
        Ok(found) => {
            let found: Vec<String> = found.map(|one| one.to_string()).collect();
            Outcome::Works {
                detail: format!("{address}: {}", found.join(", ")),
            }
        }
        Err(error) => Outcome::Fails {
            reason: format!(
                "{address}: {error}; a pod in the host's network namespace finds names of the \
                 cluster with dnsPolicy ClusterFirstWithHostNet"
            ),
        },
    }
}

fn file(path: &Path, look: impl Fn(&str) -> Result<String, &'static str>) -> Outcome {
    let found = std::fs::read(path).map_err(|error| error.to_string());
    let found = found.and_then(|bytes| {
        let text = String::from_utf8_lossy(&bytes);
        look(&text).map_err(str::to_owned)
    });
    match found {
        Ok(detail) => Outcome::Works {
            detail: format!("{}: {detail}", path.display()),
        },
        Err(reason) => Outcome::Fails {
            reason: format!("{}: {reason}", path.display()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xds(root_ca: &Path, token: &Path, address: &str) -> Xds {
        Xds {
            address: address.to_owned(),
            transport: Transport::Tls {
                root_ca: root_ca.to_owned(),
                server_name: None,
            },
            token: Some(token.to_owned()),
            pod_name: "p".to_owned(),
            pod_namespace: "n".to_owned(),
            pod_ip: std::net::Ipv4Addr::LOCALHOST.into(),
            domain: "cluster.local".to_owned(),
            istio_version: None,
            pods: "/pods".into(),
        }
    }

    #[tokio::test]
    async fn what_is_missing_is_named() {
        let directory = std::env::temp_dir().join(format!("waysteer-check-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (root_ca, token) = (directory.join("root.pem"), directory.join("token"));
        std::fs::write(&root_ca, "-----BEGIN CERTIFICATE-----\n").unwrap();
        std::fs::write(&token, "secret\n").unwrap();
        let all = findings(&xds(&root_ca, &token, "127.0.0.1:15012")).await;
        assert!(
            all.len() == 3 && all.iter().all(|one| !one.is_failure()),
            "{all:?}"
        );
        assert!(!format!("{all:?}").contains("secret"));
        std::fs::write(&root_ca, "nothing").unwrap();
        std::fs::write(&token, "\n").unwrap();
        let all = findings(&xds(&root_ca, &token, "127.0.0.1")).await;
        assert!(all.iter().all(Finding::is_failure), "{all:?}");
        std::fs::remove_dir_all(&directory).unwrap();
        let all = findings(&xds(&root_ca, &token, "127.0.0.1:15012")).await;
        assert_eq!(all.iter().filter(|one| one.is_failure()).count(), 2);
    }
}
