//! Whether this process may use io_uring, which moves everything.

use super::finding::{Finding, Severity, What};
use crate::{
    Error, Refusal,
    machine::{Machine, Setup, forbidden},
    storage::Evidence,
};

/// Asks for a ring, and gives it back. Of a machine that can make none, as a recorded one, nothing is known.
pub(super) fn finding(machine: &Machine) -> Option<Finding> {
    let Error::Io { source, .. } = machine.ring(Setup { depth: 1, single_issuer: false }).err()? else { return None };
    // Its words are those of the refusal already; asked anew, since what was read for them is evidence.
    let why = forbidden(machine.facts(), source.source.raw_os_error());
    let seen = why.seen.map(|(path, value)| Evidence::new(path, value));
    let errno = Evidence::new(source.call, source.source);
    let finding = Finding::new(What::RingForbidden, Severity::No, Refusal::new("io_uring", why.cause, why.cure));
    Some(finding.seen(seen.into_iter().chain([errno])))
}
