//! Bytes as the choices of somebody who tells of a small mesh: nearly all of it decodes, and its few
//! names and addresses meet. What no encoder makes is left to `xds`.

mod address;
mod policy;

use prost::Message as _;
use prost_types::Any;
use waysteer::source::xds::proto::discovery::{DeltaDiscoveryResponse, Resource};
use waysteer::source::xds::{ADDRESS, AUTHORIZATION};

use crate::follow::{Follower, pod};

const MOST_STEPS: usize = 24;
const PODS: u8 = 3;

/// What is left of the bytes; each is one choice.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    /// Zero where there are no more.
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()].clone()
    }

    /// False where there are no more.
    fn one_in(&mut self, many: u8) -> bool {
        self.byte() % many == many - 1
    }

    fn some<T>(&mut self, most: u8, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.byte() % (most + 1);
        (0..count).map(|_| make(self)).collect()
    }
}

pub fn run(data: &[u8]) {
    let choices = &mut Choices(data);
    let mut follower = Follower::default();
    for _ in 0..MOST_STEPS {
        if choices.0.is_empty() {
            break;
        }
        match choices.byte() % 8 {
            0 => follower.set_pod(pod(choices.byte() % PODS)),
            1 => follower.remove_pod(u64::from(choices.byte() % PODS) + 1),
            2 | 3 => {
                let resources = choices.some(3, policy::policy);
                let gone = choices.some(1, policy::name);
                follower.take(response(AUTHORIZATION, resources, gone));
            }
            _ => {
                let resources = choices.some(4, address::address);
                let gone = choices.some(2, address::name);
                follower.take(response(ADDRESS, resources, gone));
            }
        }
    }
    follower.end();
}

fn response(type_url: &str, resources: Vec<Resource>, gone: Vec<String>) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: type_url.to_owned(),
        resources,
        removed_resources: gone,
        ..DeltaDiscoveryResponse::default()
    }
}

/// Now and then broken, or under another name.
fn resource(choices: &mut Choices<'_>, type_url: &str, name: String, value: Vec<u8>) -> Resource {
    let mut any = Any {
        type_url: type_url.to_owned(),
        value,
    };
    let mut resource = Resource {
        name,
        version: choices.one_of(&["", "1", "2"]).to_owned(),
        ..Resource::default()
    };
    match choices.byte() {
        255 => any.value.push(0xff),
        254 => resource.name = address::name(choices),
        253 => resource.name.clear(),
        252 => any.type_url.clear(),
        251 => any.value = unknown_field().encode_to_vec(),
        // A field of tomorrow.
        250 => any.value.extend([0xfa, 0x3e, 0x01, 0x41]),
        249 => return resource,
        _ => {}
    }
    resource.resource = Some(any);
    resource
}

/// Of which no field is what one would expect.
fn unknown_field() -> Any {
    Any {
        type_url: "?".to_owned(),
        value: vec![0x80; 3],
    }
}
