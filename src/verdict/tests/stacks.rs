//! Stacked block devices, which root names to the module.

use super::*;

#[test]
fn a_raid_of_both_ssds_is_no_for_mappings_and_for_the_module_until_root_names_it() {
    let judged = |told: Option<&str>| {
        let (mut mock, stack) = (raid(), "/sys/bus/pci/drivers/p2pdma_user/stack");
        let _ = told.map(|told| mock.facts_mut().file(stack, told));
        judge(&Source::of_block_device(&Machine::mock(mock), "/dev/md0").expect("md0"), PEER)
    };
    let line = "9:0=0000:03:00.0,0000:04:00.0";
    let both = vec![What::QueueRefuses, What::StackNotNamed];
    for told in [None, Some(""), Some("9:1=0000:03:00.0,0000:04:00.0\n"), Some("19:0=0000:03:00.0\n")] {
        let verdict = judged(told);
        assert_eq!(summary(&verdict), (Answer::No, Answer::No, both.clone()), "{told:?}");
        for finding in verdict.findings() {
            assert!(finding.refusal.cure.contains(&format!("`echo {line} >")), "ready to be copied: {finding}");
        }
        assert!(matches!(verdict.require(Way::Module), Err(Error::NoDirectIo(_))));
    }
    let named = judged(Some(&format!("259:1=0000:01:00.0\n{line}\n")));
    assert_eq!(summary(&named), (Answer::No, Answer::Yes, vec![What::QueueRefuses]));
    assert_eq!(named.routes().len(), 2);
    assert!(!named.findings().next().unwrap().refusal.cure.contains("echo"), "it is named");
    let half = judged(Some("9:0=0000:03:00.0\n"));
    assert_eq!(summary(&half), (Answer::No, Answer::Yes, both));
    let told = half.findings().nth(1).unwrap();
    assert!(told.refusal.cause.contains("not named 0000:04:00.0") && told.refusal.cure.contains(line), "{told}");
}

/// The switch is root's to read, too.
#[test]
fn whether_a_stack_was_named_is_unknown_to_an_ordinary_user() {
    let mut mock = raid();
    mock.facts_mut().refused("/sys/bus/pci/drivers/p2pdma_user/stack", libc::EACCES);
    let verdict = judge(&Source::of_block_device(&Machine::mock(mock), "/dev/md0").expect("md0"), PEER);
    assert_eq!(summary(&verdict), (Answer::No, Answer::Unknown, vec![What::QueueRefuses, What::StackNotNamed]));
    assert!(verdict.clone().settled_by_kernel().require(Way::Module).is_ok(), "the module knows");
    let cure = verdict.findings().nth(1).unwrap().refusal.cure.clone();
    assert!(cure.contains("look as root") && cure.contains("`p2pbench run --way module`"), "{cure}");
}

/// A mirror of both SSDs.
fn raid() -> Mock {
    let mut mock = switch();
    mock.raid0(&["/dev/nvme0n1", "/dev/nvme1n1"]).expect("an array");
    mock.facts_mut().file("/sys/devices/virtual/block/md0/md/level", "raid1\n");
    mock
}

#[test]
fn a_mirror_goes_on_with_the_ssd_that_is_left() {
    let mut mock = raid();
    let directory = crate::machine::Facts::link(&mock, "/sys/bus/pci/devices/0000:03:00.0").expect("an SSD");
    mock.facts_mut().file(format!("{directory}/nvme/nvme0/state"), "dead\n");
    mock.facts_mut().file("/sys/bus/pci/drivers/p2pdma_user/stack", "9:0=0000:03:00.0,0000:04:00.0\n");
    let verdict = judge(&Source::of_block_device(&Machine::mock(mock), "/dev/md0").expect("md0"), PEER);
    let findings = vec![What::QueueRefuses, What::NoNamespace];
    assert_eq!(summary(&verdict), (Answer::No, Answer::Yes, findings));
}

/// The module takes no queue that may sleep, whatever it is told of it.
#[test]
fn dm_multipath_is_no_for_either_way_and_nobody_is_told_to_name_it() {
    let (mut mock, stack) = (raid(), "/sys/bus/pci/drivers/p2pdma_user/stack");
    mock.facts_mut().file("/sys/devices/virtual/block/md0/dm/uuid", "mpath-nvme.1234\n");
    mock.facts_mut().file(stack, "9:0=0000:03:00.0,0000:04:00.0\n");
    let verdict = judge(&Source::of_block_device(&Machine::mock(mock), "/dev/md0").expect("its device"), PEER);
    assert_eq!(summary(&verdict), (Answer::No, Answer::No, vec![What::QueueRefuses, What::BeyondModule]));
    let cures = verdict.findings().map(|finding| finding.refusal.cure.clone()).collect::<Vec<_>>();
    assert!(cures[1].contains("nvme_core.multipath=Y") && cures.iter().all(|cure| !cure.contains("echo")), "{cures:?}");
}
