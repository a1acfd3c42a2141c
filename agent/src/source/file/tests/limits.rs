//! Files that would blow memory or the stack.

use super::*;

fn error(text: &str) -> String {
    let error = parse_mesh(text, "mesh.yaml").unwrap_err();
    error.to_string()
}

#[test]
fn aliases_of_aliases() {
    let mut text = String::from("workloads:\n- services:\n    a0: &a0 x\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text += &format!("    a{level}: &a{level} [{aliases}]\n");
    }
    let error = error(&text);
    assert!(
        error.contains("an entry of more than 300000 values"),
        "{error}"
    );
}

#[test]
fn a_long_text_with_many_aliases() {
    let long = "\\t".repeat(100_000);
    let aliases = vec!["*long"; 10_000].join(", ");
    let text = format!("workloads:\n- {{a: &long \"{long}\", b: [{aliases}]}}\n");
    let error = error(&text);
    assert!(
        error.contains("an entry of more than 300000 values"),
        "{error}"
    );
}

#[test]
fn aliases_over_many_entries() {
    let big = vec!["x"; 100_000].join(", ");
    let text = format!("workloads:\n- &big [{big}]\n{}", "- *big\n".repeat(20));
    let error = error(&text);
    assert!(
        error.contains("aliases stand for more than 1000000 values"),
        "{error}"
    );
}

#[test]
fn an_anchor_inside_of_itself() {
    let error = error("workloads:\n- &a [*a]\n");
    assert!(
        error.contains("an alias inside of its own anchor"),
        "{error}"
    );
}

#[test]
fn deep_nesting() {
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let text = format!("workloads: [{}1{}]", open.repeat(9999), close.repeat(9999));
        assert!(error(&text).starts_with("mesh.yaml:1: "));
    }
    let mut text = String::from("workloads:\n");
    for depth in 0..9999 {
        text += &format!("{}-\n", " ".repeat(depth % 200));
    }
    assert!(error(&text).starts_with("mesh.yaml:"));
}

#[test]
fn a_huge_entry() {
    let text = format!("workloads: [[{}]]", "1,".repeat(400_000));
    let error = error(&text);
    assert!(
        error.contains("an entry of more than 300000 values"),
        "{error}"
    );
}

#[test]
fn an_entry_with_many_mistakes() {
    let bad = vec!["x"; 50_000].join(", ");
    let fields: Vec<String> = (0..50_000).map(|field| format!("f{field}: 1")).collect();
    let fields = fields.join(", ");
    let parsed = parse(&format!(
        "workloads: [{{uid: a, namespace: n, workloadIps: [{bad}], {fields}}}]"
    ));
    assert_eq!(parsed.rejected.len(), 1);
    let found = messages(&parsed.diagnostics);
    assert_eq!(found.len(), 33);
    assert_eq!(
        found.last().unwrap(),
        "mesh.yaml:1: workload a: and 99968 more"
    );
}

#[test]
fn an_error_after_many_warnings_rejects() {
    let services: Vec<String> = (0..100)
        .map(|service| format!("n/s{service}: {{}}"))
        .collect();
    let services = services.join(", ");
    let workload = |uid| {
        format!("{{uid: {uid}, namespace: n, workloadIps: [10.0.0.1], services: {{{services}}}}}")
    };
    let parsed = parse(&format!(
        "workloads: [{}, {}]",
        workload("a"),
        workload("b")
    ));
    assert_eq!(parsed.workloads.len(), 1);
    assert_eq!(errors(&parsed).len(), 1);
}

#[test]
fn all_ports_of_a_service_fit() {
    let ports: Vec<String> = (1..=u16::MAX)
        .map(|port| format!("{port}: {port}"))
        .collect();
    let ports = ports.join(", ");
    let text = format!("services: [{{name: a, namespace: n, hostname: h, ports: {{{ports}}}}}]");
    let parsed = parse(&text);
    assert_eq!(parsed.services.first().map(|s| s.ports.len()), Some(65535));
}
