//! Reading the fields of an entry: each error is recorded with its line and path, and reading
//! goes on, so that one look at the log shows everything that is wrong.

use std::collections::HashSet;

use super::problems::{Problems, quoted};
use super::yaml::{Node, Pair, Value};
use crate::model::Text;

/// A value and the path that leads to it.
#[derive(Debug)]
pub(super) struct Field<'n, 'a> {
    path: String,
    node: &'n Node<'a>,
}

/// A map whose keys are known; what was not asked for is an error.
#[derive(Debug)]
pub(super) struct Fields<'n, 'a> {
    path: String,
    line: usize,
    pairs: &'n [Pair<'a>],
    /// Which of the pairs have been asked for.
    asked: Vec<bool>,
}

impl<'n, 'a> Fields<'n, 'a> {
    /// The value of a field; null is the same as absent.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Field<'n, 'a>> {
        let mut pairs = self.pairs.iter().zip(&mut self.asked);
        let (pair, asked) = pairs.find(|(pair, _)| pair.key == key)?;
        *asked = true;
        (!pair.value.is_null()).then(|| Field {
            path: join(&self.path, key),
            node: &pair.value,
        })
    }

    pub(super) fn required(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<Field<'n, 'a>> {
        let field = self.get(key);
        if field.is_none() {
            problems.error(self.line, &join(&self.path, key), "missing");
        }
        field
    }

    /// The text of a field that may be absent: then it is empty.
    pub(super) fn text(&mut self, key: &'static str, problems: &mut Problems) -> Text {
        let field = self.get(key);
        field
            .and_then(|field| field.text(problems))
            .unwrap_or_default()
            .into()
    }

    /// The text of a field that must be there and not be empty.
    pub(super) fn required_text(&mut self, key: &'static str, problems: &mut Problems) -> Text {
        let Some(field) = self.required(key, problems) else {
            return Text::default();
        };
        let text = field.text(problems);
        if text == Some("") {
            field.error(problems, "must not be empty");
        }
        text.unwrap_or_default().into()
    }

    /// The items of a list that may be absent.
    pub(super) fn list(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Vec<Field<'n, 'a>> {
        let field = self.get(key);
        field.map_or_else(Vec::new, |field| field.list(problems))
    }

    pub(super) fn flag(&mut self, key: &'static str, problems: &mut Problems) -> bool {
        let field = self.get(key);
        field.is_some_and(|field| field.flag(problems))
    }

    /// To be called when all fields have been asked for.
    pub(super) fn finish(self, problems: &mut Problems) {
        if self.asked.iter().all(|asked| *asked) {
            return;
        }
        let mut seen = HashSet::with_capacity(self.pairs.len());
        for (pair, asked) in self.pairs.iter().zip(self.asked) {
            // A key that stands twice has been reported as such.
            if seen.insert(pair.key.as_ref()) && !asked {
                let message = format!("unknown field {}", quoted(&pair.key));
                problems.error(pair.line, &self.path, message);
            }
        }
    }
}

impl<'n, 'a> Field<'n, 'a> {
    /// An entry as a whole.
    pub(super) fn root(node: &'n Node<'a>) -> Self {
        Self {
            path: String::new(),
            node,
        }
    }

    pub(super) fn error(&self, problems: &mut Problems, message: impl Into<String>) {
        problems.error(self.node.line, &self.path, message);
    }

    pub(super) fn warning(&self, problems: &mut Problems, message: impl Into<String>) {
        problems.warning(self.node.line, &self.path, message);
    }

    pub(super) fn line(&self) -> usize {
        self.node.line
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn is_null(&self) -> bool {
        self.node.is_null()
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    pub(super) fn fields(&self, problems: &mut Problems) -> Option<Fields<'n, 'a>> {
        match &self.node.value {
            Value::Map(pairs) => Some(Fields {
                path: self.path.clone(),
                line: self.node.line,
                pairs,
                asked: vec![false; pairs.len()],
            }),
            Value::Scalar { .. } | Value::List(_) => {
                self.expected(problems, "a map");
                None
            }
        }
    }

    pub(super) fn text(&self, problems: &mut Problems) -> Option<&'n str> {
        match &self.node.value {
            Value::Scalar { text, .. } if !self.node.is_null() => Some(text),
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
                self.expected(problems, "a scalar");
                None
            }
        }
    }

    pub(super) fn list(&self, problems: &mut Problems) -> Vec<Field<'n, 'a>> {
        let Value::List(items) = &self.node.value else {
            self.expected(problems, "a list");
            return Vec::new();
        };
        let item = |(index, node)| Field {
            path: format!("{}[{index}]", self.path),
            node,
        };
        items.iter().enumerate().map(item).collect()
    }

    /// The pairs of a map whose keys are data.
    pub(super) fn pairs(&self, problems: &mut Problems) -> Vec<(&'n str, Field<'n, 'a>)> {
        let Value::Map(pairs) = &self.node.value else {
            self.expected(problems, "a map");
            return Vec::new();
        };
        let pair = |pair: &'n Pair<'a>| {
            let path = join(&self.path, &pair.key);
            let node = &pair.value;
            (pair.key.as_ref(), Field { path, node })
        };
        pairs.iter().map(pair).collect()
    }

    pub(super) fn flag(&self, problems: &mut Problems) -> bool {
        match self.text(problems) {
            Some("true" | "True" | "TRUE") => true,
            Some("false" | "False" | "FALSE") | None => false,
            Some(text) => {
                self.error(problems, format!("{} is not true or false", quoted(text)));
                false
            }
        }
    }

    /// An enum variant with its content: written as a tag (`!Exact foo`), as a map of one pair
    /// (`Exact: foo`), or, without content, as its name.
    pub(super) fn variant(
        &self,
        problems: &mut Problems,
    ) -> Option<(&'n str, Option<Field<'n, 'a>>)> {
        let node = self.node;
        if let Some(tag) = &node.tag {
            let path = self.path.clone();
            return Some((tag, Some(Field { path, node })));
        }
        match &node.value {
            Value::Map(pairs) => match pairs.as_slice() {
                [pair] => {
                    let path = join(&self.path, &pair.key);
                    let node = &pair.value;
                    Some((&pair.key, Some(Field { path, node })))
                }
                _ => {
                    self.error(problems, "must have exactly one key");
                    None
                }
            },
            Value::Scalar { .. } => Some((self.text(problems)?, None)),
            Value::List(_) => {
                self.expected(problems, "a name, a tag or a map");
                None
            }
        }
    }

    /// One of a closed set of names.
    pub(super) fn one_of<T: Copy>(
        &self,
        known: &[(&str, T)],
        problems: &mut Problems,
    ) -> Option<T> {
        let name = self.name(problems)?;
        let found = known.iter().find(|(known, _)| *known == name);
        if found.is_none() {
            self.error(problems, not_one_of(name, known));
        }
        found.map(|(_, value)| *value)
    }

    /// One of a set of names that may grow: another one is `unknown`, with a warning.
    pub(super) fn one_of_or<T: Copy>(
        &self,
        known: &[(&str, T)],
        unknown: T,
        problems: &mut Problems,
    ) -> T {
        let Some(name) = self.name(problems) else {
            return unknown;
        };
        match known.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => *value,
            None => {
                let message = not_one_of(name, known);
                self.warning(
                    problems,
                    format!("{message}; traffic to it is always steered"),
                );
                unknown
            }
        }
    }

    fn name(&self, problems: &mut Problems) -> Option<&'n str> {
        match &self.node.tag {
            Some(tag) => Some(tag),
            None => self.text(problems),
        }
    }

    fn expected(&self, problems: &mut Problems, what: &str) {
        let message = format!("is {}, expected {what}", self.node.kind());
        self.error(problems, message);
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn not_one_of<T>(name: &str, known: &[(&str, T)]) -> String {
    let known: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    format!("{} is not one of {}", quoted(name), known.join(", "))
}
