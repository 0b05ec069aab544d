//! Whether this process may use io_uring, which moves everything. One errno stands for several causes, each with a cure of its
//! own; what tells them apart is read.

use super::finding::{Finding, Severity, What};
use crate::{
    Error, Refusal,
    machine::{Facts, Machine, Setup},
    storage::Evidence,
};

const DISABLED: &str = "/proc/sys/kernel/io_uring_disabled";
const STATUS: &str = "/proc/self/status";
const MODULES: &str = "/sys/kernel/security/lsm";

/// Asks for a ring, and gives it back. Of a machine that can make none, as a recorded one, nothing is known.
pub(super) fn finding(machine: &Machine) -> Option<Finding> {
    match machine.ring(Setup { depth: 1, single_issuer: false }).err()? {
        Error::Io { source, .. } => Some(forbidden(machine.facts(), source.source.raw_os_error()?)),
        _ => None,
    }
}

/// Kernel: `io_uring_setup` in io_uring/io_uring.c asks the sysctl first; a seccomp filter answers before the kernel does.
fn forbidden(facts: &dyn Facts, errno: i32) -> Finding {
    let disabled = facts.text(DISABLED).map(|value| Evidence::new(DISABLED, value));
    let filter = seccomp(facts);
    let (cause, cure, evidence) = match (errno, &disabled, &filter) {
        (libc::EPERM, Some(level), _) if level.value == "2" => {
            ("kernel.io_uring_disabled=2 forbids it to everybody", "set sysctl kernel.io_uring_disabled=0", disabled)
        }
        (libc::EPERM, Some(level), _) if level.value == "1" => (
            "kernel.io_uring_disabled=1 forbids it to all but root and the group kernel.io_uring_group",
            "set sysctl kernel.io_uring_disabled=0, or join that group",
            disabled,
        ),
        (libc::EPERM | libc::EACCES | libc::ENOSYS, _, Some(_)) => (
            "a seccomp filter forbids it to this process, as those of containers do",
            "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile",
            filter,
        ),
        (libc::EPERM | libc::EACCES, ..) => (
            "a security module forbids it to this process",
            "allow it in the module's policy (SELinux: class io_uring); the kernel's audit log names the rule",
            facts.text(MODULES).map(|modules| Evidence::new(MODULES, modules)),
        ),
        (libc::ENOSYS, ..) => ("this kernel was built without it", "use a kernel with CONFIG_IO_URING", None),
        _ => ("the kernel gave no ring", "see the errno; more memory or open files may be allowed by ulimit", None),
    };
    let errno = Evidence::new("io_uring_setup", std::io::Error::from_raw_os_error(errno));
    Finding::new(What::RingForbidden, Severity::No, Refusal::new("io_uring", cause, cure))
        .seen(evidence.into_iter().chain([errno]))
}

/// Set where a filter stands between this process and the kernel: 2 in the `Seccomp` line.
fn seccomp(facts: &dyn Facts) -> Option<Evidence> {
    let status = facts.text(STATUS)?;
    let line = status.lines().find(|line| line.starts_with("Seccomp:"))?;
    line.ends_with('2').then(|| Evidence::new(STATUS, line.replace('\t', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Snapshot;

    fn cure(errno: i32, disabled: &str, status: &str) -> String {
        let mut facts = Snapshot::new();
        facts.file(DISABLED, disabled).file(STATUS, status).file(MODULES, "capability,selinux\n");
        forbidden(&facts, errno).refusal.cure
    }

    #[test]
    fn each_cause_has_its_own_cure() {
        let (none, filter) = ("Name:\tx\nSeccomp:\t0\n", "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n");
        assert!(cure(libc::EPERM, "2\n", filter).contains("sysctl kernel.io_uring_disabled=0"));
        assert!(cure(libc::EPERM, "1\n", none).contains("join that group"));
        assert!(cure(libc::EPERM, "0\n", filter).contains("seccomp profile"));
        assert!(cure(libc::ENOSYS, "0\n", filter).contains("seccomp profile"));
        assert!(cure(libc::EACCES, "0\n", none).contains("SELinux"));
        assert!(cure(libc::ENOSYS, "", none).contains("CONFIG_IO_URING"));
        assert!(cure(libc::ENOMEM, "0\n", none).contains("ulimit"));
    }

    #[test]
    fn what_was_read_and_the_errno_are_the_evidence() {
        let facts = Snapshot::new();
        let finding = forbidden(&facts, libc::EPERM);
        assert!(finding.evidence[0].to_string().starts_with("io_uring_setup = "), "{:?}", finding.evidence);
    }
}
