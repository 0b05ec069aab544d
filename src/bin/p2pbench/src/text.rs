//! Text for a terminal: columns, and lines broken between words.

/// What fits on a terminal of 100 columns behind the label MOCK.
const WIDTH: usize = 94;

/// Rows whose cells line up, two blanks apart. The last cell of a row widens no column, and a column that is empty
/// everywhere takes no room.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let widths: [Option<usize>; N] = std::array::from_fn(|column| width(rows, column));
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).filter_map(|(cell, width)| width.map(|width| format!("{cell:width$}")));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// `None` for a column that is empty everywhere.
fn width<const N: usize>(rows: &[[String; N]], column: usize) -> Option<usize> {
    let used = rows.iter().filter(|row| !row[column].is_empty());
    let width = |row: &[String; N]| {
        if row[column + 1..].iter().all(String::is_empty) { 0 } else { row[column].chars().count() }
    };
    used.map(width).max()
}

/// A text behind a label, broken between words but not within `commands`, which are to be copied; its later lines start
/// where its first one does.
pub(crate) fn paragraph(label: &str, text: &str) -> String {
    let indent = label.chars().count();
    let (mut lines, mut line) = (String::new(), label.to_owned());
    let mut used = indent;
    for word in words(text) {
        let length = word.chars().count();
        if used > indent && used + 1 + length > WIDTH {
            lines += &format!("{line}\n");
            (line, used) = (" ".repeat(indent), indent);
        }
        if used > indent {
            line.push(' ');
            used += 1;
        }
        line += &word;
        used += length;
    }
    lines + &line + "\n"
}

/// Words, each with what follows it between backticks.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match words.last_mut() {
            Some(command) if command.matches('`').count() % 2 == 1 => *command += &format!(" {word}"),
            _ => words.push(word.to_owned()),
        }
    }
    words
}

/// A length as people write it, in binary units: `64 MiB`, `1.5 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    let (unit, name) = unit(bytes);
    format!("{} {name}", number(bytes, unit))
}

/// A part of a whole, in the whole's unit, rounded down: what is not all of it never reads as if it were.
pub(crate) fn part(bytes: u64, whole: u64) -> String {
    number(bytes, unit(whole).0)
}

/// In which line of a text a byte is, from 1 on.
pub(crate) fn line_of(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|&byte| byte == b'\n').count() + 1
}

fn unit(bytes: u64) -> (u64, &'static str) {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    units.into_iter().find(|(unit, _)| bytes >= *unit).unwrap_or((1, "B"))
}

fn number(bytes: u64, unit: u64) -> String {
    match (bytes / unit, bytes % unit) {
        (whole, 0) => whole.to_string(),
        (whole, rest) => format!("{whole}.{}", u128::from(rest) * 10 / u128::from(unit)),
    }
}

/// For a terminal, which would obey control characters: a machine's names may be anything. `?` stands for those, and for what
/// would turn the line's direction.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|letter| if is_obeyed(letter) { '?' } else { letter }).collect()
}

/// The same document, without what a terminal would obey: outside of strings JSON has no such letters but the line's end.
pub(crate) fn json_for_terminals(document: &str) -> String {
    let mut escaped = String::with_capacity(document.len());
    for letter in document.chars() {
        match letter {
            letter if letter != '\n' && is_obeyed(letter) => escaped += &format!("\\u{:04x}", u32::from(letter)),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// Control characters, and those that turn or break a line: a reader would see another text than is there.
fn is_obeyed(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What XML would take for its own, and what it may not hold at all: a machine's names may be anything.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            letter if is_obeyed(letter) || matches!(letter, '\u{fffe}' | '\u{ffff}') => escaped.push('?'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_line_up_and_empty_columns_take_no_room() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        assert_eq!(columns(&[row(["├─ a", "", "b"]), row(["c", "", ""])]), ["├─ a  b", "c"]);
        assert_eq!(columns::<1>(&[]), Vec::<String>::new());
    }

    #[test]
    fn the_last_cell_of_a_row_widens_nothing() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned);
        assert_eq!(columns(&[row(["a", "b"]), row(["a long line", ""])]), ["a  b", "a long line"]);
    }

    #[test]
    fn a_paragraph_breaks_between_words_and_loses_none() {
        let word = "w".repeat(30);
        let text = paragraph("  why  ", &format!("{word} {word} {word} end"));
        assert_eq!(text, format!("  why  {word} {word}\n       {word} end\n"));
    }

    #[test]
    fn a_command_is_never_broken() {
        let text = format!("{} `echo 9:0= >{}`, then", "w".repeat(80), "x".repeat(30));
        let lines = paragraph("", &text);
        assert_eq!(lines.lines().nth(1), Some(format!("`echo 9:0= >{}`, then", "x".repeat(30)).as_str()));
    }

    #[test]
    fn a_word_longer_than_the_line_stays_whole() {
        let word = "w".repeat(200);
        assert_eq!(paragraph("> ", &word), format!("> {word}\n"));
        assert_eq!(paragraph("> ", ""), "> \n");
    }

    #[test]
    fn a_terminal_gets_nothing_to_obey() {
        assert_eq!(printable("nvme\u{1b}[2J\u{9b}\u{202e}é│"), "nvme?[2J??é│");
    }

    #[test]
    fn a_json_document_means_the_same_and_has_nothing_to_obey() {
        let value = serde_json::json!({ "name": "\u{1b}[2J\u{9b}1m\u{202e}é" });
        let document = json_for_terminals(&serde_json::to_string_pretty(&value).expect("a document"));
        assert!(document.chars().all(|letter| letter == '\n' || !is_obeyed(letter)), "{document:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&document).expect("JSON"), value);
    }

    #[test]
    fn text_is_never_markup() {
        assert_eq!(escape("<a b=\"c\">&\u{1}"), "&lt;a b=&quot;c&quot;&gt;&amp;?");
    }

    #[test]
    fn sizes_are_in_binary_units() {
        assert_eq!([0, 1023, 1024, 64 << 20, 3 << 29].map(size), ["0 B", "1023 B", "1 KiB", "64 MiB", "1.5 GiB"]);
    }

    #[test]
    fn a_part_is_in_the_unit_of_the_whole_and_never_rounded_up() {
        assert_eq!(part((64 << 20) - 1, 64 << 20), "63.9");
        assert_eq!(part(0, 64 << 20), "0");
        assert_eq!(part(4096, 32 << 30), "0.0");
    }
}
