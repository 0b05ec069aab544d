//! Whether this process may use the p2pdma_user module, and what the running kernel says through it.

use std::{io, sync::Arc};

use super::finding::{Finding, Severity, Way, What};
use crate::{
    Refusal, control,
    machine::{Machine, MachineKind, Module},
    storage::Evidence,
    topology::Route,
};

/// Where a module shows that it is loaded.
const LOADED: &str = "/sys/module/p2pdma_user";

/// Opens the module's node; else says why it cannot be used. A recorded machine says so where that was recorded.
pub(super) fn open(machine: &Machine) -> Result<Module, Option<Arc<Finding>>> {
    let no_node = |errno| control::no_node(io::Error::from_raw_os_error(errno));
    let is_loaded = machine.facts().list(LOADED).is_ok();
    let (what, error) = match machine.module() {
        Ok(module) => return Ok(module),
        Err(error) if error.refusal() == no_node(libc::EACCES).refusal() => (What::NoPermission, error),
        Err(_) if machine.kind() == MachineKind::Recorded && is_loaded => return Err(None),
        Err(_) if machine.kind() == MachineKind::Recorded => (What::NoModule, no_node(libc::ENOENT)),
        Err(error) => (What::NoModule, error),
    };
    let evidence = Evidence::new(LOADED, if is_loaded { "loaded" } else { "not there" });
    let finding = Finding::new(what, Severity::No, error.refusal().clone()).only(Way::Module);
    Err(Some(Arc::new(finding.seen([evidence]))))
}

/// Puts the running kernel's answers in the place of what could not be told: its distance for each route that is in doubt.
pub(super) fn settle(module: &Module, routes: &mut [Route], findings: &mut [Arc<Finding>]) {
    for route in routes {
        let thing = format!("{} -> {}", route.client, route.provider);
        let doubted = findings.iter_mut().filter(|finding| is_doubt(finding) && finding.refusal.thing == thing);
        let doubted: Vec<_> = doubted.collect();
        if doubted.is_empty() {
            continue;
        }
        let Ok(distance) = module.distance(route.provider, route.client) else { continue };
        route.settle(distance);
        doubted.into_iter().for_each(|finding| *finding = Arc::new(settled(finding, route, distance)));
    }
}

/// What the kernel itself can tell.
fn is_doubt(finding: &Finding) -> bool {
    let asked = [What::RouteUnknown, What::NoRoute, What::OtherKernel];
    finding.severity == Severity::Unknown && asked.contains(&finding.what)
}

/// There is a route: what could not be read is worth a warning. There is none: that is the kernel's own no.
fn settled(finding: &Finding, route: &Route, distance: Option<u32>) -> Finding {
    let call = format!("P2PDMA_USER_DISTANCE {} {}", route.provider, route.client);
    let said = distance.map_or("-1: no route".to_owned(), |distance| distance.to_string());
    let (what, severity, cause) = match distance {
        Some(_) => {
            (finding.what, Severity::Warning, format!("the running kernel allows it; {}", finding.refusal.cause))
        }
        None => (What::NoRoute, Severity::No, format!("the running kernel allows no route; {}", finding.refusal.cause)),
    };
    let refusal = Refusal { cause, ..finding.refusal.clone() };
    let evidence = finding.evidence.iter().cloned().chain([Evidence::new(call, said)]);
    Finding { what, severity, refusal, ..finding.clone() }.seen(evidence.collect::<Vec<_>>())
}
