//! p2pbench: measure, show and explain NVMe <-> peer memory transfers.

fn main() {}
