//! The policy rules: packets with our marks are routed by our table.

use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use rtnetlink::{Handle, IpVersion};
use waysteer_common::abi::names::{MARK_MASK, RETURN_MARK, ROUTE_TABLE, STEER_MARK};

use super::{Family, ROUTE_PROTOCOL, RedirectError};
use crate::kernel::route_socket::{RouteSocketError, failed};

/// Mark and priority of each. Before `main`, which is at 32766.
const RULES: [(u32, u32); 2] = [(STEER_MARK, 100), (RETURN_MARK, 101)];

/// Adds the rules that are missing.
pub(super) async fn add(handle: &Handle, family: Family) -> Result<(), RouteSocketError> {
    let present = list(handle, version(family)).await?;
    for (mark, priority) in RULES {
        if present.iter().any(|rule| serves(rule, mark, priority)) {
            continue;
        }
        let mut request = handle.rule().add();
        *request.message_mut() = rule(family, mark, priority);
        request.execute().await.map_err(failed("add a rule"))?;
    }
    Ok(())
}

/// The marks that have no rule.
pub(super) async fn missing(handle: &Handle, family: Family) -> Result<Vec<u32>, RouteSocketError> {
    let present = list(handle, version(family)).await?;
    let missing = RULES
        .iter()
        .filter(|(mark, priority)| !present.iter().any(|rule| serves(rule, *mark, *priority)));
    Ok(missing.map(|(mark, _)| *mark).collect())
}

/// Whether any rule is ours.
pub(super) async fn are_there(handle: &Handle) -> Result<bool, RouteSocketError> {
    Ok(!ours(handle).await?.is_empty())
}

/// Those that [`remove`] would remove, in words.
pub(super) async fn ours(handle: &Handle) -> Result<Vec<String>, RouteSocketError> {
    let mut ours = Vec::new();
    for (version, name) in [(IpVersion::V4, "IPv4"), (IpVersion::V6, "IPv6")] {
        let present = list(handle, version).await?;
        for (mark, priority) in RULES {
            let is_one = |rule: &&RuleMessage| serves(rule, mark, priority) && is_ours(rule);
            let found = present.iter().filter(is_one);
            ours.extend(found.map(|_| format!("{name} rule {priority} for mark {mark:#x}")));
        }
    }
    Ok(ours)
}

/// Removes our rules of both families.
pub(super) async fn remove(handle: &Handle) -> Result<(), RedirectError> {
    for version in [IpVersion::V4, IpVersion::V6] {
        for rule in list(handle, version).await? {
            let known = RULES
                .iter()
                .any(|(mark, priority)| serves(&rule, *mark, *priority));
            if known && is_ours(&rule) {
                handle
                    .rule()
                    .del(rule)
                    .execute()
                    .await
                    .map_err(failed("remove a rule"))?;
            }
        }
    }
    Ok(())
}

async fn list(handle: &Handle, version: IpVersion) -> Result<Vec<RuleMessage>, RouteSocketError> {
    handle
        .rule()
        .get(version)
        .execute()
        .try_collect()
        .await
        .map_err(failed("list rules"))
}

fn rule(family: Family, mark: u32, priority: u32) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = match family {
        Family::V4 { .. } => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    rule.header.action = RuleAction::ToTable;
    rule.attributes = vec![
        RuleAttribute::Priority(priority),
        RuleAttribute::FwMark(mark),
        RuleAttribute::FwMask(MARK_MASK),
        RuleAttribute::Table(ROUTE_TABLE),
        RuleAttribute::Protocol(RouteProtocol::Other(ROUTE_PROTOCOL)),
    ];
    rule
}

/// Whether the rule does what one of ours does, whosever it is.
fn serves(rule: &RuleMessage, mark: u32, priority: u32) -> bool {
    let header = &rule.header;
    let plain = header.action == RuleAction::ToTable
        && !header.flags.contains(RuleFlags::Invert)
        && (header.src_len, header.dst_len, header.tos) == (0, 0, 0);
    let has = |wanted| rule.attributes.contains(&wanted);
    plain
        && has(RuleAttribute::Priority(priority))
        && has(RuleAttribute::FwMark(mark))
        && has(RuleAttribute::FwMask(MARK_MASK))
        && has(RuleAttribute::Table(ROUTE_TABLE))
        && !rule.attributes.iter().any(narrows)
}

/// Whether the attribute makes a rule apply to fewer packets, or says more than where to.
fn narrows(attribute: &RuleAttribute) -> bool {
    match attribute {
        RuleAttribute::Priority(_)
        | RuleAttribute::FwMark(_)
        | RuleAttribute::FwMask(_)
        | RuleAttribute::Table(_)
        | RuleAttribute::Protocol(_)
        | RuleAttribute::SuppressPrefixLen(u32::MAX)
        | RuleAttribute::SuppressIfGroup(u32::MAX) => false,
        // What this version does not know may narrow.
        _ => true,
    }
}

fn is_ours(rule: &RuleMessage) -> bool {
    rule.attributes
        .contains(&RuleAttribute::Protocol(RouteProtocol::Other(
            ROUTE_PROTOCOL,
        )))
}

fn version(family: Family) -> IpVersion {
    match family {
        Family::V4 { .. } => IpVersion::V4,
        Family::V6 => IpVersion::V6,
    }
}
