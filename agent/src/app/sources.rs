//! Starts what says which mesh and which pods there are.

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::AppError;
use crate::config::{Config, Source, Transport, Xds};
use crate::source::Event;
use crate::source::file::FileSource;
use crate::source::xds::{NodeIdentity, XdsLimits, XdsOptions, XdsSource, XdsStats, XdsTls};

/// Starts all of them; with istiod comes what its connection tells about itself.
pub(super) fn start(
    config: &Config,
    tasks: &mut JoinSet<Result<(), AppError>>,
    changes: mpsc::Sender<Event>,
    stop: CancellationToken,
) -> Option<XdsStats> {
    match &config.source {
        Source::File { mesh, pods } => {
            let source = FileSource::new(mesh, pods);
            tasks.spawn(async move { Ok(source.run(changes, stop).await?) });
            None
        }
        Source::Xds(xds) => {
            let stats = XdsStats::default();
            let source = XdsSource::new(options(config, xds), stats.clone());
            let (to, until) = (changes.clone(), stop.clone());
            tasks.spawn(async move {
                source.run(to, until).await;
                Ok(())
            });
            let pods = FileSource::pods(&xds.pods);
            tasks.spawn(async move { Ok(pods.run(changes, stop).await?) });
            Some(stats)
        }
    }
}

fn options(config: &Config, xds: &Xds) -> XdsOptions {
    // Destructured in full, so that a new key cannot be forgotten here.
    let Xds {
        address,
        transport,
        token,
        pod_name,
        pod_namespace,
        pod_ip,
        domain,
        istio_version,
        pods: _,
    } = xds.clone();
    let tls = match transport {
        Transport::Plaintext => None,
        Transport::Tls {
            root_ca,
            server_name,
        } => Some(XdsTls {
            root_ca,
            server_name,
        }),
    };
    XdsOptions {
        address,
        tls,
        token,
        node: NodeIdentity {
            ip: pod_ip.to_string(),
            pod: pod_name,
            namespace: pod_namespace,
            domain,
            node: config.node.clone(),
            cluster_id: config.cluster_id.clone(),
            istio_version,
        },
        limits: XdsLimits::default(),
    }
}
