//! Standard output, which says MOCK on every line that comes from no hardware.

use std::io::{self, Write};

use p2pdma::machine::MachineKind;
use serde_json::Value;

use crate::text;

/// Lines for people, or one JSON document.
#[derive(Debug)]
pub(crate) struct Output {
    label: &'static str,
}

impl Output {
    pub(crate) fn new(kind: MachineKind) -> Self {
        Self { label: label(kind) }
    }

    /// Of no machine at all.
    pub(crate) fn plain() -> Self {
        Self { label: "" }
    }

    /// Prints text, each line behind the label.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        for line in text.lines() {
            writeln!(stdout, "{}", text::printable(&format!("{}{line}", self.label)).trim_end())?;
        }
        stdout.flush()
    }

    /// Prints records as comma-separated values below their keys; what a record nests gets the outer key in front. The
    /// label has a column of its own, so that every line keeps it.
    pub(crate) fn csv(&mut self, records: &[impl serde::Serialize]) -> io::Result<()> {
        let records = records.iter().map(serde_json::to_value).collect::<Result<Vec<Value>, _>>()?;
        let mut shape = Value::Null;
        records.iter().for_each(|record| widen(&mut shape, record));
        let mut writer = csv::Writer::from_writer(io::stdout().lock());
        for (index, record) in records.iter().enumerate() {
            let mut cells = vec![("label".to_owned(), self.label.trim().to_owned())];
            flatten("", &shape, record, &mut cells);
            if index == 0 {
                writer.write_record(cells.iter().map(|(key, _)| key))?;
            }
            writer.write_record(cells.iter().map(|(_, value)| value))?;
        }
        writer.flush()
    }

    /// Prints a document for a program, which says itself what it comes from.
    pub(crate) fn document(&mut self, document: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(document.as_bytes())?;
        stdout.flush()
    }

    /// Prints a JSON document. It names the machine's kind itself.
    pub(crate) fn json(&mut self, document: &impl serde::Serialize) -> io::Result<()> {
        let document = text::json_for_terminals(&serde_json::to_string_pretty(document)?);
        writeln!(io::stdout().lock(), "{document}")
    }
}

/// Whatever nests in one record nests in all of them, be it `null` there: a row has as many cells as any other.
fn widen(shape: &mut Value, record: &Value) {
    match (shape, record) {
        (Value::Object(shape), Value::Object(fields)) => {
            fields.iter().for_each(|(key, field)| widen(shape.entry(key).or_insert(Value::Null), field));
        }
        (shape @ Value::Null, record) => *shape = record.clone(),
        _ => {}
    }
}

/// Lists are joined by blanks.
fn flatten(key: &str, shape: &Value, value: &Value, cells: &mut Vec<(String, String)>) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match (shape, value) {
        (Value::Object(fields), _) => {
            for (name, shape) in fields {
                let key = if key.is_empty() { name.clone() } else { format!("{key}_{name}") };
                flatten(&key, shape, &value[name], cells);
            }
        }
        (_, Value::Array(values)) => cells.push((key.into(), values.iter().map(text).collect::<Vec<_>>().join(" "))),
        (_, Value::Null) => cells.push((key.into(), String::new())),
        (_, value) => cells.push((key.into(), text(value))),
    }
}

/// What a line that is torn out of its context must still say. Figures of a mock machine look like measurements, so each
/// line says what they are. Of a recorded machine nothing can be measured; what it says is what the machine itself would
/// say, line by line, and the headline and `machine.kind` in JSON tell that it was recorded.
fn label(kind: MachineKind) -> &'static str {
    match kind {
        MachineKind::Host | MachineKind::Recorded => "",
        _ => "MOCK  ",
    }
}
