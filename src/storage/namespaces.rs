//! The namespaces of an NVMe function.

use std::path::PathBuf;

use crate::{
    machine::{Facts, Machine},
    pci::Address,
};

/// The block devices of an NVMe function's namespaces, by path, sorted. Empty where the function has none, or where
/// they are hidden behind a multipath head.
#[must_use]
pub fn namespaces(machine: &Machine, function: Address) -> Vec<PathBuf> {
    let names = names(machine.facts(), function).into_iter();
    names.filter(|name| is_namespace(name)).map(|name| PathBuf::from(format!("/dev/{name}"))).collect()
}

/// What lies in the directories of a function's controllers, namespaces among it.
pub(super) fn names(facts: &dyn Facts, function: Address) -> Vec<String> {
    let list = |path: &str| facts.list(path).unwrap_or_default();
    let Ok(directory) = facts.link(&format!("/sys/bus/pci/devices/{function}")) else { return Vec::new() };
    let controllers = list(&format!("{directory}/nvme")).into_iter();
    controllers.flat_map(|name| list(&format!("{directory}/nvme/{name}"))).collect()
}

/// `nvme0n1`, but neither `nvme0` nor the hidden path `nvme0c0n1` (drivers/nvme/host/multipath.c).
fn is_namespace(name: &str) -> bool {
    let parts = name.strip_prefix("nvme").and_then(|rest| rest.split_once('n'));
    parts.is_some_and(|(controller, namespace)| is_number(controller) && is_number(namespace))
}

/// The head that a hidden path belongs to: `nvme0n1` of `nvme0c3n1`.
pub(super) fn head_of(name: &str) -> Option<String> {
    let (subsystem, rest) = name.strip_prefix("nvme")?.split_once('c')?;
    let (controller, namespace) = rest.split_once('n')?;
    let all = [subsystem, controller, namespace].into_iter().all(is_number);
    all.then(|| format!("nvme{subsystem}n{namespace}"))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_told_from_its_controller_and_a_hidden_path() {
        assert!(is_namespace("nvme0n1") && is_namespace("nvme12n345"));
        assert!(["nvme0", "nvme0c0n1", "nvme0n", "ng0n1", "nvmen1"].iter().all(|name| !is_namespace(name)));
    }

    proptest::proptest! {
        #[test]
        fn any_name_is_a_namespace_a_path_or_neither(name in "(nvme)?[0-9]{0,30}(c[0-9]{0,30})?(n[0-9]{0,30})?.*") {
            proptest::prop_assert!(!(is_namespace(&name) && head_of(&name).is_some()));
        }
    }

    #[test]
    fn a_path_tells_its_head() {
        assert_eq!(head_of("nvme0c3n1").as_deref(), Some("nvme0n1"));
        assert!(["nvme0n1", "nvme0", "nvme0cn1", "nvmec1n1", "sdc"].iter().all(|name| head_of(name).is_none()));
    }
}
