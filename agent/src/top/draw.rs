//! The picture.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table, TableState};
use waysteer_common::verdict::Class;

use super::model::Model;
use super::page::{Page, Pod};
use crate::state::PodState;
use crate::traffic::Counted;

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let classes = Class::ALL.len() as u16;
    let areas = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(classes + 2),
        Constraint::Length(2),
        Constraint::Min(3),
        Constraint::Length(1),
    ]);
    let [head, traffic, packets, pods, keys] = areas.areas(frame.area());
    frame.render_widget(heading(model), head);
    frame.render_widget(traffic_table(model), traffic);
    frame.render_widget(Paragraph::new(held(model)), packets);
    match model.inside.as_deref() {
        Some(name) => inside(frame, pods, model, name),
        None => {
            let mut state = TableState::default().with_selected(model.selected());
            frame.render_stateful_widget(pod_table(model, pods.width), pods, &mut state);
        }
    }
    frame.render_widget(Paragraph::new(help(model)), keys);
}

fn heading(model: &Model) -> Paragraph<'static> {
    let page = &model.page;
    let enrolled = page
        .pods
        .iter()
        .filter(|pod| pod.state == PodState::Enrolled);
    let (enrolled, all) = (enrolled.count(), page.pods.len());
    let first = vec![
        Span::styled("waysteer ", bold()),
        Span::raw(format!("{} on {}   ", page.version, page.node)),
        told(
            model,
            enrolled == all,
            format!("{enrolled} of {all} pods enrolled"),
        ),
        Span::raw("   "),
        told(
            model,
            page.drift == 0,
            format!("drifts of the node: {}", page.drift),
        ),
    ];
    let (is_well, text) = trouble(model);
    Paragraph::new(vec![
        Line::from(first),
        Line::from(told(model, is_well, text)),
    ])
}

/// What stands in the way most.
fn trouble(model: &Model) -> (bool, String) {
    let page = &model.page;
    match (&model.error, &page.map_error) {
        (Some(error), _) => (false, error.clone()),
        (None, Some(error)) => (false, format!("maps not written whole: {error}")),
        (None, None) if !page.synced => {
            let text = "no complete snapshot yet: everything enrolled is steered";
            (false, text.to_owned())
        }
        (None, None) if !page.pods_known => (false, "the local pods are not known yet".to_owned()),
        (None, None) => (true, "complete snapshot".to_owned()),
    }
}

fn traffic_table(model: &Model) -> Table<'static> {
    let header = ["CLASS", "OPEN", "NEW/s", "TUNNEL", "/s", "PAST IT", "/s"];
    let rows = Class::ALL.iter().map(|class| {
        let class = class.label();
        let open = |page: &Page| sum(page, class, None, |t| t.opened.wrapping_sub(t.closed));
        let opened = |page: &Page| sum(page, class, None, |t| t.opened);
        let steered = |page: &Page| sum(page, class, Some(true), Counted::bytes);
        let bypassed = |page: &Page| sum(page, class, Some(false), Counted::bytes);
        Row::new([
            class.to_owned(),
            open(&model.page).to_string(),
            format!("{:.1}", model.growth(opened)),
            bytes(steered(&model.page) as f64),
            bytes(model.growth(steered)),
            bytes(bypassed(&model.page) as f64),
            bytes(model.growth(bypassed)),
        ])
    });
    let widths = [17, 7, 8, 10, 10, 10, 10].map(Constraint::Length);
    Table::new(rows, widths).header(Row::new(header).style(bold()))
}

fn sum(page: &Page, class: &str, steered: Option<bool>, of: impl Fn(&Counted) -> u64) -> u64 {
    let all = page.traffic.iter().filter(|traffic| traffic.class == class);
    let all = all.filter(|traffic| steered.is_none_or(|steered| traffic.steered == steered));
    all.map(of).fold(0, u64::wrapping_add)
}

/// Packets that went nowhere, and verdicts that nobody heard.
fn held(model: &Model) -> Line<'static> {
    let mut spans = Vec::new();
    for (label, actions) in [
        (
            "held",
            &["outbound_held", "inbound_held", "time_wait_held"][..],
        ),
        (
            "dropped",
            &[
                "assign_failed",
                "guard_dropped",
                "unreadable_dropped",
                "fragment_dropped",
                "mark_failed",
            ],
        ),
        ("impostors", &["impostor_listener"]),
        ("events lost", &["event_lost"]),
    ] {
        let count = |page: &Page| {
            let counts = actions
                .iter()
                .filter_map(|action| page.packets.get(*action));
            counts.sum::<u64>()
        };
        let (now, rate) = (count(&model.page), model.growth(count));
        spans.push(Span::styled(format!("{label} "), bold()));
        let text = format!("{now} ({rate:.1}/s)   ");
        spans.push(told(model, rate == 0.0, text));
    }
    Line::from(spans)
}

/// How much there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Room {
    Little,
    /// Also for rates.
    Some,
    /// Also for classes and reasons.
    Much,
}

impl Room {
    fn of(width: u16) -> Self {
        match width {
            0..100 => Self::Little,
            100..170 => Self::Some,
            170.. => Self::Much,
        }
    }
}

fn pod_table(model: &Model, width: u16) -> Table<'static> {
    let room = Room::of(width);
    let mut columns = vec![
        ("POD", Constraint::Min(20)),
        ("STATE", Constraint::Length(8)),
        ("NEW/s", Constraint::Length(6)),
    ];
    for path in ["TUNNEL", "PAST IT"] {
        columns.push((path, Constraint::Length(10)));
        if room >= Room::Some {
            columns.push(("/s", Constraint::Length(10)));
        }
    }
    if room == Room::Much {
        let widths = [16, 8, 11, 11].map(Constraint::Length);
        columns.extend(Class::ALL.iter().map(|class| class.label()).zip(widths));
        columns.push(("REPAIRED", Constraint::Length(8)));
    }
    let drift = if room == Room::Much { 40 } else { 5 };
    columns.push(("DRIFT", Constraint::Length(drift)));
    let (header, widths): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let rows = model.pods().into_iter().map(|pod| row(model, pod, room));
    Table::new(rows.collect::<Vec<_>>(), widths)
        .header(Row::new(header).style(bold()))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
}

fn row(model: &Model, pod: &Pod, room: Room) -> Row<'static> {
    let mut cells = vec![
        Span::raw(pod.pod.clone()),
        told(
            model,
            pod.state == PodState::Enrolled,
            pod.state.label().to_owned(),
        ),
        Span::raw(format!("{:.1}", model.pod_rate(pod))),
    ];
    for is_steered in [true, false] {
        cells.push(Span::raw(bytes(pod.bytes(is_steered) as f64)));
        if room >= Room::Some {
            let rate = model.pod_growth(pod, |pod| pod.bytes(is_steered));
            cells.push(Span::raw(bytes(rate)));
        }
    }
    let is_wide = room == Room::Much;
    if is_wide {
        let classes = Class::ALL.iter().map(|class| pod.of(class.label()));
        cells.extend(classes.map(|count| Span::raw(count.to_string())));
        cells.push(Span::raw(pod.repaired.to_string()));
    }
    let drift = match (pod.drift.as_slice(), is_wide) {
        ([], _) => "-".to_owned(),
        (drift, true) => drift.join("; "),
        (drift, false) => drift.len().to_string(),
    };
    cells.push(told(model, pod.drift.is_empty(), drift));
    Row::new(cells)
}

/// One pod: what is amiss, and what it has dialled last.
fn inside(frame: &mut Frame<'_>, area: Rect, model: &Model, name: &str) {
    let Some(pod) = model.pod(name) else {
        let gone = format!("{name} is no longer here");
        frame.render_widget(Paragraph::new(gone), area);
        return;
    };
    let addresses: Vec<String> = pod.addresses.iter().map(ToString::to_string).collect();
    let why = match &pod.state {
        PodState::Enrolled | PodState::Leaving => String::new(),
        PodState::Pending(why) | PodState::Drifted(why) | PodState::Failed(why) => {
            format!(": {why}")
        }
    };
    let mut lines = vec![
        Line::from(vec![
            Span::styled(pod.pod.clone(), bold()),
            Span::raw(format!("   {}   ", addresses.join(" "))),
            told(
                model,
                pod.state == PodState::Enrolled,
                format!("{}{why}", pod.state.label()),
            ),
            Span::raw(format!("   repaired {} times", pod.repaired)),
        ]),
        Line::from(
            Class::ALL
                .iter()
                .map(|class| format!("{} {}   ", class.label(), pod.of(class.label())))
                .collect::<String>(),
        ),
    ];
    lines.extend(pod.traffic.iter().map(|traffic| Line::from(did(traffic))));
    let drift = pod.drift.iter();
    lines.extend(drift.map(|drift| Line::from(told(model, false, drift.clone()))));
    let height = lines.len() as u16 + 1;
    let [above, below] =
        Layout::vertical([Constraint::Length(height), Constraint::Min(2)]).areas(area);
    frame.render_widget(Paragraph::new(lines), above);
    // Where there is no room, the next hop is left out: the others are not cut off.
    let is_wide = area.width >= 90;
    let rows = model.flows.iter().map(|flow| {
        let way = if flow.steered { "tunnel" } else { "past it" };
        let mut cells = vec![
            flow.destination.clone(),
            flow.class.clone(),
            flow.reason.clone(),
            way.to_owned(),
        ];
        if is_wide {
            cells.push(flow.next_hop.clone().unwrap_or_else(|| "-".to_owned()));
        }
        Row::new(cells)
    });
    let mut widths = vec![
        Constraint::Min(22),
        Constraint::Length(16),
        Constraint::Length(18),
        Constraint::Length(7),
    ];
    let mut header = vec!["LAST DIALLED", "CLASS", "REASON", "WAY"];
    if is_wide {
        widths.push(Constraint::Min(22));
        header.push("NEXT HOP");
    }
    let table = Table::new(rows, widths).header(Row::new(header).style(bold()));
    frame.render_widget(table, below);
}

/// What connections of one class did.
fn did(counted: &Counted) -> String {
    let Counted {
        class,
        steered,
        opened,
        closed,
        sent_bytes,
        received_bytes,
        duration_seconds: _,
    } = counted;
    let way = if *steered { "tunnel" } else { "past it" };
    format!(
        "{class} {way}: {opened} opened, {closed} closed, {} sent, {} received",
        bytes(*sent_bytes as f64),
        bytes(*received_bytes as f64),
    )
}

fn help(model: &Model) -> Line<'static> {
    if model.is_typing {
        return Line::from(format!(
            "pods with: {}_   Enter keeps it, Esc not",
            model.filter
        ));
    }
    if model.inside.is_some() {
        return Line::from("Esc back   q quit");
    }
    let filter = match model.filter.as_str() {
        "" => String::new(),
        filter => format!(" {filter:?}"),
    };
    let sort = model.sort.label();
    Line::from(format!(
        "q quit   s sort by {sort}   r reverse   / filter{filter}   Enter a pod"
    ))
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// Good news in green, others in red, where there may be colours.
fn told(model: &Model, is_good: bool, text: String) -> Span<'static> {
    let colour = if is_good { Color::Green } else { Color::Red };
    if model.is_plain {
        Span::raw(text)
    } else {
        Span::styled(text, Style::new().fg(colour))
    }
}

/// In units of 1024.
fn bytes(count: f64) -> String {
    let mut count = count;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if count < 1024.0 {
            let digits = if unit == "B" { 0 } else { 1 };
            return format!("{count:.digits$} {unit}");
        }
        count /= 1024.0;
    }
    format!("{count:.1} TiB")
}

#[cfg(test)]
mod tests;
