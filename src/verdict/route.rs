//! What stands in the way between the devices. rules: 6.12.

use super::{
    finding::{Finding, Severity, What},
    platform::{Platform, VMBUS},
};
use crate::{
    Refusal,
    storage::Evidence,
    topology::{MapType, RULES, Route, Topology},
};

/// Everything that speaks against one route, or should be known of it.
pub(super) fn findings(topology: &Topology, route: &Route, platform: &Platform) -> impl Iterator<Item = Finding> {
    no_route(topology, route, platform)
        .into_iter()
        .chain(acs_detour(topology, route))
        .chain(other_kernel(route, platform))
        .chain(bounce_forced(route, platform))
        .chain(host_hidden(topology, route, platform))
        .chain(virtual_iommu(topology, route, platform))
}

fn thing(route: &Route) -> String {
    format!("{} -> {}", route.client, route.provider)
}

fn no_route(topology: &Topology, route: &Route, platform: &Platform) -> Option<Finding> {
    let (what, severity) = match route.is_supported() {
        Some(true) => return None,
        // A later kernel may know more host bridges.
        Some(false) if platform.is_other_kernel() => (What::NoRoute, Severity::Unknown),
        Some(false) => (What::NoRoute, Severity::No),
        None => (What::RouteUnknown, Severity::Unknown),
    };
    let refusal = Refusal::new(thing(route), route.cause(), route.remedies().join("; or "));
    Some(Finding::new(what, severity, refusal).seen(acs(topology, route).chain(host_bridges(topology, route))))
}

/// The kernel allows it where it trusts the host bridge; it costs a way up and down, and what the root complex makes of it.
fn acs_detour(topology: &Topology, route: &Route) -> Option<Finding> {
    let is_detour = route.is_supported() == Some(true) && !route.acs_redirect.is_empty();
    let refusal = || Refusal::new(thing(route), route.cause(), route.remedies().join("; or "));
    is_detour.then(|| Finding::new(What::AcsDetour, Severity::Warning, refusal()).seen(acs(topology, route)))
}

/// The ports that redirect, with what is switched on there.
fn acs<'a>(topology: &'a Topology, route: &'a Route) -> impl Iterator<Item = Evidence> + 'a {
    let devices = route.acs_redirect.iter().filter_map(|address| topology.device(*address));
    devices.filter_map(|device| {
        let control = device.acs.present()?.control;
        Some(Evidence::new(format!("/sys/bus/pci/devices/{}/config", device.address), format!("ACS {control}")))
    })
}

/// The functions that stand for the host bridges of both ends in the kernel's list.
fn host_bridges<'a>(topology: &'a Topology, route: &'a Route) -> impl Iterator<Item = Evidence> + 'a {
    let ends = [route.provider, route.client].map(|address| topology.device(address).map(|end| &end.host_bridge));
    let bridges = topology.host_bridges().filter(move |bridge| ends.contains(&Some(&bridge.name)));
    bridges.filter_map(|bridge| topology.device(bridge.first)).map(|first| {
        let path = format!("/sys/bus/pci/devices/{}", first.address);
        Evidence::new(path, format!("vendor 0x{:04x}, device 0x{:04x}", first.vendor, first.device))
    })
}

/// Which traffic may pass a host bridge changes from kernel to kernel; what turns below one does not.
fn other_kernel(route: &Route, platform: &Platform) -> Option<Finding> {
    let kernel = platform.kernel.as_ref().filter(|_| platform.is_other_kernel())?;
    let severity = match route.map_type {
        MapType::ThruHostBridge => Severity::Unknown,
        _ => Severity::Warning,
    };
    let cause = format!("the rules applied are those of Linux {RULES}, and this is {}", kernel.value);
    let cure = "prove the route by a transfer (`p2pbench run --verify`)";
    Some(Finding::new(What::OtherKernel, severity, Refusal::new(thing(route), cause, cure)).seen([kernel.clone()]))
}

/// Kernel: `dma_direct_map_page` (kernel/dma/direct.h) answers `DMA_MAPPING_ERROR`, which the nvme driver takes for a
/// want of resources and tries again, for ever. Bus addresses do not come that way.
fn bounce_forced(route: &Route, platform: &Platform) -> Option<Finding> {
    let forced = platform.bounce_forced.as_ref().filter(|_| route.map_type != MapType::BusAddr)?;
    let cause = "the kernel bounces all DMA through host memory: I/O to peer memory would be tried for ever";
    let cure = "boot without swiotlb=force, or outside of a confidential virtual machine";
    let refusal = Refusal::new(thing(route), cause, cure);
    Some(Finding::new(What::BounceForced, Severity::No, refusal).seen([forced.clone()]))
}

/// In a virtual machine the tree is the hypervisor's invention.
fn host_hidden(topology: &Topology, route: &Route, platform: &Platform) -> Option<Finding> {
    hyper_v(topology, route, platform).or_else(|| passed_through(topology, route, platform))
}

/// Vendors of devices that hypervisors make: QEMU's, virtio's, Bochs', VMware's, Xen's, Hyper-V's.
const EMULATED: [u16; 6] = [0x1b36, 0x1af4, 0x1234, 0x15ad, 0x5853, 0x1414];

/// A device of somebody else's was passed through: where it is plugged in, only the host knows, and there its traffic may be
/// redirected by the ACS that passing through asks for.
fn passed_through(topology: &Topology, route: &Route, platform: &Platform) -> Option<Finding> {
    let flag = platform.hypervisor.as_ref().filter(|_| route.is_supported() != Some(false))?;
    let ends = [route.provider, route.client].into_iter().filter_map(|address| topology.device(address));
    let device = ends.into_iter().find(|device| !EMULATED.contains(&device.vendor))?;
    let hypervisor = platform.product.as_ref().map_or("a hypervisor", |product| &product.value);
    let cause = format!(
        "{} is passed through to this virtual machine ({hypervisor}), whose PCI tree says nothing of how the hardware is \
         connected",
        device.address
    );
    let refusal = Refusal::new(thing(route), cause, "prove the route by a transfer (`p2pbench run --verify`)");
    let seen = [flag.clone()].into_iter().chain(platform.product.clone());
    Some(Finding::new(What::HostHidden, Severity::Warning, refusal).seen(seen))
}

/// Hyper-V gives each device a host bridge of its own (drivers/pci/controller/pci-hyperv.c), below a VMBus device.
fn hyper_v(topology: &Topology, route: &Route, platform: &Platform) -> Option<Finding> {
    let ends = [route.provider, route.client].into_iter().filter(|_| platform.has_vmbus());
    let ends = ends.filter_map(|address| topology.device(address));
    let hidden = ends.map(|device| &device.directory).find(|directory| platform.is_below_vmbus(directory))?;
    let cause = "Hyper-V hides how its devices are connected: the kernel's answer says nothing of the hardware";
    let refusal = Refusal::new(thing(route), cause, "prove the route by a transfer (`p2pbench run --verify`)");
    let evidence = Evidence::new(VMBUS, hidden);
    let unsure = route.is_supported() != Some(false);
    unsure.then(|| Finding::new(What::HostHidden, Severity::Unknown, refusal).seen([evidence]))
}

/// A real switch routes bus addresses by itself. QEMU's hands them to the IOMMU, reports success and delivers nothing.
fn virtual_iommu(topology: &Topology, route: &Route, platform: &Platform) -> Option<Finding> {
    let virtual_machine = platform.hypervisor.as_ref().filter(|_| route.map_type == MapType::BusAddr)?;
    let group = topology.device(route.client)?.iommu.as_ref()?;
    let kind = group.domain_type.as_deref().filter(|kind| kind.starts_with("DMA"))?;
    let cause = "a virtual switch below an IOMMU may lose what goes by bus addresses, and report success";
    let refusal = Refusal::new(thing(route), cause, "prove the route by a transfer (`p2pbench run --verify`)");
    let evidence = Evidence::new(format!("/sys/kernel/iommu_groups/{}/type", group.number), kind);
    Some(Finding::new(What::VirtualIommu, Severity::Unknown, refusal).seen([virtual_machine.clone(), evidence]))
}
