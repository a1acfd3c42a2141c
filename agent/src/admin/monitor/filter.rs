//! What a listener wants to hear of.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use crate::state::{DropRecord, FlowRecord};

/// All of it without any.
#[derive(Debug, Default, Deserialize)]
pub(in crate::admin) struct MonitorQuery {
    /// `namespace/name`, or a name.
    pod: Option<String>,
    /// Of verdicts.
    class: Option<String>,
    /// Of verdicts.
    reason: Option<String>,
    /// An address, a block of them, with or without a port, or a service's name or its beginning.
    dst: Option<String>,
    /// What was held, dropped or refused, in place of verdicts.
    #[serde(default)]
    pub(super) drops: bool,
}

impl MonitorQuery {
    pub(super) fn takes_verdict(&self, flow: &FlowRecord) -> bool {
        let Self {
            pod: _,
            class,
            reason,
            dst: _,
            drops: _,
        } = self;
        let same = |asked: &Option<String>, is: &str| {
            asked
                .as_ref()
                .is_none_or(|asked| asked.eq_ignore_ascii_case(is))
        };
        let names = [&flow.service, &flow.next_hop_workload];
        same(class, flow.class)
            && same(reason, flow.reason)
            && self.takes(&flow.pod, Some(&flow.destination), names)
    }

    pub(super) fn takes_drop(&self, dropped: &DropRecord) -> bool {
        let DropRecord {
            pod,
            destination,
            destination_workload,
            service,
            ..
        } = dropped;
        let names = [service, destination_workload];
        self.takes(pod, destination.as_deref(), names)
    }

    fn takes(&self, pod: &str, destination: Option<&str>, names: [&Option<String>; 2]) -> bool {
        let is_pod = |asked: &String| {
            let name = pod.split_once('/').map(|(_, name)| name);
            asked == pod || Some(asked.as_str()) == name
        };
        let is_to = |asked: &String| destination.is_some_and(|to| leads_to(to, names, asked));
        self.pod.as_ref().is_none_or(is_pod) && self.dst.as_ref().is_none_or(is_to)
    }
}

/// Whether it is this destination, under its address or one of its names.
fn leads_to(destination: &str, names: [&Option<String>; 2], asked: &str) -> bool {
    if destination == asked {
        return true;
    }
    let ip = destination.parse::<SocketAddr>().map(|to| to.ip());
    if let (Ok(ip), Ok(asked)) = (&ip, asked.parse::<IpAddr>()) {
        return *ip == asked;
    }
    if let (Ok(ip), Ok(block)) = (&ip, asked.parse::<ipnet::IpNet>()) {
        return block.contains(ip);
    }
    names.into_iter().flatten().any(|name| {
        let short = name
            .split_once('/')
            .map_or(name.as_str(), |(_, short)| short);
        let begins = |of: &str| {
            of.strip_prefix(asked)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        begins(name) || begins(short)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> FlowRecord {
        FlowRecord {
            pod: "default/client".into(),
            destination: "10.96.0.10:80".into(),
            class: "Direct",
            reason: "ServiceHbone",
            steered: true,
            next_hop: Some("10.1.2.1:15008".into()),
            next_hop_workload: Some("default/far".into()),
            service: Some("default/web.default.svc.cluster.local".into()),
            ..FlowRecord::default()
        }
    }

    #[test]
    fn filters_of_verdicts_are_all_asked() {
        let some = |text: &str| Some(text.to_owned());
        let dst = |text| MonitorQuery {
            dst: some(text),
            ..MonitorQuery::default()
        };
        for (query, takes) in [
            (MonitorQuery::default(), true),
            (
                MonitorQuery {
                    pod: some("client"),
                    ..MonitorQuery::default()
                },
                true,
            ),
            (
                MonitorQuery {
                    pod: some("other/client"),
                    ..MonitorQuery::default()
                },
                false,
            ),
            (
                MonitorQuery {
                    class: some("direct"),
                    ..MonitorQuery::default()
                },
                true,
            ),
            (
                MonitorQuery {
                    reason: some("NoPort"),
                    ..MonitorQuery::default()
                },
                false,
            ),
            (
                MonitorQuery {
                    pod: some("client"),
                    ..dst("10.96.0.11")
                },
                false,
            ),
            (dst("10.96.0.10"), true),
            (dst("10.96.0.10:80"), true),
            (dst("10.96.0.10:81"), false),
            (dst("10.96.0.0/16"), true),
            (dst("10.97.0.0/16"), false),
            (dst("web"), true),
            (dst("web.default"), true),
            (dst("default/far"), true),
            (dst("we"), false),
        ] {
            assert_eq!(query.takes_verdict(&flow()), takes, "{query:?}");
        }
    }

    #[test]
    fn filters_of_drops_are_all_asked() {
        let held = DropRecord {
            pod: "default/client".into(),
            source: Some("10.1.0.1:40000".into()),
            destination: Some("10.96.0.10:80".into()),
            service: Some("default/web.default.svc.cluster.local".into()),
            ..DropRecord::default()
        };
        let unread = DropRecord {
            pod: "unknown".into(),
            ..DropRecord::default()
        };
        let query = |pod: Option<&str>, dst: Option<&str>| MonitorQuery {
            pod: pod.map(str::to_owned),
            dst: dst.map(str::to_owned),
            drops: true,
            ..MonitorQuery::default()
        };
        for (query, of_held, of_unread) in [
            (query(None, None), true, true),
            (query(Some("client"), None), true, false),
            (query(Some("server"), None), false, false),
            (query(Some("client"), Some("web")), true, false),
            (query(Some("server"), Some("web")), false, false),
            (query(None, Some("10.96.0.0/16")), true, false),
            (query(None, Some("10.1.0.1")), false, false),
            (query(Some("unknown"), None), false, true),
        ] {
            assert_eq!(query.takes_drop(&held), of_held, "{query:?}");
            assert_eq!(query.takes_drop(&unread), of_unread, "{query:?}");
        }
    }
}
