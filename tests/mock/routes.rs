//! Which devices may exchange data, and whose memory may be had.

use p2pdma::{
    Error,
    machine::{Access, Machine, Mock, mock::Cpu},
    memory::Provider,
    storage::{File, LayerKind, namespaces},
    topology::Topology,
    verdict::{Answer, Verdict},
};

use crate::{SSD, address, queue, switch};

#[test]
fn two_root_ports_of_an_unlisted_intel_are_refused_before_any_io() {
    let machine = Machine::mock(Mock::root_ports(Cpu::IntelUnlisted).unwrap());
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = Provider::find(&machine, address("0000:02:00.0")).unwrap().allocate(4096).unwrap();
    let mut queue = queue(&machine);
    let refused = queue.bind(&file, &memory).unwrap_err();
    assert!(matches!(refused, Error::NoRoute(_)));
    let line = refused.to_string();
    for part in ["0000:01:00.0", "0000:02:00.0", "host bridge 8086:29c0", "below one PCIe switch"] {
        assert!(line.contains(part), "{part:?} is missing in {line:?}");
    }
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn two_root_ports_of_amd_zen_go_through_the_host_bridge() {
    let machine = Machine::mock(Mock::root_ports(Cpu::AmdZen).unwrap());
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let topology = Topology::scan(&machine).unwrap();
    let verdict = Verdict::judge(&topology, &file, address("0000:02:00.0")).unwrap();
    assert_eq!(verdict.answer(), Answer::Yes);
    let route = verdict.route().unwrap();
    assert_eq!((route.map_type.as_str(), route.distance), ("thru_host_bridge", Some(4)));
}

#[test]
fn what_is_no_provider_is_refused_by_name() {
    let machine = switch();
    let find = |text: &str| Provider::find(&machine, address(text)).unwrap_err();
    assert!(matches!(find("0000:03:00.0"), Error::NotFound(_)), "an SSD without CMB");
    assert!(matches!(find("0000:99:00.0"), Error::NotFound(_)), "no such device");
}

#[test]
fn memory_of_a_foreign_driver_is_never_mapped() {
    use p2pdma::machine::mock::Function;
    let mut mock = Mock::new(Cpu::AmdZen);
    let gpu = address("0000:01:00.0");
    mock.function(&Function { driver: Some("nvidia".into()), ..Function::provider(gpu, None, 64 << 20) });
    let refused = Provider::find(&Machine::mock(mock), gpu).and_then(|gpu| gpu.allocate(4096)).unwrap_err();
    assert!(matches!(refused, Error::ForeignProvider(_)));
    assert!(refused.to_string().contains("nvidia"));
}

#[test]
fn a_function_tells_its_namespaces() {
    let machine = switch();
    assert_eq!(namespaces(&machine, address("0000:04:00.0")), [std::path::PathBuf::from("/dev/nvme1n1")]);
    assert!(namespaces(&machine, address("0000:05:00.0")).is_empty());
    let file = File::open(&machine, "/dev/nvme1n1", Access::Read).unwrap();
    let layers = file.stack().layers();
    assert_eq!(
        (layers[0].1.name.as_str(), &layers[0].1.kind),
        ("nvme1n1", &LayerKind::Namespace(address("0000:04:00.0")))
    );
}
