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

use std::{collections::BTreeMap, fmt::Write, path::Path};

use p2pdma::{
    Error, Refusal,
    pci::{Address, Link, LinkSpeed},
    verdict::{Answer, Way},
};
use serde::Deserialize;

use super::{
    compare::lasting_link,
    judge,
    measured::Measured,
    node::{self, Node},
};
use crate::{facts::MachineFacts, failure::Failure, input, text::line_of};

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
    pub(super) links: BTreeMap<Address, Link>,
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
        let text = input::text(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
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
            links: keyed(written.links, address, |text| link(&text))?,
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

/// `16 GT/s x4`, with what sysfs writes too: `16.0 GT/s PCIe x4`.
fn link(text: &str) -> Result<Link, String> {
    let parts = text.trim().rsplit_once(" x").filter(|(speed, _)| speed.trim_end_matches(" PCIe").ends_with(" GT/s"));
    let read = parts.and_then(|(speed, width)| Some((LinkSpeed::from_sysfs(speed), width.parse::<u8>().ok()?)));
    match read {
        Some((speed, width @ 1..=32)) if speed != LinkSpeed::Unknown => Ok(Link { speed, width }),
        _ => Err(format!("{text:?} is no link \"16 GT/s x4\"")),
    }
}

fn pair(text: &str) -> Result<(Address, Address), String> {
    let (client, provider) =
        text.split_once(" -> ").ok_or_else(|| format!("{text:?} is no pair \"SSD -> provider\""))?;
    Ok((address(client)?, address(provider)?))
}

/// A share of what was measured on a good node: the spread of equal nodes has to fit above it.
const SHARE: f64 = 0.9;

/// The file that this node passes. What cannot be told of it cannot be expected of others, and of a node without any direct
/// pair nothing that matters can.
pub(super) fn document(node: &Node, measured: &Measured) -> Result<String, Failure> {
    let way = way(node);
    if let Some(pair) = node.pairs.iter().find(|pair| pair.verdict.way(way) == Answer::Unknown) {
        let cause = "whether this pair is direct cannot be told, so it cannot be expected of others";
        let cure = format!("run as root; `p2pbench explain {} {}` says what is unknown", pair.client, pair.provider);
        return Err(Error::NotAllowed(Refusal::new(pair.name(), cause, cure)).into());
    }
    if direct(node, way).is_empty() {
        let cause = format!("no good node: it has {}, and none is direct", node.sum());
        return Err(Failure::Failed(Refusal::new("check", cause, "see `p2pbench check` for why, and for the cures")));
    }
    let mut text = format!(
        "# What a node should be: `p2pbench check --expect FILE` holds it against this. What is left out is not looked at.\n\
         schema = {SCHEMA:?}\n"
    );
    let _ = write!(text, "{}{}", head(node, way), tables(node, way, measured));
    Ok(text)
}

/// The way by which more of its pairs are direct; the module's only where it is loaded.
fn way(node: &Node) -> Way {
    let by_module = judge::direct(node, Way::Module) > judge::direct(node, Way::P2pmem);
    if by_module && node.facts.module.is_some() { Way::Module } else { Way::P2pmem }
}

fn head(node: &Node, way: Way) -> String {
    let mut text = String::new();
    if let Some(kernel) = &node.facts.kernel {
        let _ = writeln!(text, "kernel = {kernel:?}");
    }
    match node.facts.module.as_deref() {
        None => {}
        Some(MachineFacts::NO_VERSION) => {
            text += "# p2pdma_user is loaded, but tells no version that could be expected.\n"
        }
        Some(version) => {
            let _ = writeln!(text, "module = {version:?}");
        }
    }
    if !node.parameters.is_empty() {
        let _ = writeln!(text, "parameters = {:?}", node.parameters);
    }
    let _ = writeln!(text, "ssds = {}\nproviders = {}\nway = {:?}", node.ssds(), node.providers(), way.as_str());
    text
}

fn tables(node: &Node, way: Way, measured: &Measured) -> String {
    let mut text = String::from(
        "\n# Speed of a lane, and lanes: as they are, but of GPUs and accelerators, which slow down when idle, as they can be.\n\
         [links]\n",
    );
    let known = |link: &Link| link.speed != LinkSpeed::Unknown && (1..=32).contains(&link.width);
    let links = node.link_ends().into_iter().filter_map(|(address, device)| Some((address, lasting_link(device)?)));
    for (address, link) in links.filter(|(_, link)| known(link)) {
        let _ = writeln!(text, "\"{address}\" = \"{link}\"");
    }
    text += "\n# SSDs, and the providers that each must reach.\n[direct]\n";
    for (client, providers) in direct(node, way) {
        let _ = writeln!(text, "\"{client}\" = {providers:?}");
    }
    text + &minima(measured)
}

fn minima(measured: &Measured) -> String {
    let head = format!(
        "\n# Minima, in 10^9 bytes a second: {SHARE} of what was measured on the node that this was made from.\n\
         [gb_per_second]\n"
    );
    let line = |((client, provider), rate)| format!("{:?} = {:.2}\n", node::name(client, provider), rate * SHARE);
    let lines: String = measured.rates().map(line).collect();
    if lines.is_empty() { lines } else { head + &lines }
}

fn direct(node: &Node, way: Way) -> BTreeMap<Address, Vec<String>> {
    let mut direct: BTreeMap<Address, Vec<String>> = BTreeMap::new();
    for pair in node.pairs.iter().filter(|pair| pair.verdict.way(way) == Answer::Yes) {
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
    fn a_link_may_be_written_as_sysfs_does() {
        let expected = Ok(Link { speed: LinkSpeed::Gt16, width: 4 });
        assert_eq!([link("16 GT/s x4"), link("16.0 GT/s PCIe x4")], [expected.clone(), expected]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        assert!(refused("ssd = 2\n").starts_with("line 2: unknown field `ssd`"), "{}", refused("ssd = 2\n"));
        assert!(refused("ssds = \"two\"\n").starts_with("line 2: "));
        assert!(refused("[links]\n\"3:0\" = \"x4\"\n").contains("no PCI address"));
        for link in ["x4", "16 GT/s", "16 GT/s x0", "17 GT/s x4", "16 GT/s x4 x4"] {
            let text = refused(&format!("[links]\n\"0000:03:00.0\" = \"{link}\"\n"));
            assert!(text.contains("is no link"), "{text}");
        }
        assert!(refused("[gb_per_second]\n\"0000:03:00.0\" = 1.0\n").contains("no pair"));
        assert!(Expectation::parse("schema = \"p2pbench.expect/2\"").expect_err("another").contains("expect/1"));
    }
}
