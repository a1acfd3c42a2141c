//! What istiod has told, as far as the protocol needs it: names, versions and what was refused.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use prost::Message;

use super::intern::Interner;
use super::proto::authorization::Authorization;
use super::proto::discovery::{DeltaDiscoveryResponse, Resource};
use super::proto::workload::{Address, address};
use super::{convert, policy};
use crate::model::{Delta, NamespacedName, Policy, PolicyScope, Rejection, Uid};

pub const ADDRESS: &str = "type.googleapis.com/istio.workload.Address";
pub const AUTHORIZATION: &str = "type.googleapis.com/istio.security.Authorization";

/// The subscribed types, in the order of the first requests.
pub(super) const TYPES: [&str; 2] = [ADDRESS, AUTHORIZATION];

/// Of all connections so far: from messages to changes of the mesh, without any I/O.
#[derive(Debug, Default)]
pub struct XdsState {
    address: Resources,
    authorization: Resources,
    names: Interner,
}

#[derive(Debug, Default)]
struct Resources {
    known: HashMap<String, Known>,
    rejected: BTreeMap<String, Rejected>,
    /// What is wrong with the last version of a resource.
    errors: BTreeMap<String, String>,
    /// A response has come, so everything has been told at least once.
    told: bool,
}

/// The last good version of a resource.
#[derive(Debug)]
struct Known {
    name: Name,
    version: String,
    addresses: Box<[IpAddr]>,
}

/// What the model calls a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Workload(Uid),
    Service(NamespacedName),
    Policy(NamespacedName),
}

#[derive(Debug)]
struct Rejected {
    /// Where there is more than the last good version has.
    rejection: Option<Rejection>,
    /// For a policy: what it says is not known.
    stand_in: Option<NamespacedName>,
}

/// One resource that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub resource: String,
    pub error: String,
}

/// What a response comes to.
#[derive(Debug)]
pub struct Response {
    pub delta: Delta,
    pub refused: Vec<Refused>,
}

impl XdsState {
    /// What a new connection begins with: the version of everything that is known of a type.
    pub(super) fn versions(&self, type_url: &str) -> HashMap<String, String> {
        let Some(Resources {
            known, rejected, ..
        }) = self.of(type_url)
        else {
            return HashMap::new();
        };
        // What has no good version is told again, or that it is gone.
        let rejected = rejected.keys().map(|name| (name.clone(), String::new()));
        let known = known
            .iter()
            .map(|(name, known)| (name.clone(), known.version.clone()));
        rejected.chain(known).collect()
    }

    /// What is wrong at present: resource and error.
    pub(super) fn errors(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = [&self.address.errors, &self.authorization.errors];
        let all = all.into_iter().flatten();
        all.map(|(name, error)| (name.as_str(), error.as_str()))
    }

    /// How many resources of a type have a good version, and how many are wrong.
    pub(super) fn count(&self, type_url: &str) -> (usize, usize) {
        let resources = self.of(type_url);
        resources.map_or((0, 0), |of| (of.known.len(), of.errors.len()))
    }

    /// Takes a response; `None` where its type was not asked for.
    pub fn take(&mut self, response: DeltaDiscoveryResponse) -> Option<Response> {
        let DeltaDiscoveryResponse {
            resources,
            removed_resources,
            type_url,
            ..
        } = response;
        let mut delta = Delta::default();
        let mut refused = Vec::new();
        let Self {
            address,
            authorization,
            names,
        } = self;
        let table = match type_url.as_str() {
            ADDRESS => address,
            AUTHORIZATION => authorization,
            _ => return None,
        };
        table.told = true;
        // One name may be told twice; the last counts.
        for name in removed_resources {
            table.remove(&name, &mut delta);
        }
        for resource in resources {
            let name = resource.name.clone();
            let read = match type_url.as_str() {
                ADDRESS => read_address(&resource, names),
                _ => read_policy(&resource),
            };
            match read {
                Ok(accepted) => table.accept(name, resource.version, accepted, &mut delta),
                Err(unreadable) => {
                    refused.push(Refused {
                        resource: name.clone(),
                        error: unreadable.error.clone(),
                    });
                    table.reject(name, &type_url, unreadable, &mut delta);
                }
            }
        }
        let rejected = [&self.address, &self.authorization];
        let rejected = rejected
            .into_iter()
            .flat_map(|table| table.rejected.values());
        delta.rejected = rejected
            .filter_map(|rejected| rejected.rejection.clone())
            .collect();
        delta.doubted = self.address.doubted();
        delta.complete = self.address.told && self.authorization.told;
        Some(Response { delta, refused })
    }

    fn of(&self, type_url: &str) -> Option<&Resources> {
        match type_url {
            ADDRESS => Some(&self.address),
            AUTHORIZATION => Some(&self.authorization),
            _ => None,
        }
    }
}

enum Accepted {
    Workload(Box<crate::model::Workload>),
    Service(Box<crate::model::Service>),
    Policy(Policy),
}

struct Unreadable {
    error: String,
    addresses: Vec<IpAddr>,
    addresses_unknown: bool,
}

impl Resources {
    fn accept(&mut self, resource: String, version: String, accepted: Accepted, delta: &mut Delta) {
        self.forget_rejection(&resource, delta);
        let (name, addresses) = match &accepted {
            Accepted::Workload(workload) => (
                Name::Workload(workload.uid.clone()),
                workload.addresses.clone(),
            ),
            Accepted::Service(service) => (
                Name::Service(service.hostname.clone()),
                service.vips.iter().map(|vip| vip.address).collect(),
            ),
            Accepted::Policy(policy) => (Name::Policy(policy.name.clone()), Vec::new()),
        };
        let known = Known {
            name,
            version,
            addresses: addresses.into(),
        };
        let name = known.name.clone();
        if let Some(before) = self.known.insert(resource, known)
            && before.name != name
        {
            remove(before.name, delta);
        }
        match accepted {
            Accepted::Workload(workload) => delta.workloads.push(workload),
            Accepted::Service(service) => delta.services.push(*service),
            Accepted::Policy(policy) => delta.policies.push(policy),
        }
    }

    /// The last good version stays; what it had not, or what has none, is steered. But what was
    /// refused may forbid what the last good version allows: see [`Delta::doubted`].
    fn reject(&mut self, resource: String, type_url: &str, from: Unreadable, delta: &mut Delta) {
        self.forget_rejection(&resource, delta);
        self.errors.insert(resource.clone(), from.error.clone());
        let Unreadable {
            error,
            mut addresses,
            mut addresses_unknown,
        } = from;
        let mut is_told_apart = true;
        if let Some(known) = self.known.get(&resource) {
            addresses.retain(|address| !known.addresses.contains(address));
            addresses_unknown = false;
            is_told_apart = !addresses.is_empty();
        }
        let mut stand_in = None;
        if type_url == AUTHORIZATION {
            let name = NamespacedName::new("", format!("{resource}, which was refused"));
            let policy = Policy::unreadable(name.clone(), PolicyScope::Global);
            delta.policies.push(policy);
            stand_in = Some(name);
        }
        let rejection = Rejection {
            entry: format!("resource {resource}"),
            error,
            addresses,
            addresses_unknown: addresses_unknown && type_url == ADDRESS,
        };
        let rejected = Rejected {
            rejection: is_told_apart.then_some(rejection),
            stand_in,
        };
        self.rejected.insert(resource, rejected);
    }

    /// The addresses of workloads that are not as they were told last.
    fn doubted(&self) -> BTreeSet<IpAddr> {
        let known = self.errors.keys().filter_map(|name| self.known.get(name));
        let workloads = known.filter(|known| matches!(known.name, Name::Workload(_)));
        let addresses = workloads.flat_map(|known| &known.addresses);
        addresses.copied().collect()
    }

    fn remove(&mut self, resource: &str, delta: &mut Delta) {
        self.forget_rejection(resource, delta);
        if let Some(known) = self.known.remove(resource) {
            remove(known.name, delta);
        }
    }

    fn forget_rejection(&mut self, resource: &str, delta: &mut Delta) {
        self.errors.remove(resource);
        let rejected = self.rejected.remove(resource);
        if let Some(stand_in) = rejected.and_then(|rejected| rejected.stand_in) {
            delta.policies.retain(|policy| policy.name != stand_in);
            delta.removed_policies.push(stand_in);
        }
    }
}

fn remove(name: Name, delta: &mut Delta) {
    match name {
        Name::Workload(uid) => delta.removed_workloads.push(uid),
        Name::Service(name) => delta.removed_services.push(name),
        Name::Policy(name) => delta.removed_policies.push(name),
    }
}

fn read_address(resource: &Resource, names: &mut Interner) -> Result<Accepted, Unreadable> {
    let unreadable = |error: String| Unreadable {
        error,
        addresses: Vec::new(),
        addresses_unknown: true,
    };
    let message: Address = decode(resource, ADDRESS).map_err(unreadable)?;
    let Some(found) = message.r#type else {
        let error = "neither a workload nor a service".to_owned();
        return Err(unreadable(error));
    };
    let (addresses, addresses_unknown) = convert::addresses(&found);
    let accepted = match found {
        address::Type::Workload(workload) => convert::workload(workload, names)
            .map(Box::new)
            .map(Accepted::Workload),
        address::Type::Service(service) => convert::service(service, names)
            .map(Box::new)
            .map(Accepted::Service),
    };
    let accepted = accepted.map_err(|error| error.to_string());
    let named = accepted.and_then(|accepted| named(resource, accepted));
    named.map_err(|error| Unreadable {
        error,
        addresses,
        addresses_unknown,
    })
}

/// A removal says the resource's name only, and others refer to what is in it: it must be the same.
fn named(resource: &Resource, accepted: Accepted) -> Result<Accepted, String> {
    let name = match &accepted {
        Accepted::Workload(workload) => workload.uid.to_string(),
        Accepted::Service(service) => service.hostname.to_string(),
        Accepted::Policy(policy) => policy.name.to_string(),
    };
    match name == resource.name {
        true => Ok(accepted),
        false => Err(format!("what is in it is called {name:?}")),
    }
}

fn read_policy(resource: &Resource) -> Result<Accepted, Unreadable> {
    let message: Result<Authorization, String> = decode(resource, AUTHORIZATION);
    let policy = message.map(|message| {
        let length = resource.resource.as_ref().map_or(0, |any| any.value.len());
        Accepted::Policy(policy::policy(message, length))
    });
    let named = policy.and_then(|policy| named(resource, policy));
    named.map_err(|error| Unreadable {
        error,
        addresses: Vec::new(),
        addresses_unknown: false,
    })
}

fn decode<M: Message + Default>(resource: &Resource, type_url: &str) -> Result<M, String> {
    let any = resource.resource.as_ref().ok_or("it is empty")?;
    if any.type_url != type_url {
        return Err(format!("its type is {:?}, not {type_url}", any.type_url));
    }
    M::decode(any.value.as_slice()).map_err(|error| format!("it cannot be decoded: {error}"))
}
