//! Which machine: the value of `--machine`.

use std::str::FromStr;

use p2pdma::machine::{Machine, Mock, mock::Cpu};

/// A machine by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MachineName {
    /// This one.
    Host,
    /// SSDs and peer memory below one switch.
    Mock,
    /// An SSD and peer memory below two root ports.
    MockRootPorts(Cpu),
}

impl MachineName {
    /// Makes it.
    pub(crate) fn make(self) -> p2pdma::Result<Machine> {
        Ok(match self {
            Self::Host => Machine::host(),
            Self::Mock => Machine::mock(Mock::one_switch(Cpu::AmdZen)?),
            Self::MockRootPorts(cpu) => Machine::mock(Mock::root_ports(cpu)?),
        })
    }
}

impl FromStr for MachineName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "host" => Ok(Self::Host),
            "mock" => Ok(Self::Mock),
            "mock:root-ports" => Ok(Self::MockRootPorts(Cpu::AmdZen)),
            "mock:root-ports-intel" => Ok(Self::MockRootPorts(Cpu::IntelUnlisted)),
            _ => Err("no such machine; there are host, mock, mock:root-ports and mock:root-ports-intel".into()),
        }
    }
}
