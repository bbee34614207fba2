//! Text from outside that stays in the log permanently: one line.

/// Of the reason of an event: some sentences.
pub const MAX_REASON_CHARACTERS: usize = 500;

/// Whether a text is one line of 1 to `max_characters` characters and not blank.
///
/// Control characters are refused: Postgres cannot return a NUL that is stored in JSON. So are the line and paragraph
/// separators of Unicode (U+2028, U+2029; U+0085 is a control character): the log's lines do not escape them, and some
/// readers of an export would split a line there.
pub fn is_line(text: &str, max_characters: usize) -> bool {
    let ends_line = |character: char| character.is_control() || matches!(character, '\u{2028}' | '\u{2029}');
    text.chars().count() <= max_characters && !text.contains(ends_line) && !text.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::is_line;

    #[test]
    fn one_line_of_bounded_length_is_accepted() {
        for text in ["a", "Größe & Maß", "two words", "auth0|5f7c", "\u{1f600}"] {
            assert!(is_line(text, 11), "{text:?}");
        }
        assert!(is_line(&"ü".repeat(11), 11));
    }

    #[test]
    fn text_that_would_break_a_reader_of_the_log_is_refused() {
        for text in ["", " ", "\u{a0}", "a\0b", "a\nb", "a\r", "\tb", "a\u{7f}", "a\u{85}b", "a\u{2028}b", "a\u{2029}"]
        {
            assert!(!is_line(text, 11), "{text:?}");
        }
        assert!(!is_line(&"ü".repeat(12), 11));
    }
}
