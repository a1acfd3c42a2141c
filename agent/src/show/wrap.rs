//! Text that is broken between words where a line would be wider than the terminal. A word that is
//! wider stays whole: names are never cut.

/// Lines of at most `width` characters; all of it in one without a width. Each line of the text begins
/// one.
pub(super) fn wrap(text: &str, width: Option<usize>) -> Vec<String> {
    let width = width.unwrap_or(usize::MAX);
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let (mut line, mut used) = (String::new(), 0);
        for word in paragraph.split(' ') {
            let length = word.chars().count();
            if used > 0 && used + 1 + length > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += length;
        }
        lines.push(line);
    }
    lines
}

/// The same with a line's end each, and all but the first moved in by so many blanks.
pub(super) fn hanging(text: &str, width: Option<usize>, indent: usize) -> String {
    let mut hanging = String::new();
    // The first line has the blanks for text that stands before it.
    let rest = width.map(|width| room(width, indent));
    for (number, line) in wrap(text, rest).into_iter().enumerate() {
        if number > 0 {
            hanging.extend(std::iter::repeat_n(' ', indent));
        }
        hanging.push_str(&line);
        hanging.push('\n');
    }
    hanging
}

/// What is left beside what stands before; so narrow that nothing can be read it never is.
pub(super) fn room(width: usize, before: usize) -> usize {
    const LEAST: usize = 20;
    width.saturating_sub(before).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_never_cut() {
        let text = "a name/that-is-rather-long is here";
        assert_eq!(
            wrap(text, Some(10)),
            ["a", "name/that-is-rather-long", "is here"]
        );
        assert_eq!(wrap(text, None), [text]);
        assert_eq!(wrap(text, Some(34)), [text]);
        assert_eq!(wrap("one\ntwo", None), ["one", "two"]);
    }

    #[test]
    fn what_goes_on_is_moved_in() {
        let text = "the quick brown fox jumps over the lazy dog";
        assert_eq!(
            hanging(text, Some(26), 4),
            "the quick brown fox\n    jumps over the lazy\n    dog\n"
        );
        assert_eq!(hanging(text, None, 4), format!("{text}\n"));
    }
}
