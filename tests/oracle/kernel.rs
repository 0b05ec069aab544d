//! The running kernel: shows it trees, and asks it about pairs.

use std::{
    collections::BTreeMap,
    fs,
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::Command,
};

use p2pdma::{pci::Address, topology::MapType};

use crate::tree::Tree;

const MODULE: &str = "p2pdma_test_tree";

/// What the kernel says of a pair.
pub(crate) struct Verdict {
    pub(crate) distance: Option<u32>,
    pub(crate) map_type: MapType,
    /// The ports in its message; `None` if it was not asked for one.
    pub(crate) acs_redirect: Option<Vec<Address>>,
}

/// The test module, loaded as long as this lives.
pub(crate) struct Module;

impl Module {
    pub(crate) fn load() -> Self {
        let directory = std::env::var("P2PDMA_MODULES").expect("$P2PDMA_MODULES, as tests/vm/run sets it");
        // Lines about ACS at every verdict would take minutes on a serial console. `Log` looks for warnings in its place.
        fs::write("/proc/sys/kernel/printk", "4").expect("a quiet console");
        run("insmod", &format!("{directory}/{MODULE}.ko"));
        Self
    }

    /// Unloads it, which only works when nothing of a tree is left.
    pub(crate) fn unload(self) {
        run("rmmod", MODULE);
    }
}

fn run(command: &str, argument: &str) {
    let status = Command::new("busybox").args([command, argument]).status().expect("busybox");
    assert!(status.success(), "{command} {argument}: {status}");
}

/// A tree that the kernel sees as long as this lives.
pub(crate) struct Shown<'a> {
    device: File,
    log: &'a mut Log,
}

impl<'a> Shown<'a> {
    pub(crate) fn new(tree: &Tree, log: &'a mut Log) -> Self {
        let mut shown = Self::nothing(log);
        shown.device.write_all(tree.to_string().as_bytes()).expect("a tree that the kernel takes");
        shown
    }

    /// No tree: to ask about the guest's own functions.
    pub(crate) fn nothing(log: &'a mut Log) -> Self {
        let device = File::options().read(true).write(true).open(Path::new("/dev").join(MODULE)).expect("the module");
        Self { device, log }
    }

    /// What it says of a provider and each of these clients, told by `verbose` whether to log what is in the way.
    pub(crate) fn ask(&mut self, provider: Address, clients: &[Address], verbose: &[bool]) -> Vec<Verdict> {
        let word = |verbose: &bool| if *verbose { " verbose" } else { "" };
        let lines = clients.iter().zip(verbose).map(|(client, how)| format!("ask {provider} {client}{}\n", word(how)));
        self.log.read();
        self.device.write_all(lines.collect::<String>().as_bytes()).expect("questions that the kernel takes");
        let mut messages = acs_messages(provider, &self.log.read());
        let answers = self.answers(clients.len());
        let all = answers.iter().zip(clients).zip(verbose);
        let verdicts = all.map(|((answer, client), verbose)| Verdict {
            acs_redirect: verbose.then(|| messages.remove(client).unwrap_or_default()),
            ..verdict(answer)
        });
        let verdicts = verdicts.collect();
        assert!(messages.is_empty(), "the kernel's log names pairs that were not asked: {messages:?}");
        verdicts
    }

    fn answers(&mut self, count: usize) -> Vec<String> {
        let mut text = vec![0; 1 << 16];
        let length = self.device.read(&mut text).expect("answers");
        let text = String::from_utf8_lossy(&text[..length]);
        let answers: Vec<_> = text.lines().map(str::to_owned).collect();
        assert_eq!(answers.len(), count, "an answer to each question");
        answers
    }
}

/// `DISTANCE MAP_TYPE`; the map type is `enum pci_p2pdma_map_type` of the kernel's `include/linux/dma-map-ops.h`.
fn verdict(answer: &str) -> Verdict {
    let (distance, map_type) = answer.split_once(' ').expect("two numbers");
    let map_type = match map_type {
        "1" => MapType::NotSupported,
        "2" => MapType::BusAddr,
        "3" => MapType::ThruHostBridge,
        _ => panic!("no map type: {answer}"),
    };
    let distance: i32 = distance.parse().expect("a number");
    assert!(distance >= -1, "{answer}");
    Verdict { distance: u32::try_from(distance).ok(), map_type, acs_redirect: None }
}

/// The ports that the kernel named, by client.
///
/// ```text
/// pci CLIENT: ACS redirect is set between the client and provider (PROVIDER)
/// pci CLIENT: to disable ACS redirect for this path, add the kernel parameter: pci=disable_acs_redir=PORT;PORT...
/// ```
///
/// Kernel: `calc_map_type_and_dist` in `drivers/pci/p2pdma.c`. Its list is a buffer of 128 bytes on the stack. Where the ports
/// do not fit, from ten on or fewer in long domains, `seq_buf_set_overflow` makes the length 129, and "drop final semicolon",
/// `acs_list.buffer[acs_list.len-1] = 0`, writes behind the end: KASAN reports it (6.12.117, 12 ports). `verbose` is therefore
/// never asked of such a pair.
fn acs_messages(provider: Address, log: &[String]) -> BTreeMap<Address, Vec<Address>> {
    let mut messages = BTreeMap::new();
    let mut between = None;
    for (who, message) in log.iter().filter_map(|line| line.split_once(": ")) {
        let client = who.rsplit(' ').next().and_then(|address| address.parse::<Address>().ok());
        if message == format!("ACS redirect is set between the client and provider ({provider})") {
            between = client;
        } else if let Some((_, list)) = message.split_once("pci=disable_acs_redir=") {
            assert_eq!(client, between, "two lines about one pair");
            let ports = list.split(';').map(|port| port.parse().expect("a port of the kernel's list"));
            messages.insert(client.expect("a client"), ports.collect());
        }
    }
    messages
}

/// The kernel's log from now on.
pub(crate) struct Log(File);

impl Log {
    pub(crate) fn open() -> Self {
        let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").expect("/dev/kmsg");
        file.seek(SeekFrom::End(0)).expect("the end of the log");
        Self(file)
    }

    /// The messages since the last time. A warning of the kernel among them ends the test.
    pub(crate) fn read(&mut self) -> Vec<String> {
        let mut messages = Vec::new();
        let mut record = [0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(length) => messages.extend(message(&String::from_utf8_lossy(&record[..length]))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return messages,
                Err(error) => panic!("the kernel's log went by faster than it was read: {error}"),
            }
        }
    }
}

/// The text of a record `LEVEL,NUMBER,TIME,FLAGS;TEXT`, which lines with the device's name may follow.
fn message(record: &str) -> Option<String> {
    let message = record.lines().next()?.split_once(';')?.1.to_owned();
    let is_bug = ["WARNING: ", "BUG: ", "Oops", "UBSAN: "].iter().any(|word| message.contains(word));
    assert!(!is_bug, "the kernel warned: {record}");
    Some(message)
}
