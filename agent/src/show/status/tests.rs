//! What is told of a node, and whether all is well there.

use serde_json::json;

use super::*;
use crate::show::snapshot::keep;

/// Of a node where all is well.
fn answer() -> Value {
    json!({
        "version": "0.1.0", "node": "node1", "errors": 0, "warnings": 0, "diagnostics": [],
        "map_error": null,
        "source": { "kind": "file", "synced": true, "pods_known": true, "workloads": 9,
            "services": 8, "policies": 0, "rejected": 0, "map_entries": 64 },
        "pods": [
            { "uid": "u1", "name": "web", "namespace": "shop", "netns": "/run/netns/web",
              "cookie": 7, "addresses": ["10.1.1.10"], "state": "enrolled", "drift": [],
              "repaired": 0, "verified_seconds_ago": 3, "traffic": [
                { "class": "Direct", "steered": false, "opened": 12, "closed": 11,
                  "sent_bytes": 4096, "received_bytes": 123_456, "duration_seconds": 1.25 },
                { "class": "Direct", "steered": true, "opened": 3, "closed": 3,
                  "sent_bytes": 10, "received_bytes": 20, "duration_seconds": 60.0 } ] },
            { "uid": "u2", "name": "web", "namespace": "other", "netns": "/run/netns/o",
              "cookie": 8, "addresses": [], "state": "enrolled", "drift": [],
              "repaired": 0, "verified_seconds_ago": 3, "traffic": [] },
        ],
        "verification": { "drift": [], "shadows": [], "verified_seconds_ago": 3,
            "maps_verified_seconds_ago": 4 },
        "tunnel": { "kind": "embedded" },
        "programs": [
            { "generation": "/sys/fs/bpf/waysteer/v1", "name": "sock_ops", "id": 3, "abi": 1, "tag": "",
              "at": "cgroup", "links": 1, "detached": 0, "instructions": 754, "runs": 0,
              "nanoseconds": 0 },
        ],
    })
}

fn shown(answer: &Value) -> (String, bool) {
    let shown = status(&answer.to_string(), None).expect("an answer");
    let plain = anstream::adapter::strip_str(&shown.text).to_string();
    (plain, shown.is_well)
}

#[test]
fn each_thing_that_is_wrong_is_told_and_is_not_well() {
    assert!(shown(&answer()).1);
    let drift = json!([{ "kind": "order", "what": "connect4 is not first",
        "since_seconds": 65, "attempts": 3, "error": "busy" }]);
    let shadows = json!([{ "hook": "connect4", "cgroup": "/sys/fs/cgroup/a", "absent": false,
        "before": [{ "id": 5, "name": "lb" }, { "id": 6, "name": "" }] }]);
    let xds = json!({ "address": "istiod:15012", "connected": false, "age_seconds": 61,
        "last_error": "refused" });
    let cases = [
        (
            "/verification/drift",
            drift,
            "order: connect4 is not first for 1m05s, 3 attempts",
        ),
        (
            "/verification/shadows",
            shadows,
            "before ours at connect4: lb (5), program 6",
        ),
        (
            "/source/xds",
            xds,
            "not connected, last known 1m01s ago: refused",
        ),
        (
            "/source/synced",
            json!(false),
            "everything enrolled is steered",
        ),
        ("/source/pods_known", json!(false), "not known yet"),
        (
            "/map_error",
            json!("SERVICES is full"),
            "not written whole: SERVICES is full",
        ),
        (
            "/pods/0/state",
            json!({ "pending": "no ztunnel" }),
            "no ztunnel",
        ),
        ("/pods/0/state", json!({ "drifted": "rule" }), "drifted"),
        ("/pods/0/state", json!({ "failed": "no netns" }), "no netns"),
    ];
    for (place, wrong, told) in cases {
        let mut answer = answer();
        answer["source"]["xds"] = Value::Null;
        *answer.pointer_mut(place).expect(place) = wrong;
        let (text, is_well) = shown(&answer);
        assert!(text.contains(told) && !is_well, "{place}: {text}");
    }
}

#[test]
fn a_name_that_is_there_twice_is_not_guessed() {
    let answer = answer().to_string();
    for asked in ["shop/web", "u1"] {
        let one = pod(&only(&answer, asked).expect(asked), None).expect(asked);
        assert!(
            one.text.contains("/run/netns/web") && one.is_well,
            "{}",
            one.text
        );
    }
    for asked in ["web", "nobody"] {
        let error = only(&answer, asked).expect_err(asked).to_string();
        assert!(error.contains("shop/web, other/web"), "{error}");
    }
}

/// Of a node where much is wrong, with long names.
fn ill() -> Value {
    let mut answer = answer();
    answer["node"] = json!("ip-10-208-113-42.eu-central-1.compute.internal");
    answer["errors"] = json!(1);
    answer["diagnostics"] = json!(["error: /etc/waysteer/pods.yaml:12: pods[3].netns: \
        /run/netns/cni-6fd0a9d3-1c1b-4d2e-8a0f is no network namespace, the last good state stays"]);
    answer["source"]["xds"] = json!({ "address": "istiod.istio-system.svc:15012",
        "connected": false, "age_seconds": 61,
        "last_error": "certificate of istiod.istio-system.svc is not of a known authority" });
    answer["tunnel"] = json!({ "kind": "ztunnel", "connected": [], "ready": 0, "waiting": 2,
        "refused": 0 });
    answer["verification"]["shadows"] = json!([{ "hook": "connect4", "absent": false,
        "cgroup": "/sys/fs/cgroup/kubepods.slice",
        "before": [{ "id": 5, "name": "cil_sock4_connect" }, { "id": 6, "name": "" }] }]);
    answer["verification"]["drift"] = json!([{ "kind": "order",
        "what": "cil_sock4_connect before connect4 at the root of the cgroups",
        "since_seconds": 65, "attempts": 3, "error": "device or resource busy" }]);
    let pods = &mut answer["pods"];
    pods[0]["name"] = json!("checkout-frontend-7d9c6b5f4-xk2lp");
    pods[0]["addresses"] = json!(["10.208.113.77", "fd00:10:208:113::4d"]);
    pods[0]["state"] = json!({ "pending": "no ztunnel is connected to the agent's socket: the pod's \
        connections that need HBONE are held until one is" });
    pods[1]["state"] = json!({ "drifted": "rule 100 is missing" });
    pods[1]["drift"] = json!([{ "kind": "rule", "what": "rule 100 (IPv4) is missing",
        "since_seconds": 12, "attempts": 1, "error": "operation not permitted: is CAP_NET_ADMIN there?" }]);
    answer["programs"][0]["runs"] = json!(123456789);
    answer["programs"][0]["nanoseconds"] = json!(24691357800_u64);
    answer
}

fn page(answer: &Value) -> impl Fn(Option<usize>) -> String {
    let answer = answer.to_string();
    move |width| status(&answer, width).expect("an answer").text
}

#[test]
fn of_a_node_at_each_width() {
    keep("status", page(&answer()));
    keep("status-ill", page(&ill()));
}

#[test]
fn of_a_pod_at_each_width() {
    let answer = ill().to_string();
    for (name, asked) in [("status-pending-pod", "u1"), ("status-drifted-pod", "u2")] {
        let answer = only(&answer, asked).expect("the pod");
        keep(name, |width| pod(&answer, width).expect("an answer").text);
    }
}

#[test]
fn a_pods_connections_are_told_by_class_and_path() {
    let of = |asked: &str, answer: &Value| {
        let answer = only(&answer.to_string(), asked).expect("a pod");
        let shown = pod(&answer, None).expect("an answer");
        anstream::adapter::strip_str(&shown.text).to_string()
    };
    let text = of("shop/web", &answer());
    let expected = "
CLASS   PATH    OPENED  CLOSED  SENT  RECEIVED  SECONDS
Direct  bypass  12      11      4096  123456    1.2
Direct  tunnel  3       3       10    20        60.0
";
    assert!(text.ends_with(expected), "{text}");
    let text = of("other/web", &answer());
    assert!(
        text.ends_with("\nno connection of it was counted so far\n"),
        "{text}"
    );
    let mut unread = answer();
    unread["pods"][1]["traffic"] = Value::Null;
    assert!(of("u2", &unread).contains("could not be read"));
}
