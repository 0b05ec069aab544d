//! A route in words: the cause, what is unknown, and the cure.

use super::{MapType, Route, Unknown, host_bridge::Passage};
use crate::pci::Address;

/// A route to put into words.
pub(super) struct Findings<'a>(pub(super) &'a Route);

impl Findings<'_> {
    pub(super) fn cause(&self) -> String {
        let reason = &self.0.passage.reason;
        match self.0.map_type {
            MapType::BusAddr => self.place(),
            MapType::ThruHostBridge => format!("{}; it passes the host bridge: {reason}", self.place()),
            MapType::NotSupported => format!("{}; it may not pass the host bridge: {reason}", self.place()),
            MapType::Unknown => format!("{}; unknown: {}", self.place(), self.what_is_unknown()),
        }
    }

    /// Where the two ways meet, and what is in the way there.
    fn place(&self) -> String {
        let Route { provider, client, acs_redirect, .. } = self.0;
        let between = format!("between provider {provider} and client {client}");
        match self.0.common {
            None => format!("traffic {between} has no common port to turn at"),
            Some(_) if !acs_redirect.is_empty() => {
                format!("traffic {between} is redirected by ACS on {}", list(acs_redirect, ", "))
            }
            Some(common) if self.0.map_type == MapType::Unknown => {
                format!("traffic {between} turns at {common} if no ACS redirects it")
            }
            Some(_) if provider == client => format!("provider {provider} and client {client} are one function"),
            Some(common) => format!("traffic {between} turns at {common}"),
        }
    }

    fn what_is_unknown(&self) -> String {
        self.0.unknown.iter().map(|unknown| unknown.what.as_str()).collect::<Vec<_>>().join("; ")
    }

    pub(super) fn remedies(&self) -> Vec<String> {
        let mut remedies = Vec::new();
        if !self.0.acs_redirect.is_empty() {
            remedies.extend(acs_remedies(&self.0.acs_redirect, &self.0.booted));
        } else if self.0.map_type == MapType::NotSupported {
            remedies.push(self.0.passage.reason.cure().to_owned());
        }
        for unknown in &self.0.unknown {
            if !remedies.contains(&unknown.remedy) {
                remedies.push(unknown.remedy.clone());
            }
        }
        remedies
    }
}

/// Two kernel parameters and, until the next boot, a command. RR, CR and EC are bits 2, 3 and 5 (0x2c); `config_acs` writes bits
/// from 6 down to 0. Kernel: Documentation/admin-guide/kernel-parameters.txt, `__pci_config_acs` in drivers/pci/pci.c.
fn acs_remedies(ports: &[Address], booted: &str) -> [String; 3] {
    let held = |option| held(booted, option).map(str::to_owned).into_iter();
    let disabled: Vec<_> = ports.iter().map(ToString::to_string).chain(held("disable_acs_redir=")).collect();
    let configured: Vec<_> = ports.iter().map(|port| format!("x0x00xx@{port}")).chain(held("config_acs=")).collect();
    let commands: Vec<_> = ports.iter().map(|port| format!("setpci -s {port} ECAP_ACS+6.w=0:2c")).collect();
    [
        format!(
            "boot with the kernel parameter `pci=disable_acs_redir={}` (in quotes for GRUB; it joins IOMMU groups, so less isolation)",
            disabled.join(";")
        ),
        format!("boot with `pci=config_acs={}` (the same, bit by bit)", configured.join(";")),
        format!(
            "until the next boot: `{}` (before the provider's driver is bound: the kernel keeps its first answer; and IOMMU \
             groups no longer tell the truth)",
            commands.join("; ")
        ),
    ]
}

/// What the last option of this name holds: `pci=noats,disable_acs_redir=0000:02:00.0;pci:8086:2030`.
fn held<'a>(booted: &'a str, option: &str) -> Option<&'a str> {
    let options =
        booted.split_whitespace().filter_map(|word| word.strip_prefix("pci=")).flat_map(|list| list.split(','));
    options.filter_map(|word| word.strip_prefix(option)).next_back().filter(|ports| !ports.is_empty())
}

/// What could not be read and matters: ACS of these, and the host bridge where the traffic may have to pass it.
pub(super) fn unknown(acs: &[Address], direct: Option<bool>, passage: &Passage) -> Vec<Unknown> {
    let remedy = "run as the host's root (CAP_SYS_ADMIN), with /proc and /sys mounted; or let `p2pbench explain` ask the kernel \
                  through the p2pdma_user module (`modprobe p2pdma_user` loads it, `chgrp GROUP /dev/p2pdma_user` lets a \
                  group of yours use it); or prove the route by a transfer (`p2pbench run --verify`)";
    let unknown = |what| Unknown { what, remedy: remedy.to_owned() };
    let mut all: Vec<_> = acs.iter().map(|address| unknown(format!("ACS of {address}"))).collect();
    if direct != Some(true) && passage.allowed.is_none() {
        all.push(unknown(passage.reason.to_string()));
    }
    all
}

fn list(addresses: &[Address], separator: &str) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
}
