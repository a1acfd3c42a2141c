//! Each mistake, and what is said about it.

use super::*;

/// One workload with the given extra fields, which start at line 5.
fn workload(fields: &str) -> String {
    format!(
        "workloads:\n- uid: cluster1//Pod/default/web-1\n  name: web-1\n  namespace: default\n{fields}"
    )
}

/// One service with the given extra fields, which start at line 5.
fn service(fields: &str) -> String {
    format!("services:\n- name: web\n  namespace: default\n  hostname: web.example\n{fields}")
}

/// One policy with the given extra fields, which start at line 4.
fn policy(fields: &str) -> String {
    format!("policies:\n- name: allow\n  namespace: default\n{fields}")
}

const WORKLOAD: &str = "workload default/web-1 (cluster1//Pod/default/web-1)";

/// The whole message: `line: letter: rest`, with the entry's name for the letter.
fn at(expected: &str, letter: &str, entry: &str) -> String {
    format!("mesh.yaml:{}", expected.replacen(letter, entry, 1))
}

fn check(text: &str, expected: &[&str]) {
    let parsed = parse(text);
    assert_eq!(errors(&parsed), expected, "{text}");
    assert_eq!(parsed.rejected.len(), 1, "{text}");
    let accepted = parsed.workloads.len() + parsed.services.len() + parsed.policies.len();
    assert_eq!(accepted, 0, "{text}");
}

#[test]
fn in_a_workload() {
    let ips = "  workloadIps: []\n";
    for (fields, expected) in [
        ("", "2: W: workloadIps: missing"),
        (
            "  workloadIps: [10.0.0.1,\n    10.0.0.999]\n",
            "6: W: workloadIps[1]: \"10.0.0.999\" is not an IP address",
        ),
        (
            "  workloadIps: [0.0.0.0]\n",
            "5: W: workloadIps[0]: \"0.0.0.0\" cannot be the address of a destination",
        ),
        (
            "  workloadIps: [\"ff02::1\"]\n",
            "5: W: workloadIps[0]: \"ff02::1\" cannot be the address of a destination",
        ),
        (
            "  workloadIps: 10.0.0.1\n",
            "5: W: workloadIps: is a scalar, expected a list",
        ),
        (
            "  workloadIps: [[]]\n",
            "5: W: workloadIps[0]: is a list, expected a scalar",
        ),
    ] {
        check(&workload(fields), &[&at(expected, "W", WORKLOAD)]);
    }
    for (fields, expected) in [
        ("  workloadIp: x\n", "6: W: unknown field \"workloadIp\""),
        (
            "  networkMode: Host\n",
            "6: W: networkMode: \"Host\" is not one of Standard, HostNetwork",
        ),
        (
            "  status: healthy\n",
            "6: W: status: \"healthy\" is not one of Healthy, Unhealthy",
        ),
        (
            "  capacity: -1\n",
            "6: W: capacity: \"-1\" is not a whole number from 0 to 4294967295",
        ),
        (
            "  nativeTunnel: maybe\n",
            "6: W: nativeTunnel: \"maybe\" is not true or false",
        ),
        (
            "  applicationTunnel: {port: 1}\n",
            "6: W: applicationTunnel.protocol: missing",
        ),
        (
            "  applicationTunnel: {protocol: PROXY, port: 0}\n",
            "6: W: applicationTunnel.port: \"0\" is not a port (1 to 65535)",
        ),
        (
            "  waypoint: {hboneMtlsPort: 15008}\n",
            "6: W: waypoint.destination: missing",
        ),
        (
            "  waypoint: {destination: a/b}\n",
            "6: W: waypoint.hboneMtlsPort: missing",
        ),
        (
            "  waypoint: {destination: a/b, hboneMtlsPort: 0}\n",
            "6: W: waypoint.hboneMtlsPort: \"0\" is not a port (1 to 65535)",
        ),
        (
            "  waypoint: {destination: 10.0.0.1, hboneMtlsPort: 1}\n",
            "6: W: waypoint.destination: \"10.0.0.1\" is not a namespace/hostname or network/IP",
        ),
        (
            "  waypoint:\n    destination: a/b\n    hboneMtlsPort: 1\n    port: 1\n",
            "9: W: waypoint: unknown field \"port\"",
        ),
        (
            "  waypoint: ns/wp\n",
            "6: W: waypoint: is a scalar, expected a map",
        ),
        (
            "  services: {web: {}}\n",
            "6: W: services.web: is not a namespace/hostname",
        ),
        (
            "  services: {a/b: {80: 65536}}\n",
            "6: W: services.a/b.80: \"65536\" is not a port (1 to 65535)",
        ),
        (
            "  services: {a/b: {http: 80}}\n",
            "6: W: services.a/b.http: \"http\" is not a port (1 to 65535)",
        ),
        (
            "  services: [a/b]\n",
            "6: W: services: is a list, expected a map",
        ),
        (
            "  authorizationPolicies: [x]\n",
            "6: W: authorizationPolicies[0]: \"x\" is not a namespace/name",
        ),
        (
            "  locality: {city: x}\n",
            "6: W: locality: unknown field \"city\"",
        ),
        (
            "  node: a\n  node: b\n",
            "7: W: duplicate key \"node\", first at line 6",
        ),
        (
            "  hostname: {}\n",
            "6: W: hostname: is a map, expected a scalar",
        ),
    ] {
        check(
            &workload(&format!("{ips}{fields}")),
            &[&at(expected, "W", WORKLOAD)],
        );
    }
}

#[test]
fn in_a_service() {
    for (fields, expected) in [
        (
            "  vips: [10.0.0.1]\n",
            "5: S: vips[0]: \"10.0.0.1\" is not a network/IP",
        ),
        (
            "  vips: [/10.0.0.256]\n",
            "5: S: vips[0]: \"10.0.0.256\" is not an IP address",
        ),
        (
            "  vips: [net/10.0.0.0/33]\n",
            "5: S: vips[0]: \"10.0.0.0/33\" is not a CIDR",
        ),
        (
            "  vips: [net/0.0.0.0/32]\n",
            "5: S: vips[0]: \"0.0.0.0\" cannot be the address of a destination",
        ),
        (
            "  cidrVips: [{network: n}]\n",
            "5: S: cidrVips[0].cidr: missing",
        ),
        (
            "  cidrVips: [{cidr: \"::ffff:10.0.0.0/104\"}]\n",
            "5: S: cidrVips[0].cidr: \"::ffff:10.0.0.0/104\" is IPv4: write it as such",
        ),
        (
            "  ports: {0: 80}\n",
            "5: S: ports.0: \"0\" is not a port (1 to 65535)",
        ),
        (
            "  ports:\n    80: 70000\n",
            "6: S: ports.80: \"70000\" is not a port (1 to 65535)",
        ),
        (
            "  ports: {80: 080}\n",
            "5: S: ports.80: \"080\" is not a port (1 to 65535)",
        ),
        (
            "  loadBalancer: {healthPolicy: All}\n",
            "5: S: loadBalancer.healthPolicy: \"All\" is not one of OnlyHealthy, AllowAll",
        ),
        (
            "  loadBalancer: {routingPreferences: [Planet]}\n",
            "5: S: loadBalancer.routingPreferences[0]: \"Planet\" is not one of Region, Zone, Subzone, Node, Cluster, Network",
        ),
        (
            "  loadBalancer: {policy: x}\n",
            "5: S: loadBalancer: unknown field \"policy\"",
        ),
        (
            "  ipFamilies: ipv4\n",
            "5: S: ipFamilies: \"ipv4\" is not one of IPv4, IPv6, Dual",
        ),
        (
            "  visibility: Private\n",
            "5: S: visibility: \"Private\" is not one of Public, Namespace",
        ),
        (
            "  weightedWaypoints:\n  - destination: {destination: default/web.example, hboneMtlsPort: 1}\n    weight: 0\n",
            "6: S: weightedWaypoints: the weights sum to zero",
        ),
        (
            "  weightedWaypoints: [{weight: 1}]\n",
            "5: S: weightedWaypoints[0].destination: missing",
        ),
        (
            "  endpoints: {u: {workloadUid: v}}\n",
            "5: S: endpoints.u: workloadUid differs from the key",
        ),
        (
            "  ports: {80: 1, 80: 2}\n",
            "5: S: duplicate key \"80\", first at line 5",
        ),
        ("  vip: x\n", "5: S: unknown field \"vip\""),
    ] {
        check(
            &service(fields),
            &[&at(expected, "S", "service default/web.example")],
        );
    }
}

#[test]
fn in_a_policy() {
    let rest = "  scope: Namespace\n  action: Allow\n";
    check(
        &policy("  action: Allow\n"),
        &["mesh.yaml:2: policy default/allow: scope: missing"],
    );
    check(
        &policy("  scope: Global\n"),
        &["mesh.yaml:2: policy default/allow: action: missing"],
    );
    for (fields, expected) in [
        ("  dryRun: 1\n", "6: P: dryRun: \"1\" is not true or false"),
        (
            "  rules: [[[{principals: [Exact]}]]]\n",
            "6: P: rules[0][0][0].principals[0]: needs a value",
        ),
        (
            "  rules: [[[{principals: [{Regex: x}]}]]]\n",
            "6: P: rules[0][0][0].principals[0]: \"Regex\" is not one of Prefix, Suffix, Exact, Presence",
        ),
        (
            "  rules: [[[{principals: [!Regex x]}]]]\n",
            "6: P: rules[0][0][0].principals[0]: \"Regex\" is not one of Prefix, Suffix, Exact, Presence",
        ),
        (
            "  rules: [[[{namespaces: [{Exact: a, Prefix: b}]}]]]\n",
            "6: P: rules[0][0][0].namespaces[0]: must have exactly one key",
        ),
        (
            "  rules: [[[{sourceIps: [10.0.0.0/99]}]]]\n",
            "6: P: rules[0][0][0].sourceIps[0]: \"10.0.0.0/99\" is not a CIDR",
        ),
        (
            "  rules: [[[{destinationPorts: [99999]}]]]\n",
            "6: P: rules[0][0][0].destinationPorts[0]: \"99999\" is not a port (1 to 65535)",
        ),
        (
            "  rules: [[[{serviceAccounts: [{namespace: a}]}]]]\n",
            "6: P: rules[0][0][0].serviceAccounts[0].serviceAccount: missing",
        ),
        (
            "  rules: [[[{hosts: [a]}]]]\n",
            "6: P: rules[0][0][0]: unknown field \"hosts\"",
        ),
        (
            "  rules: [{}]\n",
            "6: P: rules[0]: is a map, expected a list",
        ),
    ] {
        let text = policy(&format!("{rest}{fields}"));
        check(&text, &[&at(expected, "P", "policy default/allow")]);
    }
}

#[test]
fn an_entry_without_names() {
    for (text, expected) in [
        (
            "workloads:\n- 1\n",
            "mesh.yaml:2: workloads[0]: is a scalar, expected a map",
        ),
        (
            "services:\n- ~\n",
            "mesh.yaml:2: services[0]: is null, expected a map",
        ),
    ] {
        check(text, &[expected]);
    }
    check(
        "workloads: [{workloadIps: []}]\n",
        &[
            "mesh.yaml:1: workloads[0]: uid: missing",
            "mesh.yaml:1: workloads[0]: namespace: missing",
        ],
    );
    check(
        "workloads: [{uid: \"\", name: a, namespace: b, workloadIps: []}]\n",
        &["mesh.yaml:1: workload b/a (): uid: must not be empty"],
    );
}

#[test]
fn all_mistakes_of_an_entry_at_once() {
    let text = workload("  workloadIps: [x]\n  capacity: y\n  colour: z\n");
    let parsed = parse(&text);
    assert_eq!(errors(&parsed).len(), 3);
    let [rejected] = parsed.rejected.as_slice() else {
        panic!("{:?}", parsed.rejected);
    };
    assert_eq!(
        rejected.rejection.error,
        "mesh.yaml:5: workloadIps[0]: \"x\" is not an IP address; mesh.yaml:6: capacity: \"y\" is \
         not a whole number from 0 to 4294967295; mesh.yaml:7: unknown field \"colour\""
    );
}

#[test]
fn the_rest_of_the_file_is_applied() {
    let parsed = parse(
        "workloads:\n- {uid: a, namespace: n, workloadIps: [x]}\n\
         - {uid: b, namespace: n, workloadIps: [10.0.0.2]}\n",
    );
    assert_eq!(errors(&parsed).len(), 1);
    let uids: Vec<_> = parsed.workloads.iter().map(|w| &*w.uid.0).collect();
    assert_eq!(uids, ["b"]);
}

#[test]
fn long_and_odd_input_is_cut_and_escaped() {
    let text = format!(
        "workloads: [{{uid: a, namespace: n, workloadIps: [\"\\e{}\"]}}]",
        "x".repeat(999)
    );
    let parsed = parse(&text);
    let [error] = <[String; 1]>::try_from(errors(&parsed)).unwrap();
    assert!(error.contains(r#""\u{1b}xxx"#), "{error}");
    assert!(error.len() < 200, "{error}");
}

#[test]
fn in_the_file_as_a_whole() {
    for (text, expected) in [
        (
            "",
            "mesh.yaml:1: expected a map with workloads, services and policies",
        ),
        ("# nothing\n", "mesh.yaml:"),
        (
            "[]",
            "mesh.yaml:1: expected a map with workloads, services and policies",
        ),
        ("workloads: 1\n", "mesh.yaml:1: workloads is not a list"),
        ("workloads: {}\n", "mesh.yaml:1: workloads is not a list"),
        (
            "workloads: []\nworkload: []\n",
            "mesh.yaml:2: unknown key \"workload\", expected one of workloads, services, policies",
        ),
        (
            "workloads: []\nservices: []\nworkloads: []\n",
            "mesh.yaml:3: duplicate key \"workloads\", first at line 1",
        ),
        (
            "workloads: []\n---\nworkloads: []\n",
            "mesh.yaml:2: a second document (`---`)",
        ),
        ("workloads:\n- {uid: a\n", "mesh.yaml:2: unclosed bracket"),
        ("workloads:\n- uid: a\n b: c\n", "mesh.yaml:3: "),
        ("workloads:\n- uid: *nobody\n", "mesh.yaml:2: "),
        (
            "workloads:\n- ? [a]\n  : b\n",
            "mesh.yaml:2: a key must be a scalar",
        ),
    ] {
        let error = parse_mesh(text, "mesh.yaml").unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}
