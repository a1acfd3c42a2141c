//! What is told of a node, and whether all is well there.

use serde_json::json;

use super::*;

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
              "repaired": 0, "verified_seconds_ago": 3 },
            { "uid": "u2", "name": "web", "namespace": "other", "netns": "/run/netns/o",
              "cookie": 8, "addresses": [], "state": "enrolled", "drift": [],
              "repaired": 0, "verified_seconds_ago": 3 },
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
    let shown = status(&answer.to_string()).expect("an answer");
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
        let one = pod(&only(&answer, asked).expect(asked)).expect(asked);
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
