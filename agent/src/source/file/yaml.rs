//! YAML as located nodes.
//!
//! Built on parser events instead of serde, because an error has to name its line and path, a bad
//! entry must not end the reading of the others, and a scalar's own spelling is needed (`080` is
//! not a port, `1e3` may be a name). One entry is in memory at a time; budgets bound the rest.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag, options};
use thiserror::Error;

/// More nodes than this in one entry are an attack or a mistake: all ports of a service, with
/// their target ports, are 131,070.
const MAX_ENTRY_NODES: usize = 300_000;
/// Nodes that aliases may add, in the whole file. Aliases are how a short file becomes a huge one.
const MAX_ALIASED_NODES: usize = 1_000_000;
/// The deepest legal structure, a policy's match, is less than a dozen levels deep.
const MAX_DEPTH: usize = 32;

#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    pub(super) line: usize,
    /// The name of a local tag, e.g. `Exact` of `!Exact`.
    pub(super) tag: Option<Box<str>>,
    pub(super) value: Value<'a>,
}

#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    /// `plain` is false for quoted and block scalars, which are never null.
    Scalar {
        text: Cow<'a, str>,
        plain: bool,
    },
    List(Vec<Node<'a>>),
    Map(Vec<Pair<'a>>),
}

#[derive(Debug, Clone)]
pub(super) struct Pair<'a> {
    pub(super) key: Cow<'a, str>,
    pub(super) line: usize,
    pub(super) value: Node<'a>,
}

/// What stands at the top of a document, or of one of its sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    Map,
    List,
    Null,
    Other,
}

/// The file as a whole cannot be read.
#[derive(Debug, Error)]
#[error("{message}")]
pub(super) struct SyntaxError {
    pub(super) line: usize,
    pub(super) message: String,
}

impl SyntaxError {
    pub(super) fn new(line: usize, message: impl Into<String>) -> Self {
        Self {
            line,
            message: message.into(),
        }
    }
}

impl Node<'_> {
    pub(super) fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, plain: true } => {
                self.tag.is_none() && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL")
            }
            Value::Scalar { plain: false, .. } | Value::List(_) | Value::Map(_) => false,
        }
    }

    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "null",
            Value::Scalar { .. } => "a scalar",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// Reads a document piece by piece.
pub(super) struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// Complete nodes with an anchor, and how many nodes each is.
    anchors: HashMap<usize, (Node<'a>, usize)>,
    entry_nodes: usize,
    aliased_nodes: usize,
    line: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let options = options! {
            emit_comments: false,
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
        };
        Self {
            parser: Parser::new_from_str_with_options(text, options),
            anchors: HashMap::new(),
            entry_nodes: 0,
            aliased_nodes: 0,
            line: 1,
        }
    }

    /// Where reading has come to.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// Opens the document.
    pub(super) fn open(&mut self) -> Result<Start, SyntaxError> {
        loop {
            match self.event()?.0 {
                Event::StreamStart | Event::DocumentStart(..) => {}
                Event::StreamEnd => return Ok(Start::Null),
                event => return Ok(start_of(&event)),
            }
        }
    }

    /// The next key of the map that has been opened.
    pub(super) fn key(&mut self) -> Result<Option<Cow<'a, str>>, SyntaxError> {
        match self.event()?.0 {
            Event::MappingEnd => Ok(None),
            Event::Scalar(text, ..) => Ok(Some(text)),
            _ => Err(SyntaxError::new(self.line, "a key must be a scalar")),
        }
    }

    /// Opens the value of the key that has been read.
    pub(super) fn section(&mut self) -> Result<Start, SyntaxError> {
        let (event, _) = self.event()?;
        Ok(start_of(&event))
    }

    /// The next item of the list that has been opened.
    pub(super) fn item(&mut self) -> Result<Option<Node<'a>>, SyntaxError> {
        self.entry_nodes = 0;
        match self.event()? {
            (Event::SequenceEnd, _) => Ok(None),
            (event, span) => self.node(event, span, MAX_DEPTH).map(Some),
        }
    }

    /// Closes the document; there must not be a second one.
    pub(super) fn close(&mut self) -> Result<(), SyntaxError> {
        loop {
            match self.event()?.0 {
                Event::DocumentEnd => {}
                Event::StreamEnd => return Ok(()),
                _ => return Err(SyntaxError::new(self.line, "a second document (`---`)")),
            }
        }
    }

    fn event(&mut self) -> Result<(Event<'a>, Span), SyntaxError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok((event, span))
            }
            Some(Err(error)) => Err(SyntaxError::new(error.marker().line(), error.info())),
            None => Err(SyntaxError::new(self.line, "unexpected end")),
        }
    }

    fn node(
        &mut self,
        event: Event<'a>,
        span: Span,
        depth: usize,
    ) -> Result<Node<'a>, SyntaxError> {
        let line = span.start.line();
        let Some(depth) = depth.checked_sub(1) else {
            return Err(SyntaxError::new(line, "nested too deeply"));
        };
        let before = self.entry_nodes;
        self.count(cost(event.scalar().map_or("", |(text, _)| text)), line)?;
        let (anchor, tag, value) = match event {
            Event::Alias(anchor) => return self.alias(anchor, line),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                (anchor, tag, Value::Scalar { text, plain })
            }
            Event::SequenceStart(_, anchor, tag) => (anchor, tag, self.list(depth)?),
            Event::MappingStart(_, anchor, tag) => (anchor, tag, self.map(depth)?),
            _ => return Err(SyntaxError::new(line, "unexpected end of a list or map")),
        };
        let tag = tag.and_then(|tag| local_tag(&tag));
        let node = Node { line, tag, value };
        if anchor != 0 {
            // Nodes that are kept for aliases outlive their entry, so they count like aliases.
            let size = self.entry_nodes - before;
            self.count_aliased(size, line)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>, SyntaxError> {
        let mut items = Vec::new();
        loop {
            match self.event()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, span) => items.push(self.node(event, span, depth)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value<'a>, SyntaxError> {
        let mut pairs = Vec::new();
        while let Some(key) = self.key()? {
            let line = self.line;
            self.count(cost(&key), line)?;
            let (event, span) = self.event()?;
            let value = self.node(event, span, depth)?;
            pairs.push(Pair { key, line, value });
        }
        Ok(Value::Map(pairs))
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<Node<'a>, SyntaxError> {
        let Some((_, size)) = self.anchors.get(&anchor) else {
            return Err(SyntaxError::new(line, "an alias inside of its own anchor"));
        };
        let size = *size;
        self.count(size, line)?;
        self.count_aliased(size, line)?;
        let node = self.anchors.get(&anchor).map(|(node, _)| node.clone());
        node.ok_or_else(|| SyntaxError::new(line, "unknown anchor"))
    }

    fn count(&mut self, nodes: usize, line: usize) -> Result<(), SyntaxError> {
        self.entry_nodes = self.entry_nodes.saturating_add(nodes);
        if self.entry_nodes > MAX_ENTRY_NODES {
            let message = format!("an entry of more than {MAX_ENTRY_NODES} values");
            return Err(SyntaxError::new(line, message));
        }
        Ok(())
    }

    fn count_aliased(&mut self, nodes: usize, line: usize) -> Result<(), SyntaxError> {
        self.aliased_nodes = self.aliased_nodes.saturating_add(nodes);
        if self.aliased_nodes > MAX_ALIASED_NODES {
            let message = format!("aliases stand for more than {MAX_ALIASED_NODES} values");
            return Err(SyntaxError::new(line, message));
        }
        Ok(())
    }
}

/// What a scalar counts as: a long one is copied for each of its aliases too.
fn cost(text: &str) -> usize {
    1 + text.len() / 32
}

fn start_of(event: &Event<'_>) -> Start {
    match event {
        Event::MappingStart(..) => Start::Map,
        Event::SequenceStart(..) => Start::List,
        Event::Scalar(text, ScalarStyle::Plain, ..)
            if matches!(text.as_ref(), "" | "~" | "null") =>
        {
            Start::Null
        }
        _ => Start::Other,
    }
}

/// Enum variants are written as local tags (`!Exact x`); tags of YAML's own types say nothing new.
fn local_tag(tag: &Tag) -> Option<Box<str>> {
    let (handle, suffix) = tag.parts();
    (handle == "!").then(|| suffix.into())
}
