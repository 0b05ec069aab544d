//! Which machine: the value of `--machine`.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use p2pdma::machine::{Machine, Mock, Snapshot, mock::Cpu};

/// A machine by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MachineName {
    /// This one.
    Host,
    /// SSDs and peer memory below one switch.
    Mock,
    /// An SSD and peer memory below two root ports.
    MockRootPorts(Cpu),
    /// What `p2pbench record` wrote.
    Recorded(PathBuf),
    /// The same, with memory behind its devices.
    MockOf(PathBuf),
}

impl MachineName {
    /// Makes it.
    pub(crate) fn make(&self) -> p2pdma::Result<Machine> {
        Ok(match self {
            Self::Host => Machine::host(),
            Self::Mock => Machine::mock(Mock::one_switch(Cpu::AmdZen)?),
            Self::MockRootPorts(cpu) => Machine::mock(Mock::root_ports(*cpu)?),
            Self::MockOf(path) => Machine::mock(Mock::described(Snapshot::load(path)?)?),
            Self::Recorded(path) => Machine::recorded(Snapshot::load(path)?),
        })
    }
}

impl FromStr for MachineName {
    type Err = String;

    /// A file may have any name but those of machines; `./mock` is a file.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "host" => Ok(Self::Host),
            "mock" => Ok(Self::Mock),
            "mock:root-ports" => Ok(Self::MockRootPorts(Cpu::AmdZen)),
            "mock:root-ports-intel" => Ok(Self::MockRootPorts(Cpu::IntelUnlisted)),
            name if name.starts_with("mock:") && name.contains('/') => Ok(Self::MockOf(name[5..].into())),
            path if path.contains('/') || Path::new(path).exists() => Ok(Self::Recorded(path.into())),
            _ => {
                Err("no such machine or file; there are host, mock, mock:root-ports, mock:root-ports-intel, and files \
                      that `p2pbench record` wrote"
                    .into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_recorded_machine_and_a_name_is_not() {
        assert_eq!("./mock".parse(), Ok(MachineName::Recorded("./mock".into())));
        assert_eq!("mock:./file".parse(), Ok(MachineName::MockOf("./file".into())));
        assert_eq!("mock".parse(), Ok(MachineName::Mock));
        assert!("nowhere".parse::<MachineName>().is_err());
    }
}
