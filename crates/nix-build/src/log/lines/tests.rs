use super::*;

/// The lines of a log that comes in blocks of `size` bytes.
fn lines_by(log: &[u8], size: usize) -> Vec<String> {
    let mut shown = Vec::new();
    let mut lines = LogLines::new();
    let mut show = |line: &[u8]| shown.push(String::from_utf8_lossy(line).into_owned());
    for block in log.chunks(size) {
        lines.push(block, &mut show);
    }
    lines.finish(&mut show);
    shown
}

/// The lines, which must not depend on the blocks.
fn lines(log: &str) -> Vec<String> {
    let whole = lines_by(log.as_bytes(), log.len().max(1));
    for size in 1..=3 {
        assert_eq!(lines_by(log.as_bytes(), size), whole, "{log:?} by {size}");
    }
    whole
}

#[test]
fn every_line_is_shown_and_the_last_one_needs_no_end() {
    assert_eq!(lines(""), [""; 0]);
    assert_eq!(lines("a\n\nb"), ["a", "", "b"]);
    assert_eq!(lines("a\n\n"), ["a", ""]);
    assert_eq!(lines("\t\u{1b}[31mred\u{7}\n"), ["\t\u{1b}[31mred\u{7}"]);
}

#[test]
fn a_return_overwrites_and_with_a_line_feed_it_is_one_terminator() {
    assert_eq!(lines("abc\rX\n"), ["Xbc"]);
    assert_eq!(lines("one\r\n"), ["one"]);
    assert_eq!(lines("O\n\n\r\nP\r\r\n"), ["O", "", "", "P"]);
    assert_eq!(lines("Q\rR\r\nab\rS"), ["R", "Sb"]);
    assert_eq!(lines("ab\rcdef\n"), ["cdef"]);
    assert_eq!(lines("ab\r"), ["ab"]);
    assert_eq!(lines("\r"), [""; 0]);
}

#[test]
fn messages_are_not_shown_but_urgent_texts_are() {
    assert_eq!(
        lines("A\n@nix {\"action\":\"setPhase\",\"phase\":\"p\"}\nB\n"),
        ["A", "B"]
    );
    let text = |level| format!(r#"@nix {{"action":"msg","level":{level},"msg":"hi\nho"}}"#);
    assert_eq!(lines(&text(0)), ["hi", "ho"]);
    assert_eq!(lines(&text(3)), [""; 0]);
    assert_eq!(
        lines("xxxxxx\r@nix {\"action\":\"stop\",\"id\":1}\n"),
        [""; 0]
    );
}

#[test]
fn what_is_no_message_is_text() {
    for text in [
        "@nix {}",
        "@nix 1",
        "@nix {\"action\":3}",
        "@nix {\"action\":\"msg\"}",
        "@nix{}",
        " @nix {\"action\":\"stop\"}",
    ] {
        assert_eq!(lines(text), [text]);
    }
    let shown = lines("@nix [\n");
    assert!(shown[0].starts_with("bad JSON log message from the derivation builder: "));
    assert_eq!(shown[1..], ["@nix ["]);
}

#[test]
fn long_lines_come_in_pieces() {
    let long = "x".repeat(2 * MAX_HELD + 5);
    let log = format!("{long}\ny\n");
    for size in [1000, MAX_HELD, log.len()] {
        let shown = lines_by(log.as_bytes(), size);
        let lengths: Vec<_> = shown.iter().map(String::len).collect();
        assert_eq!(lengths, [MAX_HELD, MAX_HELD, 5, 1]);
    }
    let exact = format!("{}\n", "x".repeat(MAX_HELD));
    assert_eq!(lines_by(exact.as_bytes(), 512).len(), 1);
}

#[test]
fn a_message_longer_than_what_is_held_is_text() {
    let filler = "x".repeat(MAX_HELD);
    let log = format!("@nix {{\"action\":\"setPhase\",\"phase\":\"{filler}\"}}\n");
    let shown = lines_by(log.as_bytes(), 4096);
    assert_eq!(shown.concat() + "\n", log);
}

#[test]
fn the_tail_holds_the_last_lines() {
    let mut tail = Tail::new(2);
    assert!(tail.is_empty());
    for line in ["a", "b", "c"] {
        tail.push(line.as_bytes());
    }
    assert_eq!(tail.iter().collect::<Vec<_>>(), [b"b", b"c"]);
    let mut none = Tail::new(0);
    none.push(b"a");
    assert_eq!(none.len(), 0);
}
