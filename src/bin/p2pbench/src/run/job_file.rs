//! Runs from a file, in TOML: the options of the command line by their names.
//!
//! ```toml
//! [defaults]                      # of every run in this file
//! source = "/dev/nvme0n1"
//! peer = "0000:05:00.0"
//! path = ["direct", "bounce"]
//!
//! [[run]]                         # one after the other
//! name = "small"
//! rw = "randread"
//! block = ["4k", "16k"]
//! ```
//!
//! A table becomes a command line, and clap judges it: an option is the same here and there, down to its errors. What is
//! said on the command line holds before what a run says, and that before the defaults.

use std::{collections::BTreeMap, ffi::OsString, ops::Range};

use clap::{ArgAction, ArgMatches, Args, Command, FromArgMatches, error::ContextKind, parser::ValueSource};
use p2pdma::Refusal;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{cli::RunOptions, failure::Failure, input, text::line_of};

/// What a file does not say: which file, how the result is shown, and that writes may destroy. That is for whoever types.
const NOT_IN_A_FILE: [&str; 5] = ["job", "preset", "format", "destructive", "force"];
/// One of them stands for the other: whoever says one takes back the other.
const INSTEAD: [[&str; 2]; 2] = [["size", "seconds"], ["seconds", "size"]];

/// One run, and its name if it has one.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(super) name: Option<String>,
    pub(super) options: RunOptions,
}

/// Options by name, as words for a command line.
type Layer = BTreeMap<String, Said>;

#[derive(Debug, Clone)]
struct Said {
    words: Vec<OsString>,
    /// Where in the file; the command line has no place.
    place: Option<Range<usize>>,
}

/// A job file, while it is read.
#[derive(Debug)]
struct JobFile<'a> {
    name: &'a str,
    text: &'a str,
    command: Command,
}

impl Workload {
    /// As the options are.
    pub(crate) fn plain(options: RunOptions) -> Self {
        Self { name: None, options }
    }

    /// The runs that the options name: one, or those of a file or preset. `arguments` are what the options were parsed from.
    pub(crate) fn all(options: &RunOptions, arguments: &ArgMatches) -> Result<Vec<Self>, Failure> {
        if let Some(preset) = options.preset {
            return JobFile::new(preset.name(), preset.text()).runs(arguments);
        }
        let Some(path) = &options.job else { return Ok(vec![Self::plain(options.clone())]) };
        let name = path.display().to_string();
        let unread = |error| Failure::Usage(Refusal::new(&name, format!("cannot be read: {error}"), "check the name"));
        JobFile::new(&name, &input::text(path).map_err(unread)?).runs(arguments)
    }
}

impl<'a> JobFile<'a> {
    fn new(name: &'a str, text: &'a str) -> Self {
        Self { name, text, command: RunOptions::augment_args(Command::new("run").no_binary_name(true)) }
    }

    fn runs(&self, arguments: &ArgMatches) -> Result<Vec<Workload>, Failure> {
        let table = DeTable::parse(self.text);
        let table = table.map_err(|error| self.wrong(error.span(), error.message()))?.into_inner();
        let strange = table.keys().find(|key| !["defaults", "run"].contains(&key.get_ref().as_ref()));
        if let Some(key) = strange {
            return Err(self.wrong(Some(key.span()), &format!("`{}` is neither [defaults] nor [[run]]", key.get_ref())));
        }
        let defaults = match table.get("defaults") {
            Some(defaults) => self.layer(defaults)?.1,
            None => Layer::new(),
        };
        let above = self.of_the_command_line(arguments);
        let runs = table.get("run").and_then(|runs| runs.get_ref().as_array()).filter(|runs| !runs.is_empty());
        let runs = runs.ok_or_else(|| self.wrong(None, "it has no [[run]]"))?;
        let mut workloads: Vec<Workload> = Vec::new();
        for run in runs.iter() {
            let (name, layer) = self.layer(run)?;
            if name.is_some() && workloads.iter().any(|other| other.name == name) {
                return Err(self.wrong(Some(run.span()), "this run has the name of an earlier one"));
            }
            let said = over(over(defaults.clone(), layer), above.clone());
            workloads.push(Workload { name, options: self.options(&said)? });
        }
        Ok(workloads)
    }

    /// A table's name and the options it sets.
    fn layer(&self, table: &Spanned<DeValue<'_>>) -> Result<(Option<String>, Layer), Failure> {
        let wrong = |cause: &str| self.wrong(Some(table.span()), cause);
        let entries = table.get_ref().as_table().ok_or_else(|| wrong("this is no table of options"))?;
        let (mut name, mut layer) = (None, Layer::new());
        for (key, value) in entries {
            let place = key.span();
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("name", DeValue::String(text)) => name = Some(text.to_string()),
                (key, value) => drop(layer.insert(key.into(), self.said(key, value, place)?)),
            }
        }
        Ok((name, layer))
    }

    /// One option; none of its words where it is a flag that is not set.
    fn said(&self, key: &str, value: &DeValue<'_>, place: Range<usize>) -> Result<Said, Failure> {
        let wrong = |cause: String| self.wrong(Some(place.clone()), &cause);
        if NOT_IN_A_FILE.contains(&key) {
            return Err(wrong(format!("`{key}` is said on the command line alone")));
        }
        let option = self.command.get_arguments().find(|option| option.get_long() == Some(key));
        let option = option.ok_or_else(|| wrong(format!("`{key}` is no option of `run`")))?;
        let flag = matches!(option.get_action(), ArgAction::SetTrue);
        let words = match value {
            DeValue::Boolean(set) if flag => Some(set.then(|| format!("--{key}").into()).into_iter().collect()),
            _ if flag => return Err(wrong(format!("`{key}` is true or false"))),
            DeValue::Array(values) => values.iter().map(|value| word(key, value.get_ref())).collect::<Option<_>>(),
            value => word(key, value).map(|word| vec![word]),
        };
        Ok(Said {
            words: words.ok_or_else(|| wrong(format!("`{key}` is a text, a number, or a list of them")))?,
            place: Some(place),
        })
    }

    /// What was typed, without what has a default.
    fn of_the_command_line(&self, arguments: &ArgMatches) -> Layer {
        let typed = self.command.get_arguments().filter_map(|option| {
            let (id, long) = (option.get_id().as_str(), option.get_long()?);
            if long == "job" || long == "preset" || arguments.value_source(id)? != ValueSource::CommandLine {
                return None;
            }
            let word = |value: &std::ffi::OsStr| {
                let mut word = OsString::from(format!("--{long}="));
                word.push(value);
                word
            };
            let words = match option.get_action() {
                ArgAction::SetTrue => vec![format!("--{long}").into()],
                _ => arguments.get_raw(id)?.map(word).collect(),
            };
            Some((long.to_owned(), Said { words, place: None }))
        });
        typed.collect()
    }

    fn options(&self, said: &Layer) -> Result<RunOptions, Failure> {
        let words = said.values().flat_map(|said| &said.words);
        let parsed = self.command.clone().try_get_matches_from(words);
        let options = parsed.and_then(|matches| RunOptions::from_arg_matches(&matches));
        options.map_err(|error| {
            let option = error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
            let names = |key: &str| option.split([' ', '=']).next() == Some(&format!("--{key}"));
            let place = said.iter().find(|(key, _)| names(key)).and_then(|(_, said)| said.place.clone());
            self.wrong(place, &crate::reason(&error))
        })
    }

    fn wrong(&self, place: Option<Range<usize>>, cause: &str) -> Failure {
        let line = place.map_or(String::new(), |place| format!("line {}: ", line_of(self.text, place.start)));
        let cause = cause.replace(['\n', '\r'], " ");
        Failure::Usage(Refusal::new(self.name, format!("{line}{cause}"), "correct it; see `p2pbench run --help`"))
    }
}

/// One layer on top of another.
fn over(mut below: Layer, above: Layer) -> Layer {
    for [said, instead] in INSTEAD {
        if above.contains_key(said) {
            below.remove(instead);
        }
    }
    below.extend(above);
    below
}

/// `None` where the value is none that an option takes.
fn word(key: &str, value: &DeValue<'_>) -> Option<OsString> {
    let value = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()?.to_string(),
        DeValue::Float(number) => number.as_str().to_owned(),
        _ => return None,
    };
    Some(format!("--{key}={value}").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Preset;

    fn runs(text: &str, typed: &str) -> Result<Vec<Workload>, String> {
        let file = JobFile::new("FILE", text);
        let command = file.command.clone();
        let typed = command.try_get_matches_from(format!("--job x {typed}").split_whitespace()).unwrap();
        file.runs(&typed).map_err(|failure| failure.to_string())
    }

    const HEAD: &str = "[defaults]\nsource = '/dev/nvme0n1'\npeer = '0000:05:00.0'\nseconds = 9\nverify = true\n";

    #[test]
    fn what_is_typed_holds_before_the_run_and_the_run_before_the_defaults() {
        let text =
            format!("{HEAD}depth = 1\nblock = ['4k', 8192]\n[[run]]\nname = 'a'\ndepth = 2\nverify = false\n[[run]]\n");
        let workloads = runs(&text, "--size 1M --block 64k").unwrap();
        let [first, second] = &workloads[..] else { panic!("{workloads:?}") };
        assert_eq!((first.name.as_deref(), &first.options.depth, first.options.verify), (Some("a"), &vec![2], false));
        assert_eq!((second.name.as_deref(), &second.options.depth, second.options.verify), (None, &vec![1], true));
        assert!(workloads.iter().all(|run| run.options.block == [65536.into()] && run.options.size == Some(1 << 20)));
        assert_eq!(runs(&text, "").unwrap()[0].options.block, [4096.into(), 8192.into()]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let cases = [
            ("blok = '4k'", "FILE: line 8: `blok` is no option of `run`"),
            ("block = 'lots'", "FILE: line 8: invalid value 'lots' for '--block"),
            ("depth = 0", "FILE: line 8: "),
            ("verify = 'yes'", "FILE: line 8: `verify` is true or false"),
            ("block = [['4k']]", "FILE: line 8: `block` is a text"),
            ("destructive = true", "FILE: line 8: `destructive` is said on the command line alone"),
            ("name = 'a'\n[[run]]\nname = 'a'", "FILE: line 9: this run has the name"),
            ("depth = ", "FILE: line 8: "),
            ("[other]", "FILE: line 8: `other` is neither"),
        ];
        for (line, expected) in cases {
            let error = runs(&format!("{HEAD}\n[[run]]\n{line}\n"), "").unwrap_err();
            assert!(error.starts_with(expected) && error.lines().count() == 1, "{line}: {error}");
        }
        assert!(runs(HEAD, "").unwrap_err().contains("it has no [[run]]"));
        assert!(runs("[[run]]\npeer = '0000:05:00.0'", "").unwrap_err().contains("--source"));
    }

    #[test]
    fn presets_are_job_files_that_lack_only_source_and_peer() {
        for preset in [Preset::ModelLoading, Preset::Checkpoint] {
            let runs = runs(preset.text(), "--source /dev/nvme0n1 --peer 0000:05:00.0").unwrap();
            assert!(runs.iter().all(|run| run.name.is_some() && run.options.path.len() == 3), "{runs:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_file_is_taken_or_refused_in_one_line(text in "(\\[\\[run\\]\\]\n|\\[defaults\\]\n|(block|depth|rw|verify|name) = ('4k'|1|true|\\[1, 'x'\\]|-1|.{0,5})\n|.{0,9}){0,9}") {
            if let Err(line) = runs(&text, "") {
                proptest::prop_assert!(line.lines().count() == 1, "{line:?}");
            }
        }
    }
}
