//! Ctrl-C and SIGTERM: the first asks to stop starting operations; a second one ends the program as ever.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use crate::failure::Failure;

static CAME: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From here on a signal is noted instead of ending the program.
pub(crate) fn watch() -> io::Result<()> {
    // Once: of two such pairs of actions the second would take the first one's flag for an earlier signal.
    if CAME.get().is_some() {
        return Ok(());
    }
    let came = CAME.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        // In this order: the second signal finds the flag that the first has set.
        flag::register_conditional_default(signal, Arc::clone(came))?;
        flag::register(signal, Arc::clone(came))?;
    }
    Ok(())
}

/// Whether one came.
pub(crate) fn came() -> bool {
    CAME.get().is_some_and(|came| came.load(Ordering::Relaxed))
}

/// How long what flies is waited for, once a signal came.
const GRACE: Duration = Duration::from_millis(400);

static SEEN: OnceLock<Instant> = OnceLock::new();

/// Whether a signal came so long ago that a device which has not answered since is waited for no more.
pub(crate) fn is_overdue() -> bool {
    came() && SEEN.get_or_init(Instant::now).elapsed() >= GRACE
}

/// [`Failure::Interrupted`] if one came.
pub(crate) fn check() -> Result<(), Failure> {
    if came() { Err(Failure::Interrupted { flying: 0 }) } else { Ok(()) }
}

/// As if none had come.
#[cfg(test)]
pub(crate) fn forget() {
    CAME.get().into_iter().for_each(|came| came.store(false, Ordering::Relaxed));
}
