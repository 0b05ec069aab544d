//! Routes and scans of machines that are written down as trees.

mod kernel;
mod random;
mod route;
mod scan;
mod tree;
