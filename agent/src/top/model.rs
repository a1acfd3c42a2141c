//! What is shown, and what keys change about it. Neither terminal nor clock.

use std::cmp::Reverse;
use std::time::Instant;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::page::{Flow, Page, Pod};

#[derive(Debug)]
pub(super) struct Model {
    pub(super) page: Page,
    /// The one before, which rates are made from.
    before: Option<Page>,
    at: Instant,
    /// Between the two, in seconds.
    seconds: f64,
    pub(super) sort: Sort,
    is_reversed: bool,
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) is_typing: bool,
    selected: usize,
    /// The pod that is looked into.
    pub(super) inside: Option<String>,
    /// Its last verdicts, the newest first.
    pub(super) flows: Vec<Flow>,
    /// Why nothing new has come.
    pub(super) error: Option<String>,
    /// No colours.
    pub(super) is_plain: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Name,
    Rate,
    All,
    Bytes,
    Drift,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    End,
}

impl Sort {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Rate => "rate",
            Self::All => "connections",
            Self::Bytes => "bytes",
            Self::Drift => "drift",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Name => Self::Rate,
            Self::Rate => Self::All,
            Self::All => Self::Bytes,
            Self::Bytes => Self::Drift,
            Self::Drift => Self::Name,
        }
    }
}

impl Model {
    pub(super) fn new(page: Page, at: Instant, is_plain: bool) -> Self {
        Self {
            page,
            before: None,
            at,
            seconds: 0.0,
            sort: Sort::Name,
            is_reversed: false,
            filter: String::new(),
            is_typing: false,
            selected: 0,
            inside: None,
            flows: Vec::new(),
            error: None,
            is_plain,
        }
    }

    pub(super) fn update(&mut self, page: Page, mut flows: Vec<Flow>, at: Instant) {
        self.seconds = at.saturating_duration_since(self.at).as_secs_f64();
        self.at = at;
        self.before = Some(std::mem::replace(&mut self.page, page));
        if let Some(inside) = &self.inside {
            flows.retain(|flow| flow.pod == *inside);
            flows.reverse();
            self.flows = flows;
        }
        self.error = None;
        self.clamp();
    }

    pub(super) fn fail(&mut self, error: String) {
        self.error = Some(error);
    }

    pub(super) fn wants_flows(&self) -> bool {
        self.inside.is_some()
    }

    /// The pods that are wanted, in order.
    pub(super) fn pods(&self) -> Vec<&Pod> {
        let wanted = |pod: &&Pod| pod.pod.contains(&self.filter);
        let mut pods: Vec<&Pod> = self.page.pods.iter().filter(wanted).collect();
        match self.sort {
            Sort::Name => pods.sort_by(|a, b| a.pod.cmp(&b.pod)),
            // In thousandths: rates are no order of their own.
            Sort::Rate => pods.sort_by_key(|pod| Reverse((self.pod_rate(pod) * 1e3) as u64)),
            Sort::All => pods.sort_by_key(|pod| Reverse(pod.all())),
            Sort::Bytes => pods.sort_by_key(|pod| {
                let bytes = pod.bytes(true).wrapping_add(pod.bytes(false));
                Reverse(bytes)
            }),
            Sort::Drift => pods.sort_by_key(|pod| Reverse((pod.drift.len(), pod.repaired))),
        }
        if self.is_reversed {
            pods.reverse();
        }
        pods
    }

    /// Which of [`Self::pods`].
    pub(super) fn selected(&self) -> usize {
        self.selected
    }

    /// Connections of a pod per second.
    pub(super) fn pod_rate(&self, pod: &Pod) -> f64 {
        self.pod_growth(pod, Pod::all)
    }

    /// What a count of a pod has grown by, per second.
    pub(super) fn pod_growth(&self, pod: &Pod, count: impl Fn(&Pod) -> u64) -> f64 {
        let before = self.before.as_ref().and_then(|page| {
            let mut pods = page.pods.iter();
            pods.find(|before| before.pod == pod.pod)
        });
        self.rate(before.map(&count), count(pod))
    }

    /// What a count of the page has grown by, per second.
    pub(super) fn growth(&self, count: impl Fn(&Page) -> u64) -> f64 {
        self.rate(self.before.as_ref().map(&count), count(&self.page))
    }

    fn rate(&self, before: Option<u64>, now: u64) -> f64 {
        match before {
            Some(before) if self.seconds > 0.0 => now.saturating_sub(before) as f64 / self.seconds,
            _ => 0.0,
        }
    }

    pub(super) fn pod(&self, name: &str) -> Option<&Pod> {
        self.page.pods.iter().find(|pod| pod.pod == name)
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Next {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Next::End;
        }
        if self.is_typing {
            match key.code {
                KeyCode::Enter => self.is_typing = false,
                KeyCode::Esc => {
                    self.is_typing = false;
                    self.filter.clear();
                }
                KeyCode::Backspace => drop(self.filter.pop()),
                KeyCode::Char(letter) => self.filter.push(letter),
                _ => {}
            }
            self.selected = 0;
            return Next::Go;
        }
        match key.code {
            KeyCode::Char('q') => return Next::End,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Char('/') if self.inside.is_none() => self.is_typing = true,
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.selected += 1,
            KeyCode::Enter => {
                let chosen = self.pods().get(self.selected).map(|pod| pod.pod.clone());
                self.inside = self.inside.take().or(chosen);
            }
            KeyCode::Esc | KeyCode::Backspace => {
                if self.inside.take().is_none() {
                    self.filter.clear();
                }
                self.flows.clear();
            }
            _ => {}
        }
        self.clamp();
        Next::Go
    }

    fn clamp(&mut self) {
        let last = self.pods().len().saturating_sub(1);
        self.selected = self.selected.min(last);
    }
}
