//! The explanation as people read it.

use std::fmt::Write;

use p2pdma::{
    pci::AcsFlags,
    storage::{Layer, LayerKind},
    topology::{Device, Narrowest, Route},
    verdict::{Answer, Finding, Severity, Way},
};

use super::Explained;
use crate::{facts::MachineFacts, text, topo::line};

/// The verdict in the first line, then what it is made of.
pub(super) fn text(explained: &Explained<'_>) -> String {
    let mut text = format!("{}\n{}\n", verdict(explained), MachineFacts::of(explained.machine).headline());
    for route in explained.verdict.routes() {
        let _ = write!(text, "\nway\n{}", way(explained, route));
    }
    let _ = write!(text, "\nstorage\n{}", storage(explained));
    for (finding, number) in explained.verdict.findings().zip(1..) {
        let _ = write!(text, "\n{}", found(finding, number));
    }
    text
}

/// `DIRECT  /dev/nvme0n1 -> 0000:05:00.0  (p2pmem yes, module yes)`
fn verdict(explained: &Explained<'_>) -> String {
    let Explained { source, verdict, .. } = explained;
    let answer = match verdict.answer() {
        Answer::Yes => "DIRECT",
        Answer::No => "NOT DIRECT",
        Answer::Unknown => "UNKNOWN",
    };
    let ways = Way::ALL.map(|way| format!("{} {}", way.as_str(), verdict.way(way).as_str())).join(", ");
    let line = format!("{answer}  {source} -> {}  ({ways})", verdict.provider());
    match (verdict.way(Way::P2pmem), verdict.way(Way::Module)) {
        (Answer::No | Answer::Unknown, Answer::Yes) => format!("{line}\n{}", by_module(explained)),
        _ => line,
    }
}

/// The way that is open must be asked for.
fn by_module(explained: &Explained<'_>) -> String {
    let Explained { source, verdict, .. } = explained;
    let top = source.stack().top();
    let path = if top.is_block() { format!("/dev/{}", top.name.replace('!', "/")) } else { source.to_string() };
    format!("by the module: `p2pbench run --source {path} --peer {} --way module`", verdict.provider())
}

/// The functions from the NVMe function to the provider, a line each, and what it comes to.
fn way(explained: &Explained<'_>, route: &Route) -> String {
    let devices = route.path.iter().rev().filter_map(|address| explained.topology.device(*address));
    let devices: Vec<&Device> = devices.collect();
    let mut rows = Vec::new();
    for (index, device) in devices.iter().enumerate() {
        rows.push(hop(explained, route, device));
        let across = devices.get(index + 1).filter(|next| next.parent.is_none() && device.parent.is_none());
        rows.extend(across.into_iter().flat_map(|next| bridges(route, device, next)));
    }
    let mut lines: String = text::columns(&rows).iter().map(|line| format!("{line}\n")).collect();
    lines += &text::paragraph("  ", &sum(route));
    lines
}

/// Between two functions of root buses lies what is no function: one host bridge, or two. What ACS redirects turns there.
fn bridges(route: &Route, from: &Device, to: &Device) -> Vec<[String; 4]> {
    let turn = if route.common.is_some() { "traffic turns here" } else { "" };
    let row = |name: &String| [format!("  {name}"), "host bridge".to_owned(), String::new(), turn.to_owned()];
    let names = if from.host_bridge == to.host_bridge { &[from][..] } else { &[from, to] };
    names.iter().map(|device| row(&device.host_bridge)).collect()
}

fn hop(explained: &Explained<'_>, route: &Route, device: &Device) -> [String; 4] {
    let kind = device.kind.as_str().replace('_', " ");
    let driver = device.driver.as_deref().filter(|driver| *driver != "pcieport");
    let what = driver.map_or(kind.clone(), |driver| format!("{kind} ({driver})"));
    let link = device.link.map_or(String::new(), |link| link.to_string());
    let slower = line::slower(device).map(|slower| slower + &limited(explained, device));
    let notes = [slower, acs(device), line::iommu(device), turn(route, device)];
    let notes = notes.into_iter().flatten().collect::<Vec<_>>().join(", ");
    [format!("  {}", device.address), what, link, notes]
}

/// Which end makes a link slower than the device: its port, or whatever happened when the two met.
fn limited(explained: &Explained<'_>, device: &Device) -> String {
    let best =
        explained.topology.best_link(device.address).zip(device.max_link).filter(|(best, own)| best.is_below(own));
    best.map_or(String::new(), |(best, _)| format!(" limited by its port to {best}"))
}

/// The bits that are on and matter: `ACS redirects (RR | CR)`.
fn acs(device: &Device) -> Option<String> {
    match (device.redirects(), device.acs.present()) {
        (Some(true), Some(acs)) => Some(format!("ACS redirects ({})", acs.control & AcsFlags::REDIRECT)),
        (None, _) => Some("ACS cannot be read".to_owned()),
        _ => None,
    }
}

fn turn(route: &Route, device: &Device) -> Option<String> {
    (route.common == Some(device.address) && route.acs_redirect.is_empty()).then(|| "traffic turns here".to_owned())
}

/// What bounds the ceiling: `0000:03:00.0 at 16 GT/s x4, 128b/130b, in packets of 128 bytes behind headers of 20`
fn bound(narrowest: &Narrowest) -> String {
    let Narrowest { address, link, max_payload, .. } = narrowest;
    let packets = match max_payload {
        Some(bytes) => format!("in packets of {bytes} bytes behind {} of headers", link.speed.packet_overhead()),
        None => "with packet headers not counted, as their number cannot be read".to_owned(),
    };
    format!("{address} at {link}, {}, {packets}", link.speed.encoding().unwrap_or("?"))
}

/// `bus_addr, distance 4, at most 6.81 GB/s: ...`
#[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes a second")]
fn sum(route: &Route) -> String {
    let distance = route.distance.map(|distance| format!("distance {distance}"));
    let ceiling = route.ceiling_bytes_per_second.map(|bytes| format!("at most {:.2} GB/s", bytes as f64 / 1e9));
    let sum =
        [Some(route.map_type.to_string()), distance, ceiling].into_iter().flatten().collect::<Vec<_>>().join(", ");
    route.narrowest.as_ref().map_or(sum.clone(), |narrowest| format!("{sum}: {}", bound(narrowest)))
}

/// The layers, top down, those below indented.
fn storage(explained: &Explained<'_>) -> String {
    let layers = explained.source.stack().layers();
    let rows: Vec<_> = layers.into_iter().map(|(depth, layer)| storage_row(depth, layer)).collect();
    let mut lines: String = text::columns(&rows).iter().map(|line| format!("{line}\n")).collect();
    if let Some(dio) = explained.source.dio_alignment() {
        let aligned = format!("direct I/O: memory at {} bytes, offsets and lengths at {}", dio.memory, dio.offset);
        lines += &text::paragraph("  ", &aligned);
    }
    lines
}

fn storage_row(depth: usize, layer: &Layer) -> [String; 3] {
    let note = match &layer.kind {
        LayerKind::Filesystem(mount) => mount.options.clone(),
        _ => [layer.number.map(|number| number.to_string()), limits(layer)]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("  "),
    };
    [format!("{}{}", "  ".repeat(depth + 1), layer.name), layer.what(), note]
}

/// `512 B blocks, 128 KiB a request`
fn limits(layer: &Layer) -> Option<String> {
    let block = layer.limits.logical_block.map(|bytes| format!("{} blocks", text::size(bytes)));
    let request = layer.limits.max_request.map(|bytes| format!("{} a request", text::size(bytes)));
    let limits: Vec<_> = [block, request].into_iter().flatten().collect();
    (!limits.is_empty()).then(|| limits.join(", "))
}

/// `[1] no, by p2pmem: queue_refuses`; below it why, the cure and what was read.
fn found(finding: &Finding, number: usize) -> String {
    let ways = finding.ways.iter().map(|way| way.as_str()).collect::<Vec<_>>().join(" and ");
    let weight = match finding.severity {
        Severity::No => format!("no, by {ways}"),
        Severity::Unknown => format!("cannot tell, by {ways}"),
        Severity::Warning => "warning".to_owned(),
    };
    let refusal = &finding.refusal;
    let mut lines = format!("[{number}] {weight}: {}\n", finding.what.as_str());
    lines += &text::paragraph("    why   ", &format!("{}: {}", refusal.thing, refusal.cause));
    lines += &text::paragraph("    cure  ", &refusal.cure);
    for evidence in &finding.evidence {
        lines += &text::paragraph("    seen  ", &evidence.to_string());
    }
    lines
}
