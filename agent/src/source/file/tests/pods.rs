//! The pods file.

use std::path::PathBuf;

use super::*;
use crate::model::PodSpec;

fn parse(text: &str) -> ParsedPods {
    parse_pods(text, "pods.yaml").unwrap_or_else(|error| panic!("{error}"))
}

fn spec(uid: &str, netns: &str) -> PodSpec {
    PodSpec {
        uid: uid.into(),
        name: "web".into(),
        namespace: "n".into(),
        service_account: "default".into(),
        netns: PathBuf::from(netns),
    }
}

fn entry(uid: &str, netns: &str) -> String {
    format!("- {{uid: {uid}, name: web, namespace: n, netns: {netns}}}\n")
}

#[test]
fn a_valid_file() {
    let parsed = parse(
        "- uid: a\n  name: web\n  namespace: n\n  serviceAccount: sa\n  netns: /run/netns/a\n",
    );
    let mut expected = spec("a", "/run/netns/a");
    expected.service_account = "sa".into();
    assert_eq!(parsed.pods, [expected]);
    assert_eq!(parse(&entry("a", "/a")).pods, [spec("a", "/a")]);
    assert_eq!(parse("[]").pods, []);
}

#[test]
fn mistakes() {
    let text = [
        "- {uid: a, name: web, namespace: n}\n",
        "- {uid: b, name: web, namespace: n, netns: run/b}\n",
        "- {name: web, namespace: n, netns: /c}\n",
        "- {uid: d, name: web, namespace: n, netns: /d, ip: 1}\n",
        &entry("e", "/e"),
        &entry("e", "/f"),
        &entry("g", "/e"),
        "- x\n",
    ];
    let parsed = parse(&text.concat());
    assert_eq!(
        messages(&parsed.diagnostics),
        [
            "pods.yaml:1: pod n/web (a): netns: missing",
            "pods.yaml:2: pod n/web (b): netns: \"run/b\" is not an absolute path",
            "pods.yaml:3: pod n/web: uid: missing",
            "pods.yaml:4: pod n/web (d): unknown field \"ip\"",
            "pods.yaml:6: pod n/web (e): uid: e is used twice, first at line 5",
            "pods.yaml:7: pod n/web (g): netns: /e is another pod's, at line 5",
            "pods.yaml:8: pods[7]: is a scalar, expected a map",
        ]
    );
    assert_eq!(parsed.pods, [spec("e", "/e")]);
}

#[test]
fn the_file_as_a_whole() {
    for (text, expected) in [
        ("", "pods.yaml:1: expected a list of pods"),
        ("pods: []\n", "pods.yaml:1: expected a list of pods"),
        ("- {\n", "pods.yaml:1: unclosed bracket"),
    ] {
        let error = parse_pods(text, "pods.yaml").unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn a_rejected_pod_keeps_its_last_good_version() {
    let mut state = PodsState::default();
    let (a, b) = (spec("a", "/a"), spec("b", "/b"));
    let both = entry("a", "/a") + &entry("b", "/b");
    assert_eq!(state.next(parse(&both)), [a.clone(), b.clone()]);
    let broken = entry("a", "a") + &entry("b", "/b");
    assert_eq!(state.next(parse(&broken)), [a.clone(), b.clone()]);
    assert_eq!(state.next(parse(&broken)), [a, b]);
    // Another pod has the namespace now.
    let moved = entry("a", "a") + &entry("b", "/a");
    assert_eq!(state.next(parse(&moved)), [spec("b", "/a")]);
    assert_eq!(state.next(parse("[]")), []);
}
