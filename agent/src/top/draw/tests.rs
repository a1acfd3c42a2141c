//! The picture at 80 and 200 columns, and what keys do to it.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::*;
use crate::top::model::Next;
use crate::top::page::Flow;

/// A node; later ones have more of everything.
fn page(time: u64) -> Page {
    let tally = |steered: u64, bypassed: u64| json!({ "steered": steered, "bypassed": bypassed });
    let traffic = |class: &str, steered: bool, by: u64| {
        json!({ "class": class, "steered": steered, "opened": 10 + by * time, "closed": 3,
            "sent_bytes": 1000 * by * time, "received_bytes": 2048 * by * time,
            "duration_seconds": 0.5 })
    };
    let pod = |name: &str, state: Value, drift: Value, verdicts: Value, traffic: Value| {
        json!({ "pod": name, "state": state, "drift": drift, "repaired": 2,
            "addresses": ["10.1.1.10", "fd00::a"], "verdicts": verdicts, "traffic": traffic })
    };
    let page = json!({
        "version": "0.1.0", "node": "node1", "synced": true, "pods_known": true,
        "map_error": null, "drift": 0,
        "pods": [
            pod("shop/web-1", json!("enrolled"), json!([]), json!({
                "Direct": tally(4 + 10 * time, 0), "Passthrough": tally(0, 3) }),
                json!([traffic("Direct", true, 10), traffic("Direct", false, 1)])),
            pod("shop/cart-7", json!({ "drifted": "rule 100 is gone" }),
                json!(["rule 100 is gone"]), json!({ "DirectLocal": tally(0, 5 * time) }),
                json!([traffic("DirectLocal", false, 5)])),
            pod("infra/idle", json!("enrolled"), json!([]), json!({}), json!([])),
        ],
        "traffic": [
            traffic("ToServerWaypoint", true, 0), traffic("Direct", true, 10),
            traffic("Direct", false, 1), traffic("DirectLocal", false, 5),
            traffic("Passthrough", false, 0),
        ],
        "packets": { "outbound_held": 4 * time, "inbound_held": 0, "guard_dropped": 0,
            "event_lost": 0 },
    });
    serde_json::from_value(page).expect("a page")
}

/// Two seconds after the first look.
fn model() -> Model {
    let start = Instant::now();
    let mut model = Model::new(page(1), start, false);
    model.update(page(2), Vec::new(), start + Duration::from_secs(2));
    model
}

fn drawn(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a backend");
    terminal.draw(|frame| draw(frame, model)).expect("drawn");
    let buffer = terminal.backend().buffer();
    let cells: Vec<&str> = buffer.content().iter().map(|cell| cell.symbol()).collect();
    let lines = cells.chunks(usize::from(width));
    lines
        .map(|line| format!("{}\n", line.concat().trim_end()))
        .collect()
}

fn press(model: &mut Model, keys: &[KeyCode]) -> Next {
    let keys = keys
        .iter()
        .map(|key| KeyEvent::new(*key, KeyModifiers::NONE));
    keys.fold(Next::Go, |_, key| model.key(key))
}

fn letters(text: &str) -> Vec<KeyCode> {
    text.chars().map(KeyCode::Char).collect()
}

#[test]
fn at_80_columns() {
    let expected = "\
waysteer 0.1.0 on node1   2 of 3 pods enrolled   drifts of the node: 0
complete snapshot
CLASS             OPEN    NEW/s    TUNNEL     /s         PAST IT    /s
ToServerWaypoint  7       0.0      0 B        0 B        0 B        0 B
Direct            36      5.5      59.5 KiB   14.9 KiB   6.0 KiB    1.5 KiB
DirectLocal       17      2.5      0 B        0 B        29.8 KiB   7.4 KiB
Passthrough       7       0.0      0 B        0 B        0 B        0 B

held 8 (2.0/s)   dropped 0 (0.0/s)   impostors 0 (0.0/s)   events lost 0 (0.0/s)

POD                                  STATE    NEW/s  TUNNEL     PAST IT    DRIFT
infra/idle                           enrolled 0.0    0 B        0 B        -
shop/cart-7                          drifted  2.5    0 B        29.8 KiB   1
shop/web-1                           enrolled 5.0    59.5 KiB   6.0 KiB    -

q quit   s sort by name   r reverse   / filter   Enter a pod
";
    assert_eq!(drawn(&model(), 80, 16), expected);
}

#[test]
fn at_200_columns() {
    let text = drawn(&model(), 200, 16);
    for line in [
        "NEW/s  TUNNEL     /s         PAST IT    /s         ToServerWaypoint Direct   DirectLocal Passthrough REPAIRED DRIFT",
        "drifted  2.5    0 B        0 B        29.8 KiB   7.4 KiB    0                0        10          0           2        rule 100 is gone",
        "enrolled 5.0    59.5 KiB   14.9 KiB   6.0 KiB    1.5 KiB    0                24       0           3           2        -",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn keys_sort_filter_and_lead_into_a_pod() {
    let mut model = model();
    let order = |model: &Model| {
        let pods = model.pods().into_iter();
        pods.map(|pod| pod.pod.clone()).collect::<Vec<_>>()
    };
    press(&mut model, &letters("s"));
    assert_eq!(order(&model), ["shop/web-1", "shop/cart-7", "infra/idle"]);
    press(&mut model, &letters("r"));
    assert_eq!(order(&model), ["infra/idle", "shop/cart-7", "shop/web-1"]);
    press(&mut model, &letters("rss"));
    assert_eq!(order(&model), ["shop/web-1", "shop/cart-7", "infra/idle"]);
    assert!(drawn(&model, 80, 16).contains("sort by bytes"));
    press(&mut model, &letters("s"));
    assert_eq!(order(&model)[0], "shop/cart-7");
    // While a filter is typed, its letters are nothing else.
    press(&mut model, &letters("/shop/q"));
    assert!(order(&model).is_empty());
    assert!(drawn(&model, 80, 16).contains("pods with: shop/q_"));
    press(&mut model, &[KeyCode::Backspace, KeyCode::Enter]);
    assert_eq!(order(&model).len(), 2);
    assert!(drawn(&model, 80, 16).contains("/ filter \"shop/\""));

    press(
        &mut model,
        &[KeyCode::Down, KeyCode::Down, KeyCode::Up, KeyCode::Enter],
    );
    assert!(model.wants_flows());
    let flow = |pod: &str, reason: &str| Flow {
        pod: pod.into(),
        destination: "10.96.0.10:80".into(),
        class: "Direct".into(),
        reason: reason.into(),
        steered: true,
        next_hop: None,
    };
    let flows = vec![
        flow("shop/cart-7", "NoPort"),
        flow("shop/web-1", "Invalid"),
        flow("shop/cart-7", "NoEndpoint"),
    ];
    model.update(page(3), flows, Instant::now());
    let expected = "\
shop/cart-7   10.1.1.10 fd00::a   drifted: rule 100 is gone   repaired 2 times
ToServerWaypoint 0   Direct 0   DirectLocal 15   Passthrough 0
DirectLocal past it: 25 opened, 3 closed, 14.6 KiB sent, 30.0 KiB received
rule 100 is gone

LAST DIALLED            CLASS            REASON             WAY     NEXT HOP
10.96.0.10:80           Direct           NoEndpoint         tunnel  -
10.96.0.10:80           Direct           NoPort             tunnel  -
";
    let text = drawn(&model, 90, 20);
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("Esc back"), "{text}");
    // Nothing is cut off on a narrow terminal.
    let narrow = drawn(&model, 80, 20);
    assert!(
        narrow.contains("Direct           NoEndpoint         tunnel\n"),
        "{narrow}"
    );
    press(&mut model, &[KeyCode::Esc, KeyCode::Esc]);
    assert_eq!(order(&model).len(), 3);
    assert_eq!(press(&mut model, &letters("q")), Next::End);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(model.key(interrupt), Next::End);
}

#[test]
fn what_is_wrong_is_in_red_unless_nobody_wants_colours() {
    let colours = |model: &Model| {
        let mut terminal = Terminal::new(TestBackend::new(80, 16)).expect("a backend");
        terminal.draw(|frame| draw(frame, model)).expect("drawn");
        let cells = terminal.backend().buffer().content();
        let has = |colour| cells.iter().any(|cell| cell.fg == colour);
        (has(Color::Red), has(Color::Green))
    };
    let mut model = model();
    assert_eq!(colours(&model), (true, true));
    model.is_plain = true;
    assert_eq!(colours(&model), (false, false));
    model.fail("no agent answers".into());
    assert!(drawn(&model, 80, 16).contains("no agent answers"));
    let mut unsynced = page(1);
    unsynced.synced = false;
    model.update(unsynced, Vec::new(), Instant::now());
    assert!(drawn(&model, 80, 16).contains("everything enrolled is steered"));
    // However little room there is.
    for (width, height) in [(1, 1), (20, 5), (79, 9)] {
        drawn(&model, width, height);
    }
}

#[test]
fn bytes_are_short() {
    let said = [0.0, 1023.0, 1024.0, 1536.0 * 1024.0, 5e12].map(bytes);
    assert_eq!(said, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "4.5 TiB"]);
}
