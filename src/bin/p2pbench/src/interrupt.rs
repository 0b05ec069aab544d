//! Ctrl-C and SIGTERM: the first asks to stop starting operations; a second one ends the program as ever.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use crate::failure::Failure;

static CAME: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From here on a signal is noted instead of ending the program.
pub(crate) fn watch() -> io::Result<()> {
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

/// [`Failure::Interrupted`] if one came.
pub(crate) fn check() -> Result<(), Failure> {
    if came() { Err(Failure::Interrupted) } else { Ok(()) }
}
