//! Entries that contradict or miss each other.

use super::*;

const TWO_OWNERS: &str = "
workloads:
- {uid: a, name: a, namespace: n, workloadIps: [10.0.0.1]}
- {uid: b, name: b, namespace: n, workloadIps: [10.0.0.2, 10.0.0.1]}
- {uid: c, name: c, namespace: n, workloadIps: [10.0.0.1], network: other}
- {uid: d, name: d, namespace: n, workloadIps: [10.0.0.1], networkMode: HostNetwork}
- {uid: e, name: e, namespace: n, workloadIps: [\"::ffff:10.0.0.1\"]}
services:
- {name: s1, namespace: n, hostname: s1, vips: [/10.0.0.1]}
- {name: s2, namespace: n, hostname: s2, vips: [/10.1.0.1, /10.2.0.0/16]}
- {name: s3, namespace: n, hostname: s3, vips: [/10.1.0.1]}
- {name: s4, namespace: n, hostname: s4, vips: [/10.2.9.9/16]}
- {name: s5, namespace: m, hostname: s5, vips: [/10.1.0.1, /10.2.0.0/16]}
- {name: s6, namespace: n, hostname: s6, vips: [other/10.1.0.1]}
";

#[test]
fn two_owners_of_an_address() {
    let parsed = parse(TWO_OWNERS);
    let shares =
        "a client gets the service of its own namespace, else the canonical one, else the first";
    assert_eq!(
        messages(&parsed.diagnostics),
        [
            "mesh.yaml:4: workload n/b (b): workloadIps[1]: /10.0.0.1 belongs to workload n/a (a) already",
            "mesh.yaml:7: workload n/e (e): workloadIps[0]: /10.0.0.1 belongs to workload n/a (a) already",
            "mesh.yaml:9: service n/s1: vips: /10.0.0.1 belongs to workload n/a (a) already",
            "mesh.yaml:11: service n/s3: vips: /10.1.0.1 belongs to service n/s2 already",
            "mesh.yaml:12: service n/s4: vips: /10.2.0.0/16 belongs to service n/s2 already",
            &format!(
                "mesh.yaml:13: service m/s5: vips: /10.1.0.1 is also of service n/s2: {shares}"
            ),
            &format!(
                "mesh.yaml:13: service m/s5: vips: /10.2.0.0/16 is also of service n/s2: {shares}"
            ),
        ]
    );
    let uids: Vec<_> = parsed.workloads.iter().map(|w| &*w.uid.0).collect();
    assert_eq!(uids, ["a", "c", "d"]);
    let services: Vec<_> = parsed.services.iter().map(|s| &*s.name).collect();
    assert_eq!(services, ["s2", "s5", "s6"]);
}

#[test]
fn a_name_used_twice() {
    let parsed = parse(
        "
workloads:
- {uid: a, namespace: n, workloadIps: [10.0.0.1]}
- {uid: a, namespace: n, workloadIps: [10.0.0.2]}
services:
- {name: s, namespace: n, hostname: h}
- {name: t, namespace: n, hostname: h}
- {name: t, namespace: m, hostname: h}
policies:
- {name: p, namespace: n, scope: Namespace, action: Allow}
- {name: p, namespace: n, scope: Global, action: Deny}
",
    );
    assert_eq!(
        messages(&parsed.diagnostics),
        [
            "mesh.yaml:4: workload a: uid: a is used twice, first at line 3",
            "mesh.yaml:7: service n/h: hostname: n/h is used twice, first at line 6",
            "mesh.yaml:11: policy n/p: name: n/p is used twice, first at line 10",
        ]
    );
    // The second entry's address is remembered, and the first one stays.
    let addresses: Vec<_> = parsed
        .rejected
        .iter()
        .flat_map(|r| &r.rejection.addresses)
        .collect();
    assert_eq!(
        addresses,
        [&"10.0.0.2".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(
        (
            parsed.workloads.len(),
            parsed.services.len(),
            parsed.policies.len()
        ),
        (1, 2, 1)
    );
}

#[test]
fn what_refers_to_nothing_is_accepted_and_reported() {
    let parsed = parse(
        "
workloads:
- uid: a
  namespace: n
  workloadIps: [10.0.0.1]
  waypoint: {destination: n/nobody, hboneMtlsPort: 15008}
  networkGateway: {destination: net/10.9.9.9, hboneMtlsPort: 15008}
  services: {n/none: {80: 80}, n/h: {}}
  authorizationPolicies: [n/p, n/q]
- {uid: b, namespace: n, hostname: b.example, workloadIps: []}
services:
- name: s
  namespace: n
  hostname: h
  vips: [/10.1.0.1]
  waypoint: {destination: n/b.example, hboneMtlsPort: 15008}
  weightedWaypoints:
  - {destination: {destination: /10.0.0.1, hboneMtlsPort: 15008}, weight: 1}
  - {destination: {destination: n/gone, hboneMtlsPort: 15008}, weight: 1}
  endpoints: {ghost: {workloadUid: ghost, port: {80: 80}, status: Healthy}}
policies:
- {name: p, namespace: n, scope: WorkloadSelector, action: Allow, rules: []}
",
    );
    let held = "connections that need it are held until there is";
    assert_eq!(
        messages(&parsed.diagnostics),
        [
            &format!("mesh.yaml:3: workload a: waypoint: nothing is called n/nobody; {held}"),
            &format!(
                "mesh.yaml:3: workload a: networkGateway: nothing is called net/10.9.9.9; {held}"
            ),
            "mesh.yaml:3: workload a: services.n/none: there is no service n/none",
            "mesh.yaml:3: workload a: authorizationPolicies: there is no policy n/q",
            "mesh.yaml:20: service n/h: endpoints.ghost: there is no workload ghost",
            &format!(
                "mesh.yaml:12: service n/h: weightedWaypoints[1]: nothing is called n/gone; {held}"
            ),
        ]
    );
    assert!(
        parsed
            .diagnostics
            .iter()
            .all(|found| found.severity == Severity::Warning)
    );
    assert_eq!(parsed.rejected.len(), 0);
    assert!(
        parsed
            .workloads
            .first()
            .is_some_and(|w| w.waypoint.is_some())
    );
}

#[test]
fn a_reference_to_a_rejected_entry_is_reported_once() {
    let parsed = parse(
        "
workloads:
- uid: a
  namespace: n
  workloadIps: [10.0.0.1]
  waypoint: {destination: n/h, hboneMtlsPort: 15008}
services:
- {name: s, namespace: n, hostname: h, vips: [x]}
",
    );
    assert_eq!(messages(&parsed.diagnostics).len(), 1);
}
