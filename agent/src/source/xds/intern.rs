//! One copy of names that many resources have.

use std::collections::HashSet;
use std::sync::Arc;

use crate::model::Text;

#[derive(Debug, Default)]
pub(super) struct Interner {
    texts: HashSet<Text>,
    /// When what nobody has any more is thrown away.
    prune_at: usize,
}

impl Interner {
    const FIRST_PRUNE: usize = 1024;

    pub(super) fn text(&mut self, text: String) -> Text {
        if let Some(known) = self.texts.get(text.as_str()) {
            return known.clone();
        }
        if self.texts.len() >= self.prune_at {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.prune_at = (self.texts.len() * 2).max(Self::FIRST_PRUNE);
        }
        let text = Text::from(text);
        self.texts.insert(text.clone());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shared_and_not_kept_for_ever() {
        let mut interner = Interner::default();
        let first = interner.text("default".to_owned());
        assert!(Arc::ptr_eq(&first, &interner.text("default".to_owned())));
        for number in 0..100_000 {
            interner.text(format!("gone-{number}"));
        }
        assert!(interner.texts.len() <= Interner::FIRST_PRUNE);
        assert!(Arc::ptr_eq(&first, &interner.text("default".to_owned())));
    }
}
