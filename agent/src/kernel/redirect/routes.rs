//! The route: what is routed by our table is delivered locally, through `lo`.

use std::net::{Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{Handle, RouteMessageBuilder};
use waysteer_common::abi::names::ROUTE_TABLE;

use super::{Family, LOOPBACK_INDEX, ROUTE_PROTOCOL, RedirectError};
use crate::kernel::route_socket::{RouteSocketError, failed};

/// Adds the route where it is missing, and replaces one of ours for an address that the pod had.
pub(super) async fn add(handle: &Handle, family: Family) -> Result<(), RedirectError> {
    for route in list(handle, family).await? {
        if serves(&route, family) {
            return Ok(());
        }
        if !is_ours(&route) {
            return Err(RedirectError::ForeignRoute { family });
        }
        del(handle, route).await?;
    }
    handle
        .route()
        .add(route(family))
        .execute()
        .await
        .map_err(failed("add a route"))?;
    Ok(())
}

pub(super) async fn is_there(handle: &Handle, family: Family) -> Result<bool, RouteSocketError> {
    // The first in the table is the one that counts, but there is only one of each priority.
    let routes = list(handle, family).await?;
    Ok(routes.first().is_some_and(|route| serves(route, family)))
}

const FAMILIES: [Family; 2] = [
    Family::V4 {
        source: Ipv4Addr::UNSPECIFIED,
    },
    Family::V6,
];

/// Those that [`remove`] would remove, in words.
pub(super) async fn ours(handle: &Handle) -> Result<Vec<String>, RouteSocketError> {
    let mut ours = Vec::new();
    for family in FAMILIES {
        let found = list(handle, family).await?;
        let found = found.iter().filter(|route| is_ours(route));
        ours.extend(found.map(|_| format!("local default {family} route of table {ROUTE_TABLE}")));
    }
    Ok(ours)
}

/// Removes our routes of both families.
pub(super) async fn remove(handle: &Handle) -> Result<(), RedirectError> {
    for family in FAMILIES {
        for route in list(handle, family).await? {
            if is_ours(&route) {
                del(handle, route).await?;
            }
        }
    }
    Ok(())
}

/// The default routes of our table.
async fn list(handle: &Handle, family: Family) -> Result<Vec<RouteMessage>, RouteSocketError> {
    let mut filter = RouteMessage::default();
    filter.header.address_family = match family {
        Family::V4 { .. } => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    // The kernel takes no filter here without `NETLINK_GET_STRICT_CHK`, so the table is ours to
    // pick.
    let routes = handle.route().get(filter).execute();
    let in_table = |route: &RouteMessage| {
        table(route) == ROUTE_TABLE && route.header.destination_prefix_length == 0
    };
    let all: Vec<RouteMessage> = routes.try_collect().await.map_err(failed("list routes"))?;
    Ok(all.into_iter().filter(in_table).collect())
}

async fn del(handle: &Handle, route: RouteMessage) -> Result<(), RouteSocketError> {
    handle
        .route()
        .del(route)
        .execute()
        .await
        .map_err(failed("remove a route"))
}

fn route(family: Family) -> RouteMessage {
    let mut route = match family {
        Family::V4 { source } => {
            let builder = RouteMessageBuilder::<Ipv4Addr>::new().scope(RouteScope::Host);
            builder.pref_source(source).build()
        }
        // The kernel picks the source as for every other destination.
        Family::V6 => RouteMessageBuilder::<Ipv6Addr>::new().build(),
    };
    route.header.kind = RouteType::Local;
    route.header.protocol = RouteProtocol::Other(ROUTE_PROTOCOL);
    // Attribute and header, which has room for small numbers only.
    route.header.table = 0;
    route.attributes.push(RouteAttribute::Table(ROUTE_TABLE));
    route.attributes.push(RouteAttribute::Oif(LOOPBACK_INDEX));
    route
}

/// Whether the route does what ours does, whosever it is.
fn serves(route: &RouteMessage, family: Family) -> bool {
    let source = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::PrefSource(source) => Some(source.clone()),
            _ => None,
        });
    let right_source = match family {
        Family::V4 { source: wanted } => source == Some(RouteAddress::Inet(wanted)),
        Family::V6 => source.is_none(),
    };
    right_source
        && route.header.kind == RouteType::Local
        && route.header.tos == 0
        && route
            .attributes
            .contains(&RouteAttribute::Oif(LOOPBACK_INDEX))
}

fn is_ours(route: &RouteMessage) -> bool {
    route.header.protocol == RouteProtocol::Other(ROUTE_PROTOCOL)
}

fn table(route: &RouteMessage) -> u32 {
    let attribute = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Table(table) => Some(*table),
            _ => None,
        });
    attribute.unwrap_or(u32::from(route.header.table))
}
