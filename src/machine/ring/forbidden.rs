//! Why this process got no ring. io_uring_setup(2) has one errno for several causes, each with a cure of its own; what tells
//! them apart is read.

use crate::machine::Facts;

const DISABLED: &str = "/proc/sys/kernel/io_uring_disabled";
const STATUS: &str = "/proc/self/status";
const MODULES: &str = "/sys/kernel/security/lsm";

/// The cause, the cure, and what was read that says so: a path and its content.
#[derive(Debug)]
pub(crate) struct Forbidden {
    pub(crate) cause: &'static str,
    pub(crate) cure: &'static str,
    pub(crate) seen: Option<(&'static str, String)>,
}

/// Kernel: `io_uring_setup` in io_uring/io_uring.c asks the sysctl first; a seccomp filter answers before the kernel does.
pub(crate) fn forbidden(facts: &dyn Facts, errno: Option<i32>) -> Forbidden {
    let level = facts.text(DISABLED);
    let filter = seccomp(facts);
    let (cause, cure, seen) = match (errno.unwrap_or_default(), level.as_deref(), filter) {
        (libc::EPERM, Some("2"), _) => (
            "the sysctl kernel.io_uring_disabled=2 forbids it to everybody",
            "have root run `sysctl -w kernel.io_uring_disabled=0`",
            Some((DISABLED, "2".to_owned())),
        ),
        (libc::EPERM, Some("1"), _) => (
            "the sysctl kernel.io_uring_disabled=1 forbids it to all but root and the group kernel.io_uring_group",
            "have root run `sysctl -w kernel.io_uring_disabled=0`, or join that group",
            Some((DISABLED, "1".to_owned())),
        ),
        (libc::EPERM | libc::EACCES | libc::ENOSYS, _, Some(filter)) => (
            "a seccomp filter forbids it to this process, as those of containers do",
            "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile",
            Some((STATUS, filter)),
        ),
        (libc::EPERM | libc::EACCES, ..) => (
            "a security module forbids it to this process",
            "allow it in the module's policy (SELinux: class io_uring); the kernel's audit log names the rule",
            facts.text(MODULES).map(|modules| (MODULES, modules)),
        ),
        (libc::ENOSYS, ..) => ("this kernel was built without it", "use a kernel with CONFIG_IO_URING", None),
        (libc::ENOMEM, ..) => {
            ("no memory for the ring", "ask for a smaller depth, or raise the limit on locked memory (ulimit -l)", None)
        }
        (libc::EMFILE | libc::ENFILE, ..) => ("too many files are open", "raise the limit on them (ulimit -n)", None),
        (libc::EINVAL, ..) => ("the kernel does not know a flag, or the depth is out of range", "use Linux 6.12", None),
        _ => ("the kernel gave no ring", "see the errno", None),
    };
    Forbidden { cause, cure, seen }
}

/// Set where a filter stands between this process and the kernel: 2 in the `Seccomp` line.
fn seccomp(facts: &dyn Facts) -> Option<String> {
    let status = facts.text(STATUS)?;
    let line = status.lines().find(|line| line.starts_with("Seccomp:"))?;
    line.ends_with('2').then(|| line.replace('\t', " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Snapshot;

    fn cure(errno: i32, disabled: &str, status: &str) -> &'static str {
        let mut facts = Snapshot::new();
        facts.file(DISABLED, disabled).file(STATUS, status).file(MODULES, "capability,selinux\n");
        forbidden(&facts, Some(errno)).cure
    }

    #[test]
    fn each_cause_has_its_own_cure() {
        let (none, filter) = ("Name:\tx\nSeccomp:\t0\n", "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n");
        assert!(cure(libc::EPERM, "2\n", filter).contains("`sysctl -w kernel.io_uring_disabled=0`"));
        assert!(cure(libc::EPERM, "1\n", none).contains("join that group"));
        assert!(cure(libc::EPERM, "0\n", filter).contains("seccomp profile"));
        assert!(cure(libc::ENOSYS, "0\n", filter).contains("seccomp profile"));
        assert!(cure(libc::EACCES, "0\n", none).contains("SELinux"));
        assert!(cure(libc::ENOSYS, "", none).contains("CONFIG_IO_URING"));
        assert!(cure(libc::ENOMEM, "0\n", none).contains("ulimit -l"));
        assert!(cure(libc::EMFILE, "0\n", none).contains("ulimit -n"));
    }

    #[test]
    fn what_was_read_is_the_evidence() {
        let mut facts = Snapshot::new();
        facts.file(DISABLED, "2\n");
        let seen = forbidden(&facts, Some(libc::EPERM)).seen;
        assert_eq!(seen, Some(("/proc/sys/kernel/io_uring_disabled", "2".to_owned())));
    }
}
