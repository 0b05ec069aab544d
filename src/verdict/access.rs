//! Whether this user may open the storage. Facts tell all of a block device without opening it; who moves bytes has to.

use super::finding::{Finding, Severity, What};
use crate::{
    Error,
    machine::Machine,
    storage::{Evidence, Source},
};

/// Opens the block device for reading, and closes it. A file has been opened already.
pub(super) fn finding(machine: &Machine, source: &Source) -> Option<Finding> {
    let device = source.stack().top();
    if source.size().is_some() || device.number.is_none() {
        return None;
    }
    let path = format!("/dev/{}", device.name.replace('!', "/"));
    match machine.may_open(path.as_ref()).err()? {
        Error::NotAllowed(refusal) => {
            let seen = Evidence::new(format!("open {path}"), "Permission denied");
            Some(Finding::new(What::NoPermission, Severity::Unknown, refusal).seen([seen]))
        }
        _ => None,
    }
}
