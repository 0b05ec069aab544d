//! Bytes as printable ASCII, and back: `\\`, `\t`, and `\xNN` for what is not printable.

/// A path or a name: no blanks.
pub(super) fn word(text: &str) -> String {
    text.bytes().map(|byte| escaped(byte, byte == b' ')).collect()
}

/// A line of text. A blank at its end is escaped, as editors like to take it away.
pub(super) fn line(bytes: &[u8]) -> String {
    let last = bytes.len().saturating_sub(1);
    bytes.iter().enumerate().map(|(index, &byte)| escaped(byte, byte == b' ' && index == last)).collect()
}

/// Whether bytes are better shown as text than in hexadecimal.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n'))
}

fn escaped(byte: u8, anyway: bool) -> String {
    match byte {
        b'\\' => r"\\".to_owned(),
        b'\t' => r"\t".to_owned(),
        b' '..=b'~' if !anyway => char::from(byte).to_string(),
        _ => format!(r"\x{byte:02x}"),
    }
}

/// The bytes that an escaped text stands for; `None` when it is not one.
pub(super) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, length) = match (first, after) {
            (b'\\', [b'\\', ..]) => (b'\\', 2),
            (b'\\', [b't', ..]) => (b'\t', 2),
            (b'\\', [b'x', high, low, ..]) => (digit(*high)? << 4 | digit(*low)?, 4),
            (b' '..=b'~', _) if first != b'\\' => (first, 1),
            _ => return None,
        };
        bytes.push(byte);
        rest = rest.get(length..)?;
    }
    Some(bytes)
}

/// As [`unescape`], for a path or a name: UTF-8 without NUL or bare blank.
pub(super) fn unescape_word(text: &str) -> Option<String> {
    let bytes = unescape(text).filter(|bytes| !text.contains(' ') && !bytes.is_empty() && !bytes.contains(&0))?;
    String::from_utf8(bytes).ok()
}

/// Lower case only: one way to write a byte.
fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// A byte as two digits.
pub(super) fn byte(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}
