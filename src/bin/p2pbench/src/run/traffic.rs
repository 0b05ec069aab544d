//! What passes between the processors and host memory, where the machine counts it: resctrl's memory bandwidth monitoring.
//!
//! The counters are those of the root group: of all processors and tasks that nobody has put into another. They count what
//! passes the last-level cache on behalf of a processor. What devices read and write by DMA is not in them, so of a bounce
//! they show the copies and not the SSD's part. Kernel: Documentation/arch/x86/resctrl.rst, rules: 6.12.

use p2pdma::machine::Facts;
use serde::Serialize;

const GROUP: &str = "/sys/fs/resctrl/mon_data";

/// Bytes since the counters began; or why they cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading(Result<Counters, String>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counters {
    total: u64,
    local: u64,
}

/// What passed in the turns of a row. Never an estimate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Traffic {
    /// To and from any memory.
    bytes: Option<u64>,
    /// Of these, to and from memory of the processor's own node.
    local_bytes: Option<u64>,
    /// By the bytes that the row moved.
    bytes_per_byte: Option<f64>,
    /// Why it is not measurable here; `null` where it was measured.
    reason: Option<String>,
}

/// The sum over all turns.
#[derive(Debug)]
pub(super) struct Sum(Result<Counters, String>);

impl Reading {
    pub(super) fn now(facts: &dyn Facts) -> Self {
        Self(counters(facts))
    }
}

fn counters(facts: &dyn Facts) -> Result<Counters, String> {
    let domains =
        facts.list(GROUP).map_err(|error| format!("{GROUP}: {error} (mount -t resctrl resctrl /sys/fs/resctrl)"))?;
    let domains: Vec<String> = domains.into_iter().filter(|name| name.starts_with("mon_L3_")).collect();
    if domains.is_empty() {
        return Err(format!("{GROUP} has no mon_L3_*: the processor monitors no memory bandwidth"));
    }
    let mut sum = Counters::default();
    for domain in domains {
        for (name, counter) in [("mbm_total_bytes", &mut sum.total), ("mbm_local_bytes", &mut sum.local)] {
            let path = format!("{GROUP}/{domain}/{name}");
            // It says `Unavailable` or `Error` where it cannot tell.
            let text = facts.text(&path).ok_or_else(|| format!("{path} cannot be read"))?;
            *counter += text.parse::<u64>().map_err(|_| format!("{path} says {text:?}"))?;
        }
    }
    Ok(sum)
}

impl Sum {
    pub(super) fn new() -> Self {
        Self(Ok(Counters::default()))
    }

    /// Once it could not be told, all of it cannot.
    pub(super) fn turn(&mut self, before: &Reading, after: &Reading) {
        let Ok(sum) = &mut self.0 else { return };
        match (&before.0, &after.0) {
            (Ok(before), Ok(after)) if before.total <= after.total && before.local <= after.local => {
                sum.total += after.total - before.total;
                sum.local += after.local - before.local;
            }
            (Err(reason), _) | (_, Err(reason)) => self.0 = Err(reason.clone()),
            _ => self.0 = Err("the counters ran backwards".into()),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
    pub(super) fn of(&self, moved: u64) -> Traffic {
        let sum = self.0.as_ref().ok();
        Traffic {
            bytes: sum.map(|sum| sum.total),
            local_bytes: sum.map(|sum| sum.local),
            bytes_per_byte: sum.filter(|_| moved > 0).map(|sum| sum.total as f64 / moved as f64),
            reason: self.0.as_ref().err().cloned(),
        }
    }
}

impl Traffic {
    /// For a table.
    pub(super) fn cell(&self) -> String {
        self.bytes_per_byte.map_or("-".into(), |traffic| format!("{traffic:.2}"))
    }

    /// Below a table.
    pub(super) fn note(&self) -> Option<String> {
        self.reason.as_ref().map(|reason| format!("host memory traffic is not measurable here: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use p2pdma::machine::{Machine, Mock, mock::Cpu};

    use super::*;

    /// A machine with two caches whose counters stand so.
    fn reading(total: [&str; 2]) -> Reading {
        let mut mock = Mock::one_switch(Cpu::AmdZen).unwrap();
        for (domain, total) in total.into_iter().enumerate() {
            let path = |name| format!("{GROUP}/mon_L3_0{domain}/{name}");
            mock.facts_mut().file(path("mbm_total_bytes"), format!("{total}\n"));
            mock.facts_mut().file(path("mbm_local_bytes"), "7\n").file(path("llc_occupancy"), "9\n");
        }
        Reading::now(Machine::mock(mock).facts())
    }

    #[test]
    fn what_passed_is_the_sum_over_caches_and_turns() {
        let mut sum = Sum::new();
        sum.turn(&reading(["100", "1000"]), &reading(["150", "1500"]));
        sum.turn(&reading(["150", "1500"]), &reading(["200", "1500"]));
        let traffic = sum.of(300);
        assert_eq!((traffic.bytes, traffic.local_bytes, traffic.reason.as_deref()), (Some(600), Some(0), None));
        assert_eq!((traffic.bytes_per_byte, traffic.cell()), (Some(2.0), "2.00".into()));
    }

    #[test]
    fn what_cannot_be_told_is_null_with_its_reason_and_stays_so() {
        let mut sum = Sum::new();
        sum.turn(&reading(["1", "1"]), &reading(["1", "Unavailable"]));
        sum.turn(&reading(["1", "1"]), &reading(["2", "2"]));
        let traffic = sum.of(300);
        assert_eq!((traffic.bytes, traffic.bytes_per_byte), (None, None));
        assert!(traffic.note().unwrap().contains("mon_L3_01/mbm_total_bytes says \"Unavailable\""), "{traffic:?}");
        sum = Sum::new();
        sum.turn(&reading(["9", "1"]), &reading(["1", "1"]));
        assert!(sum.of(1).reason.unwrap().contains("backwards"));
    }

    #[test]
    fn a_machine_without_it_says_what_would_help() {
        let none = Reading::now(Machine::mock(Mock::one_switch(Cpu::AmdZen).unwrap()).facts());
        assert!(none.0.unwrap_err().contains("mount -t resctrl"));
    }
}
