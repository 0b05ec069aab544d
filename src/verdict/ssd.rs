//! An SSD that does not answer, has no driver, or no namespace.

use super::finding::{Finding, Severity, What};
use crate::{
    Refusal,
    pci::Address,
    storage::{Evidence, Layer, LayerKind, Source},
};

/// An SSD that cannot be read at all is on no way to anywhere.
pub(super) fn finding(source: &Source, layer: &Layer) -> Option<Finding> {
    match layer.kind {
        LayerKind::Namespace(function) => dead(source, function),
        _ => no_namespace(source, layer),
    }
}

fn no_namespace(source: &Source, layer: &Layer) -> Option<Finding> {
    let LayerKind::Controller { function, driver, state } = &layer.kind else { return None };
    let device = format!("/sys/bus/pci/devices/{function}");
    let (cause, cure) = match (driver.as_deref(), state.as_deref()) {
        (None, _) => (
            "no driver is bound to it, so that it has no block device".to_owned(),
            format!("have root run `modprobe nvme; echo {function} >/sys/bus/pci/drivers_probe`"),
        ),
        (Some("nvme"), Some("live") | None) => (
            "it has no namespace".to_owned(),
            "make one and attach it: nvme-create-ns(1), nvme-attach-ns(1)".to_owned(),
        ),
        (Some("nvme"), Some(state)) => (format!("its controller is {state}"), removed_and_found(*function)),
        (Some(driver), _) => (
            format!("its driver is {driver}, so that it has no block device"),
            format!(
                "have root give it back: `echo {function} >{device}/driver/unbind; echo >{device}/driver_override; echo {function} \
                 >/sys/bus/pci/drivers_probe`"
            ),
        ),
    };
    let refusal = Refusal::new(source, cause, cure);
    Some(Finding::new(What::NoNamespace, Severity::No, refusal).seen(layer.evidence.clone()))
}

/// Of a controller that was given up the kernel keeps the namespaces, with a capacity of 0 (`nvme_mark_namespaces_dead`,
/// drivers/nvme/host/core.c), as long as the device is there.
fn dead(source: &Source, function: Address) -> Option<Finding> {
    let facts = source.machine().facts();
    let directory = facts.link(&format!("/sys/bus/pci/devices/{function}")).ok()?;
    let name = facts.list(&format!("{directory}/nvme")).ok()?.into_iter().next()?;
    let state = facts.text(&format!("{directory}/nvme/{name}/state"))?;
    if !["dead", "deleting"].iter().any(|gone| state.starts_with(gone)) {
        return None;
    }
    let severity = if has_another(source) { Severity::Warning } else { Severity::No };
    let cause = format!("the controller of {function} is {state}: the kernel answers each I/O to it with an error");
    let seen = Evidence::new(format!("/sys/bus/pci/devices/{function}/nvme/{name}/state"), state);
    let refusal = Refusal::new(source, cause, removed_and_found(function));
    Some(Finding::new(What::NoNamespace, severity, refusal).seen([seen]))
}

/// Whether a layer has the same bytes elsewhere.
fn has_another(source: &Source) -> bool {
    source.stack().layers().into_iter().any(|(_, layer)| match &layer.kind {
        LayerKind::MultipathHead => true,
        LayerKind::Md(level) => level.starts_with("raid1"),
        _ => false,
    })
}

fn removed_and_found(function: Address) -> String {
    format!(
        "see the kernel's log; have root run `echo 1 >/sys/bus/pci/devices/{function}/remove; echo 1 >/sys/bus/pci/rescan`, else \
         replace it"
    )
}
