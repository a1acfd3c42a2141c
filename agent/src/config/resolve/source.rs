//! The source: from what was given to what holds.

use std::path::PathBuf;

use super::{Paths, missing, not_empty, unused};
use crate::config::args::SourceArgs;
use crate::config::file::{FileSource, SourceKind};
use crate::config::{ConfigError, Source, Transport, Xds};

const ADDRESS: &str = "istiod.istio-system.svc:15012";
const ROOT_CA: &str = "/var/run/secrets/istio/root-cert.pem";
const TOKEN: &str = "/var/run/secrets/tokens/istio-token";
const NAMESPACE: &str = "istio-system";
const DOMAIN: &str = "cluster.local";

pub(super) fn resolve(
    paths: &Paths<'_>,
    file: FileSource,
    args: SourceArgs,
) -> Result<Source, ConfigError> {
    // Destructured in full, so that a new key cannot be forgotten here.
    let FileSource {
        kind,
        mesh,
        pods,
        address,
        root_ca,
        server_name,
        token,
        plaintext,
        pod_name,
        pod_namespace,
        pod_ip,
        domain,
        istio_version,
    } = file;
    let SourceArgs {
        source_kind,
        source_mesh,
        source_pods,
        source_address,
        source_root_ca,
        source_server_name,
        source_token,
        source_plaintext,
        source_pod_name,
        source_pod_namespace,
        source_pod_ip,
        source_domain,
        source_istio_version,
    } = args;
    let mesh = paths.either(source_mesh, mesh);
    let pods = paths.either(source_pods, pods);
    let given = Given {
        address: source_address.or(address),
        root_ca: paths.either(source_root_ca, root_ca),
        server_name: source_server_name.or(server_name),
        token: paths.either(source_token, token),
        plaintext: source_plaintext.or(plaintext),
        pod_name: source_pod_name.or(pod_name),
        pod_namespace: source_pod_namespace.or(pod_namespace),
        pod_ip: source_pod_ip.or(pod_ip),
        domain: source_domain.or(domain),
        istio_version: source_istio_version.or(istio_version),
    };
    match source_kind.or(kind).unwrap_or(SourceKind::File) {
        SourceKind::File => {
            given.refuse()?;
            Ok(Source::File {
                mesh: mesh.ok_or_else(|| missing("source.mesh"))?,
                pods: pods.ok_or_else(|| missing("source.pods"))?,
            })
        }
        SourceKind::Xds => {
            unused("source.kind = \"xds\"", "source.mesh", mesh)?;
            let pods = pods.ok_or_else(|| missing("source.pods"))?;
            Ok(Source::Xds(given.accept(pods)?))
        }
    }
}

/// What only xDS needs.
struct Given {
    address: Option<String>,
    root_ca: Option<PathBuf>,
    server_name: Option<String>,
    token: Option<PathBuf>,
    plaintext: Option<bool>,
    pod_name: Option<String>,
    pod_namespace: Option<String>,
    pod_ip: Option<std::net::IpAddr>,
    domain: Option<String>,
    istio_version: Option<String>,
}

impl Given {
    /// Nothing of it may be there.
    fn refuse(self) -> Result<(), ConfigError> {
        let other = "source.kind = \"file\"";
        unused(other, "source.address", self.address)?;
        unused(other, "source.root_ca", self.root_ca)?;
        unused(other, "source.server_name", self.server_name)?;
        unused(other, "source.token", self.token)?;
        unused(other, "source.plaintext", self.plaintext)?;
        unused(other, "source.pod_name", self.pod_name)?;
        unused(other, "source.pod_namespace", self.pod_namespace)?;
        unused(other, "source.pod_ip", self.pod_ip)?;
        unused(other, "source.domain", self.domain)?;
        unused(other, "source.istio_version", self.istio_version)
    }

    fn accept(self, pods: PathBuf) -> Result<Xds, ConfigError> {
        let or = |key, value: Option<String>, default: &str| {
            name(key, value.unwrap_or_else(|| default.to_owned()))
        };
        let pod_name = self.pod_name.ok_or_else(|| missing("source.pod_name"))?;
        let (transport, token) = if self.plaintext.unwrap_or(false) {
            let other = "source.plaintext = true";
            unused(other, "source.root_ca", self.root_ca)?;
            unused(other, "source.server_name", self.server_name)?;
            (Transport::Plaintext, self.token)
        } else {
            let root_ca = self.root_ca.unwrap_or_else(|| PathBuf::from(ROOT_CA));
            let server_name = self.server_name;
            let server_name = server_name.map(|name| not_empty("source.server_name", name));
            let transport = Transport::Tls {
                root_ca,
                server_name: server_name.transpose()?,
            };
            let token = self.token.unwrap_or_else(|| PathBuf::from(TOKEN));
            (transport, Some(token))
        };
        Ok(Xds {
            address: address(self.address.unwrap_or_else(|| ADDRESS.to_owned()))?,
            transport,
            token,
            pod_name: name("source.pod_name", pod_name)?,
            pod_namespace: or("source.pod_namespace", self.pod_namespace, NAMESPACE)?,
            pod_ip: self.pod_ip.ok_or_else(|| missing("source.pod_ip"))?,
            domain: or("source.domain", self.domain, DOMAIN)?,
            istio_version: self.istio_version.filter(|version| !version.is_empty()),
            pods,
        })
    }
}

/// A part of the name that the agent goes by at istiod, whose parts are separated by `~`.
fn name(key: &'static str, text: String) -> Result<String, ConfigError> {
    let text = not_empty(key, text)?;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    match text.bytes().all(is_part) {
        true => Ok(text),
        false => Err(ConfigError::Invalid {
            key,
            value: text,
            expected: "a name of letters, digits, dots and dashes",
        }),
    }
}

/// A host and a port, and nothing else.
fn address(text: String) -> Result<String, ConfigError> {
    let parsed = format!("http://{text}").parse::<http::Uri>();
    let authority = parsed.ok().and_then(|uri| {
        let is_bare = uri.authority().is_some_and(|whole| whole.as_str() == text);
        uri.into_parts().authority.filter(|_| is_bare)
    });
    let is_complete = authority.is_some_and(|found| {
        let has_port = found.port_u16().is_some_and(|port| port != 0);
        has_port && !found.host().is_empty() && !text.contains('@')
    });
    match is_complete {
        true => Ok(text),
        false => Err(ConfigError::Invalid {
            key: "source.address",
            value: text,
            expected: "HOST:PORT",
        }),
    }
}
