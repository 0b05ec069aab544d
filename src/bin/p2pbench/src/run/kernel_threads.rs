//! CPU time of the kernel's threads, which no process is charged for: kworkers (what the module submits again, what a filesystem
//! writes back), md's threads, interrupts that came in too great a number. What io_uring starts is not among them, since it is
//! this process's own.
//!
//! It is that of all kernel threads of the machine, whomever they worked for, in steps of 10 ms a thread.

use std::{collections::BTreeMap, time::Duration};

use p2pdma::machine::Facts;

/// The kernel's (include/linux/sched.h, `PF_KTHREAD`).
const KTHREAD: u64 = 0x0020_0000;

/// Of a second, as the kernel tells times to user space (`USER_HZ`, include/uapi/asm-generic/param.h).
const TICKS: u64 = 100;

/// Ticks of each kernel thread since it began; `None` where none is to be seen: in a container, on a mock machine.
#[derive(Debug)]
pub(super) struct Reading(Option<BTreeMap<u32, u64>>);

impl Reading {
    pub(super) fn now(facts: &dyn Facts) -> Self {
        let names = facts.list("/proc").unwrap_or_default();
        let threads = names.iter().filter_map(|name| {
            let number = name.parse().ok()?;
            Some((number, ticks(&facts.text(&format!("/proc/{name}/stat"))?)?))
        });
        let threads: BTreeMap<_, _> = threads.collect();
        Self((!threads.is_empty()).then_some(threads))
    }

    /// What they took since then. A thread that has ended meanwhile is not counted.
    pub(super) fn since(&self, before: &Self) -> Option<Duration> {
        let (before, after) = before.0.as_ref().zip(self.0.as_ref())?;
        let spent = |(number, ticks): (&u32, &u64)| ticks.saturating_sub(before.get(number).copied().unwrap_or(0));
        Some(Duration::from_millis(after.iter().map(spent).sum::<u64>() * (1000 / TICKS)))
    }
}

/// User and system time of a kernel thread (proc_pid_stat(5): flags are field 9, the times 14 and 15); `None` of another task.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    (number(9)? & KTHREAD != 0).then_some(number(14)? + number(15)?)
}

#[cfg(test)]
mod tests {
    use p2pdma::machine::Snapshot;

    use super::*;

    /// A name may hold whatever its owner likes.
    fn stat(flags: u64, user: u64, system: u64) -> String {
        format!("7 (kworker/0:1) S 2 (x) S 2 0 0 0 -1 {flags} 0 0 0 0 {user} {system} 0 0 20 0 1 0 33 0 0\n")
    }

    fn reading(of: &[(u32, u64, u64, u64)]) -> Reading {
        let mut facts = Snapshot::new();
        for &(number, flags, user, system) in of {
            facts.file(format!("/proc/{number}/stat"), stat(flags, user, system));
        }
        Reading::now(facts.file("/proc/stat", "cpu 1 2 3\n"))
    }

    #[test]
    fn kernel_threads_are_counted_and_no_other_task() {
        let before = reading(&[(2, 0x0020_8040, 0, 5), (9, 0x0420_8060, 1, 7), (300, 0x0040_0100, 50, 60)]);
        let after = reading(&[(9, 0x0420_8060, 2, 9), (11, 0x0020_8040, 0, 4), (300, 0x0040_0100, 80, 90)]);
        assert_eq!(after.since(&before), Some(Duration::from_millis(70)), "three of an old one, four of a new one");
    }

    #[test]
    fn where_none_is_to_be_seen_nothing_is_said() {
        let none = reading(&[(300, 0x0040_0100, 50, 60)]);
        assert_eq!(none.since(&none), None);
    }
}
