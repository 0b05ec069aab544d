//! What this process knows of routes, by having moved bytes over them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    Error, Refusal, Result,
    machine::{Access, Direction, MachineId},
    pci::Address,
    storage::File,
};

/// A route, one way: between an NVMe function and a provider's memory.
type Key = (MachineId, Address, Address, bool);

/// Whether it was proved, or disproved.
static ROUTES: Mutex<BTreeMap<Key, bool>> = Mutex::new(BTreeMap::new());

/// Nothing panics while the table is changed.
fn routes() -> MutexGuard<'static, BTreeMap<Key, bool>> {
    ROUTES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keys(file: &File, provider: Address, direction: Direction) -> impl Iterator<Item = Key> {
    let machine = file.machine();
    let functions = file.stack().functions().into_iter();
    functions.map(move |function| (machine, function, provider, direction == Direction::Write))
}

/// Bytes have moved and arrived. With one function below the file they have gone over its route; with more, over that of any.
pub(super) fn proved(file: &File, provider: Address, direction: Direction) {
    let mut keys = keys(file, provider, direction);
    if let (Some(key), None) = (keys.next(), keys.next()) {
        routes().insert(key, true);
    }
}

/// Bytes were said to have moved, and have not: over any of the routes below the file.
pub(super) fn disproved(file: &File, provider: Address, direction: Direction) {
    routes().extend(keys(file, provider, direction).map(|key| (key, false)));
}

/// Whether the routes from all functions below the file were proved.
pub(super) fn knows(file: &File, provider: Address, direction: Direction) -> bool {
    let routes = routes();
    let mut keys = keys(file, provider, direction).peekable();
    keys.peek().is_some() && keys.all(|key| routes.get(&key) == Some(&true))
}

/// Whether the routes were proved, each way that the file is open for.
///
/// # Errors
///
/// [`Error::Disproved`] for one that was disproved.
pub(in crate::transfer) fn demand(file: &File, provider: Address) -> Result<bool> {
    let directions: &[Direction] = match file.access() {
        Access::Read => &[Direction::Read],
        Access::ReadWrite => &[Direction::Read, Direction::Write],
    };
    let mut all = true;
    for &direction in directions {
        let routes = routes();
        if let Some((_, function, ..)) = keys(file, provider, direction).find(|key| routes.get(key) == Some(&false)) {
            let thing = format!("{function} -> {provider}");
            let cause = format!("a {direction} over this route was said to have gone well, and other bytes arrived");
            return Err(Error::Disproved(Refusal::new(thing, cause, super::CURE)));
        }
        drop(routes);
        all &= knows(file, provider, direction);
    }
    Ok(all)
}
