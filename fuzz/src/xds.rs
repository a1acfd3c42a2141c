//! Any bytes as what istiod says: decoded, converted, compiled, and compared.

use prost::Message as _;
use waysteer::source::xds::proto::discovery::DeltaDiscoveryResponse;
use waysteer::source::xds::{ADDRESS, AUTHORIZATION};

use crate::follow::{Follower, pod};

/// More say nothing new, and take long.
const MOST_RESPONSES: usize = 16;

/// A number for the type, then a message with its length; again and again.
pub fn run(data: &[u8]) {
    let mut bytes = data;
    let mut follower = Follower::default();
    follower.set_pod(pod(0));
    for _ in 0..MOST_RESPONSES {
        let Some(response) = response(&mut bytes) else {
            break;
        };
        follower.take(response);
    }
    follower.end();
}

fn response(bytes: &mut &[u8]) -> Option<DeltaDiscoveryResponse> {
    let (kind, rest) = bytes.split_first()?;
    *bytes = rest;
    let mut response = DeltaDiscoveryResponse::decode_length_delimited(bytes).ok()?;
    // Types are long words that no mutation would find.
    let type_url = match kind % 8 {
        0 => response.type_url.clone(),
        1 | 2 => AUTHORIZATION.to_owned(),
        _ => ADDRESS.to_owned(),
    };
    for resource in &mut response.resources {
        if let Some(any) = &mut resource.resource
            && any.type_url.is_empty()
        {
            any.type_url.clone_from(&type_url);
        }
    }
    response.type_url = type_url;
    Some(response)
}
