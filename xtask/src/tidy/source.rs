//! Just enough of Rust's grammar to tell code from comments and literals.

/// The text with comments and the contents of literals blanked; lines stay where they are.
pub(super) fn code_of(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut after_word = false;
    while let Some(first) = rest.chars().next() {
        let (kind, len) = next_piece(rest, after_word);
        let (piece, tail) = rest.split_at(len.max(first.len_utf8()));
        match kind {
            Piece::Code => out.push_str(piece),
            Piece::Blank => out.extend(piece.chars().filter(|c| *c == '\n')),
        }
        after_word = kind == Piece::Code && piece.ends_with(is_word);
        rest = tail;
    }
    out
}

/// The identifiers and keywords of a line.
pub(super) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !is_word(c))
        .filter(|word| !word.is_empty())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Code,
    Blank,
}

/// What `rest` starts with and how long that is, in bytes.
fn next_piece(rest: &str, after_word: bool) -> (Piece, usize) {
    if rest.starts_with("//") {
        let len = rest.find('\n').unwrap_or(rest.len());
        return (Piece::Blank, len);
    }
    if rest.starts_with("/*") {
        return (Piece::Blank, block_comment(rest));
    }
    if rest.starts_with('"') {
        return (Piece::Blank, quoted(rest));
    }
    if !after_word && let Some(len) = prefixed_literal(rest) {
        return (Piece::Blank, len);
    }
    if rest.starts_with('\'')
        && let Some(len) = character(rest)
    {
        return (Piece::Blank, len);
    }
    (Piece::Code, 1)
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// A string in double quotes with escapes.
fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `b"…"`, `c"…"`, and the raw ones, `r#"…"#`.
fn prefixed_literal(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c"]
        .into_iter()
        .find(|prefix| rest.starts_with(prefix))?;
    let after = &rest[prefix.len()..];
    if !prefix.ends_with('r') {
        return after.starts_with('"').then(|| prefix.len() + quoted(after));
    }
    let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
    if !after[hashes..].starts_with('"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let start = prefix.len() + hashes + 1;
    let found = rest[start..].find(&end)?;
    Some(start + found + end.len())
}

/// A character, unless the quote starts a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first != '\\' {
        let (at, second) = chars.next()?;
        return (second == '\'').then_some(at + 1);
    }
    chars.next()?;
    chars.find(|(_, c)| *c == '\'').map(|(at, _)| at + 1)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blank() {
        assert_eq!(code_of("a // b\nc /* d /* e */ f */ g"), "a \nc  g");
        assert_eq!(code_of(r#"f("a \" b", x)"#), "f(, x)");
        assert_eq!(code_of(r##"f(r#"a " b"#, b"c", br"\")"##), "f(, , )");
        assert_eq!(
            code_of("match '\"' { '\\'' => 'a', _ => \"x\" }"),
            "match  {  => , _ =>  }"
        );
    }

    #[test]
    fn lifetimes_and_raw_identifiers_are_code() {
        assert_eq!(code_of("fn f<'a>(x: &'a str)"), "fn f<'a>(x: &'a str)");
        assert_eq!(code_of("r#type + br"), "r#type + br");
    }

    #[test]
    fn lines_keep_their_numbers() {
        let text = "a\n/* b\nc */\n\"d\ne\"\nf";
        assert_eq!(code_of(text).lines().count(), text.lines().count());
    }
}
