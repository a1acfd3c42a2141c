//! SPIFFE identities in the one shape that the mesh uses.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

const SCHEME: &str = "spiffe://";

/// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
///
/// Cheap to clone: it is part of every pool key and every request.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    /// The whole URI. It was validated when it was made, so its parts can be cut out of it.
    uri: Arc<str>,
}

/// Why a text is not an identity of this mesh.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("{uri:?} is not a SPIFFE identity: it does not start with spiffe://")]
    Scheme { uri: String },
    #[error(
        "{uri:?} is not a workload identity: expected spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT"
    )]
    Shape { uri: String },
    #[error("{uri:?} has an invalid {part}: {value:?} (letters, digits, '.', '-' and '_' only)")]
    Part {
        uri: String,
        part: &'static str,
        value: String,
    },
}

impl SpiffeId {
    /// The identity of a service account.
    pub fn new(
        trust_domain: &str,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, IdentityError> {
        format!("{SCHEME}{trust_domain}/ns/{namespace}/sa/{service_account}").parse()
    }

    /// The URI, as it stands in the certificate.
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// The URI without its scheme: the form in which policies name principals.
    pub fn principal(&self) -> &str {
        self.uri.strip_prefix(SCHEME).unwrap_or_default()
    }

    pub fn trust_domain(&self) -> &str {
        self.part(0)
    }

    pub fn namespace(&self) -> &str {
        self.part(2)
    }

    pub fn service_account(&self) -> &str {
        self.part(4)
    }

    fn part(&self, index: usize) -> &str {
        self.principal().split('/').nth(index).unwrap_or_default()
    }
}

impl FromStr for SpiffeId {
    type Err = IdentityError;

    fn from_str(uri: &str) -> Result<Self, Self::Err> {
        let path = uri
            .strip_prefix(SCHEME)
            .ok_or_else(|| IdentityError::Scheme { uri: uri.into() })?;
        let parts: Vec<&str> = path.split('/').collect();
        let [trust_domain, "ns", namespace, "sa", service_account] = parts[..] else {
            return Err(IdentityError::Shape { uri: uri.into() });
        };
        for (part, value) in [
            ("trust domain", trust_domain),
            ("namespace", namespace),
            ("service account", service_account),
        ] {
            if value.is_empty() || !value.bytes().all(is_allowed) {
                return Err(IdentityError::Part {
                    uri: uri.into(),
                    part,
                    value: value.into(),
                });
            }
        }
        Ok(Self { uri: uri.into() })
    }
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_valid_identity() {
        let id: SpiffeId = "spiffe://cluster.local/ns/demo/sa/way-point_1"
            .parse()
            .unwrap();
        assert_eq!(id.trust_domain(), "cluster.local");
        assert_eq!(id.namespace(), "demo");
        assert_eq!(id.service_account(), "way-point_1");
        assert_eq!(id.principal(), "cluster.local/ns/demo/sa/way-point_1");
        assert_eq!(id.to_string(), id.as_str());
        assert_eq!(
            SpiffeId::new("cluster.local", "demo", "way-point_1"),
            Ok(id)
        );
    }

    #[test]
    fn what_is_not_an_identity_is_refused_with_its_reason() {
        for (text, reason) in [
            ("", "does not start with spiffe://"),
            ("https://td/ns/a/sa/b", "does not start with spiffe://"),
            ("spiffe://td", "expected spiffe://"),
            ("spiffe://td/ns/a/sa", "expected spiffe://"),
            ("spiffe://td/ns/a/sa/b/", "expected spiffe://"),
            ("spiffe://td/ns/a/sa/b/c", "expected spiffe://"),
            ("spiffe://td/sa/a/ns/b", "expected spiffe://"),
            ("spiffe:///ns/a/sa/b", "invalid trust domain"),
            ("spiffe://td/ns//sa/b", "invalid namespace"),
            ("spiffe://td/ns/a/sa/", "invalid service account"),
            ("spiffe://td/ns/a b/sa/c", "invalid namespace"),
            ("spiffe://td/ns/a/sa/b?x=1", "invalid service account"),
        ] {
            let error = text.parse::<SpiffeId>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }
}
