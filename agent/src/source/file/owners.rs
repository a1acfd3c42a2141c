//! Which entry owns which address: two owners of one address cannot both be right.

use std::collections::HashMap;
use std::rc::Rc;

use crate::model::{NetworkAddress, NetworkCidr, NetworkMode, Service, Workload};

/// The owners of the addresses of accepted entries.
#[derive(Debug, Default)]
pub(super) struct Owners {
    addresses: HashMap<NetworkAddress, Vec<Owner>>,
    cidrs: HashMap<NetworkCidr, Vec<Owner>>,
}

/// An address that has another owner.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Where it stands among the addresses of the entry that wanted it.
    pub(super) index: usize,
    /// `network/IP` or `network/CIDR`.
    pub(super) address: String,
    /// Kind and name of the owner.
    pub(super) owner: Rc<str>,
}

#[derive(Debug, Clone)]
struct Owner {
    label: Rc<str>,
    /// `None` for a workload.
    service_namespace: Option<Rc<str>>,
}

impl Owners {
    /// Takes a workload's addresses; all of them or, if one is taken, none.
    pub(super) fn claim_workload(&mut self, label: &str, workload: &Workload) -> Result<(), Taken> {
        match workload.network_mode {
            // Workloads on a node's network all have the node's address.
            NetworkMode::HostNetwork => return Ok(()),
            NetworkMode::Standard => {}
        }
        let keys: Vec<NetworkAddress> = workload
            .addresses
            .iter()
            .map(|address| NetworkAddress {
                network: workload.network.clone(),
                address: *address,
            })
            .collect();
        for (index, key) in keys.iter().enumerate() {
            if let Some(owner) = self.addresses.get(key).and_then(|owners| owners.first()) {
                return Err(taken(index, key, owner));
            }
        }
        let owner = Owner {
            label: label.into(),
            service_namespace: None,
        };
        for key in keys {
            self.addresses.entry(key).or_default().push(owner.clone());
        }
        Ok(())
    }

    /// Takes a service's virtual addresses; all of them or, if one is a workload's or another
    /// service's of the same namespace, none. Services of several namespaces may share one (a
    /// client gets the one of its own namespace, else the canonical one); those are returned.
    pub(super) fn claim_service(
        &mut self,
        label: &str,
        service: &Service,
    ) -> Result<Vec<Taken>, Taken> {
        let namespace: Rc<str> = (*service.hostname.namespace).into();
        let mut shared = Vec::new();
        for (index, key) in service.vips.iter().enumerate() {
            let owners = self.addresses.get(key);
            let shared_with =
                share(owners, &namespace).map_err(|owner| taken(index, key, owner))?;
            shared.extend(shared_with.map(|owner| taken(index, key, owner)));
        }
        for (index, key) in service.cidr_vips.iter().enumerate() {
            let owners = self.cidrs.get(key);
            let shared_with =
                share(owners, &namespace).map_err(|owner| taken(index, key, owner))?;
            shared.extend(shared_with.map(|owner| taken(index, key, owner)));
        }
        let owner = Owner {
            label: label.into(),
            service_namespace: Some(namespace),
        };
        for key in &service.vips {
            let owners = self.addresses.entry(key.clone()).or_default();
            owners.push(owner.clone());
        }
        for key in &service.cidr_vips {
            let owners = self.cidrs.entry(key.clone()).or_default();
            owners.push(owner.clone());
        }
        Ok(shared)
    }

    /// Whether anything owns this address.
    pub(super) fn has(&self, address: &NetworkAddress) -> bool {
        self.addresses.contains_key(address)
    }
}

/// The first owner that an address would be shared with, or the one that forbids it.
fn share<'o>(
    owners: Option<&'o Vec<Owner>>,
    namespace: &str,
) -> Result<Option<&'o Owner>, &'o Owner> {
    let owners = owners.map(Vec::as_slice).unwrap_or_default();
    let forbids = |owner: &&Owner| match &owner.service_namespace {
        None => true,
        Some(other) => other.as_ref() == namespace,
    };
    match owners.iter().find(forbids) {
        Some(owner) => Err(owner),
        None => Ok(owners.first()),
    }
}

fn taken(index: usize, key: &impl ToString, owner: &Owner) -> Taken {
    Taken {
        index,
        address: key.to_string(),
        owner: owner.label.clone(),
    }
}
