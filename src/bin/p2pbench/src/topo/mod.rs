//! `p2pbench topo`: the PCIe tree and its pairs. It shows; to judge is the business of `check`.

mod candidate;
pub(crate) mod json;
mod label;
pub(crate) mod line;
mod matrix;
mod svg;
mod tree;

use p2pdma::{
    Refusal,
    machine::Machine,
    topology::{RULES, Topology},
};

use crate::{
    cli::{TopoFormat, TopoOptions},
    facts::MachineFacts,
    failure::Failure,
    output::Output,
    pairs::{self, Pairs},
};
use json::Document;
use matrix::Matrix;
use svg::Drawing;
use tree::Tree;

/// Prints the tree. A machine without a route, an SSD or a provider is no failure here.
pub(crate) fn command(
    machine: &Machine,
    options: &TopoOptions,
    output: &mut Output,
    json: bool,
) -> Result<(), Failure> {
    let format = format(options, json)?;
    let topology = Topology::scan(machine)?;
    let pairs = Pairs::of(machine, &topology)?;
    match format {
        TopoFormat::Json => output.json(&Document::new(machine, &topology, &pairs))?,
        TopoFormat::Tree => output.text(&text(machine, &topology, &pairs))?,
        TopoFormat::Matrix => output.text(&matrix(machine, &topology))?,
        TopoFormat::Svg => output.document(&Drawing::new(machine, &topology).to_string())?,
    }
    Ok(())
}

/// Asks the machine what every form of its topology asks.
pub(crate) fn look(machine: &Machine, topology: &Topology) -> Result<(), Failure> {
    let pairs = Pairs::of(machine, topology)?;
    let _ = Document::new(machine, topology, &pairs);
    let _ = (text(machine, topology, &pairs), matrix(machine, topology));
    Ok(())
}

fn format(options: &TopoOptions, json: bool) -> Result<TopoFormat, Failure> {
    match (options.format, json) {
        (Some(TopoFormat::Tree | TopoFormat::Matrix | TopoFormat::Svg), true) => {
            Err(Failure::Usage(Refusal::new("--json", "it contradicts --format", "give one of them")))
        }
        (_, true) => Ok(TopoFormat::Json),
        (format, false) => Ok(format.unwrap_or(TopoFormat::Tree)),
    }
}

fn text(machine: &Machine, topology: &Topology, pairs: &Pairs) -> String {
    let mut text = format!("{}\n\n{}\n", MachineFacts::of(machine).headline(), Tree::new(machine, topology));
    if pairs.routes().len() > 0 {
        text += &format!("client -> provider, by the rules of Linux {RULES}:\n{pairs}");
    }
    text + &pairs::missing(topology)
}

fn matrix(machine: &Machine, topology: &Topology) -> String {
    let headline = MachineFacts::of(machine).headline();
    let missing = match pairs::missing(topology) {
        missing if missing.is_empty() => missing,
        missing => format!("\n{missing}"),
    };
    format!("{headline}\n\n{}{missing}", Matrix::new(machine, topology))
}

#[cfg(test)]
mod tests {
    use p2pdma::machine::{Mock, mock::Cpu};

    use super::*;

    #[test]
    fn a_machine_without_ssd_and_peer_memory_says_what_would_change_that() {
        let machine = Machine::mock(Mock::new(Cpu::AmdZen));
        let topology = Topology::scan(&machine).expect("a topology");
        let text = text(&machine, &topology, &Pairs::of(&machine, &topology).expect("pairs"));
        assert!(text.contains("peer memory  none: ") && text.contains("p2pdma_user driver"), "{text}");
        assert!(text.contains("SSD          none: ") && !text.contains("->"), "{text}");
    }
}
