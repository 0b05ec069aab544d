//! Facts -> tree; a route with its reasons.
