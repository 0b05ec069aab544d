//! What a node should be, in TOML.
//!
//! ```toml
//! schema = "p2pbench.expect/1"
//! kernel = "6.12"                          # or exactly "6.12.117"
//! module = "0.1"                           # of p2pdma_user
//! parameters = ["iommu=pt"]
//! ssds = 2
//! providers = 1
//! way = "p2pmem"                           # or "module"
//!
//! [links]
//! "0000:03:00.0" = "16 GT/s x4"
//!
//! [direct]
//! "0000:03:00.0" = ["0000:05:00.0"]
//!
//! [gb_per_second]
//! "0000:03:00.0 -> 0000:05:00.0" = 6.2
//! ```

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use p2pdma::{
    Error, Refusal,
    pci::Address,
    verdict::{Answer, Way},
};
use serde::Deserialize;

use super::{
    measured::Measured,
    node::{self, Node},
};
use crate::{failure::Failure, text::line_of};

const SCHEMA: &str = "p2pbench.expect/1";

/// Every part may be left out: what is not named is not looked at.
#[derive(Debug, PartialEq)]
pub(super) struct Expectation {
    pub(super) kernel: Option<String>,
    pub(super) module: Option<String>,
    pub(super) parameters: Vec<String>,
    pub(super) ssds: Option<usize>,
    pub(super) providers: Option<usize>,
    pub(super) way: Way,
    pub(super) links: BTreeMap<Address, String>,
    /// SSDs, with the providers that each must reach.
    pub(super) direct: BTreeMap<Address, Vec<Address>>,
    /// SSD and provider, with the least that was to be measured, in 10^9 bytes a second.
    pub(super) gb_per_second: BTreeMap<(Address, Address), f64>,
}

/// As it is written, with addresses that are still text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    schema: String,
    kernel: Option<String>,
    module: Option<String>,
    #[serde(default)]
    parameters: Vec<String>,
    ssds: Option<usize>,
    providers: Option<usize>,
    #[serde(default)]
    way: WrittenWay,
    #[serde(default)]
    links: BTreeMap<String, String>,
    #[serde(default)]
    direct: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    gb_per_second: BTreeMap<String, f64>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenWay {
    #[default]
    P2pmem,
    Module,
}

impl Expectation {
    /// Reads a file. Whatever is wrong with it is wrong usage.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let cure = "name a file that `p2pbench check --write-expect` made";
        let wrong = |cause: String| Failure::Usage(Refusal::new(path.display(), cause, cure));
        let text = fs::read_to_string(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        Self::parse(&text).map_err(wrong)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let written: Written = toml::from_str(text).map_err(|error| in_line(text, &error))?;
        if written.schema != SCHEMA {
            return Err(format!("schema is {:?}, and this version knows {SCHEMA:?}", written.schema));
        }
        Ok(Self {
            kernel: written.kernel,
            module: written.module,
            parameters: written.parameters,
            ssds: written.ssds,
            providers: written.providers,
            way: match written.way {
                WrittenWay::P2pmem => Way::P2pmem,
                WrittenWay::Module => Way::Module,
            },
            links: keyed(written.links, address, Ok)?,
            direct: keyed(written.direct, address, |names| names.iter().map(|name| address(name)).collect())?,
            gb_per_second: keyed(written.gb_per_second, pair, Ok)?,
        })
    }

    /// Whether a pair must be direct.
    pub(super) fn is_direct(&self, client: Address, provider: Address) -> bool {
        self.direct.get(&client).is_some_and(|providers| providers.contains(&provider))
    }
}

/// What is wrong, and where, in one line.
fn in_line(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(String::new(), |span| format!("line {}: ", line_of(text, span.start)));
    format!("{line}{}", error.message().replace('\n', ", "))
}

fn keyed<K: Ord, V, W>(
    table: BTreeMap<String, V>,
    key: impl Fn(&str) -> Result<K, String>,
    value: impl Fn(V) -> Result<W, String>,
) -> Result<BTreeMap<K, W>, String> {
    table.into_iter().map(|(name, entry)| Ok((key(&name)?, value(entry)?))).collect()
}

fn address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|error: p2pdma::pci::ParseAddressError| error.to_string())
}

fn pair(text: &str) -> Result<(Address, Address), String> {
    let (client, provider) =
        text.split_once(" -> ").ok_or_else(|| format!("{text:?} is no pair \"SSD -> provider\""))?;
    Ok((address(client)?, address(provider)?))
}

/// A share of what was measured on a good node: the spread of equal nodes has to fit above it.
const SHARE: f64 = 0.9;

/// The file that this node passes. What cannot be told of it cannot be expected of others.
pub(super) fn document(node: &Node, measured: &Measured) -> Result<String, Failure> {
    if let Some(pair) = node.pairs.iter().find(|pair| pair.verdict.answer() == Answer::Unknown) {
        let cause = "whether this pair is direct cannot be told, so it cannot be expected of others";
        let cure = format!("run as root; `p2pbench explain {} {}` says what is unknown", pair.client, pair.provider);
        return Err(Error::NotAllowed(Refusal::new(pair.name(), cause, cure)).into());
    }
    let mut text = format!(
        "# What a node should be: `p2pbench check --expect FILE` holds it against this. What is left out is not looked at.\n\
         schema = {SCHEMA:?}\n"
    );
    let _ = write!(text, "{}{}", head(node), tables(node, measured));
    Ok(text)
}

fn head(node: &Node) -> String {
    let mut text = String::new();
    for (name, value) in [("kernel", &node.facts.kernel), ("module", &node.facts.module)] {
        if let Some(value) = value {
            let _ = writeln!(text, "{name} = {value:?}");
        }
    }
    if !node.parameters.is_empty() {
        let _ = writeln!(text, "parameters = {:?}", node.parameters);
    }
    let _ = writeln!(text, "ssds = {}\nproviders = {}", node.ssds(), node.providers());
    text
}

fn tables(node: &Node, measured: &Measured) -> String {
    let mut text = String::from("\n# Speed of a lane, and lanes, as sysfs tells them.\n[links]\n");
    for (address, device) in node.link_ends() {
        let _ = writeln!(text, "\"{address}\" = \"{}\"", device.link.map_or(String::new(), |link| link.to_string()));
    }
    text += "\n# SSDs, and the providers that each must reach.\n[direct]\n";
    for (client, providers) in direct(node) {
        let _ = writeln!(text, "\"{client}\" = {providers:?}");
    }
    let rates: Vec<_> = measured.rates().collect();
    if !rates.is_empty() {
        let _ = writeln!(
            text,
            "\n# Minima, in 10^9 bytes a second: {SHARE} of what was measured on the node that this was made from."
        );
        text += "[gb_per_second]\n";
    }
    for ((client, provider), rate) in rates {
        let _ = writeln!(text, "{:?} = {:.2}", node::name(client, provider), rate * SHARE);
    }
    text
}

fn direct(node: &Node) -> BTreeMap<Address, Vec<String>> {
    let mut direct: BTreeMap<Address, Vec<String>> = BTreeMap::new();
    for pair in node.pairs.iter().filter(|pair| pair.verdict.answer() == Answer::Yes) {
        direct.entry(pair.client).or_default().push(pair.provider.to_string());
    }
    direct
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "schema = \"p2pbench.expect/1\"\n";

    fn refused(text: &str) -> String {
        Expectation::parse(&format!("{START}{text}")).expect_err("a refusal")
    }

    #[test]
    fn what_is_left_out_is_not_expected() {
        let expectation = Expectation::parse(START).expect("an expectation");
        assert_eq!((expectation.ssds, expectation.way, expectation.direct.len()), (None, Way::P2pmem, 0));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        assert!(refused("ssd = 2\n").starts_with("line 2: unknown field `ssd`"), "{}", refused("ssd = 2\n"));
        assert!(refused("ssds = \"two\"\n").starts_with("line 2: "));
        assert!(refused("[links]\n\"3:0\" = \"x4\"\n").contains("no PCI address"));
        assert!(refused("[gb_per_second]\n\"0000:03:00.0\" = 1.0\n").contains("no pair"));
        assert!(Expectation::parse("schema = \"p2pbench.expect/2\"").expect_err("another").contains("expect/1"));
    }
}
