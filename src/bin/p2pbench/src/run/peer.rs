//! The memory that a run measures with: a provider's own, or what another program lends.

use std::{
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
};

use p2pdma::{
    Refusal,
    machine::Machine,
    memory::{Hooks, PeerMemory, Provider},
    pci::Address,
};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::{
    cli::{self, Way},
    failure::Failure,
};

/// Peer memory, and the way that leads to it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) memory: PeerMemory,
    pub(super) way: Way,
    /// While it is open, whoever lent the memory keeps it.
    _lender: Option<UnixStream>,
}

impl Peer {
    /// At least `length` bytes.
    pub(super) fn new(machine: &Machine, peer: &cli::Peer, way: Option<Way>, length: usize) -> Result<Self, Failure> {
        let address = match peer {
            cli::Peer::Address(address) => *address,
            cli::Peer::Socket(path) => return Self::borrow(machine, way, path, length),
        };
        let provider = Provider::find(machine, address)?;
        let way = way.unwrap_or(Way::P2pmem);
        let memory = match way {
            Way::P2pmem => provider.allocate(length)?,
            Way::Module => provider.allocate_buffer(length)?,
        };
        Ok(Self { memory, way, _lender: None })
    }

    fn borrow(machine: &Machine, way: Option<Way>, path: &Path, length: usize) -> Result<Self, Failure> {
        let usage = |cause: String, cure| Failure::Usage(Refusal::new(path.display(), cause, cure));
        if way == Some(Way::P2pmem) {
            return Err(usage("memory that is lent has no mapping".into(), "leave --way away, or say --way module"));
        }
        let lent = UnixStream::connect(path).and_then(|lender| receive(&lender).map(|lent| (lender, lent)));
        let (lender, (provider, dmabuf)) =
            lent.map_err(|error| usage(format!("no memory was lent: {error}"), "start the program that lends it"))?;
        let memory = Provider::find(machine, provider)?.register(dmabuf, Hooks::new())?;
        if memory.len() < length {
            let cause = format!("{} bytes were lent, and --block by --depth by queues takes {length}", memory.len());
            return Err(usage(cause, "lend more, or use a smaller --block, --depth or --jobs"));
        }
        Ok(Self { memory, way: Way::Module, _lender: Some(lender) })
    }
}

/// One message: the provider's PCI address as text, and with it the dma-buf.
fn receive(lender: &UnixStream) -> io::Result<(Address, OwnedFd)> {
    let mut text = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(lender, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let dmabuf = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let invalid = |cause: String| io::Error::new(io::ErrorKind::InvalidData, cause);
    let text = String::from_utf8_lossy(&text[..message.bytes.min(64)]).trim_end_matches(['\0', '\n']).to_owned();
    let provider = text.parse().map_err(|error| invalid(format!("the message has no PCI address: {error}")))?;
    Ok((provider, dmabuf.ok_or_else(|| invalid("the message carries no descriptor".into()))?))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::IoSlice, os::fd::AsFd};

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    use super::*;

    fn sent(text: &str, file: Option<&fs::File>) -> io::Result<(Address, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let descriptors: Vec<_> = file.iter().map(|file| file.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        }
        sendmsg(&theirs, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::empty()).unwrap();
        drop(theirs);
        receive(&ours)
    }

    #[test]
    fn a_message_is_an_address_and_a_descriptor_and_nothing_less() {
        let file = fs::File::open("/dev/null").unwrap();
        assert_eq!(sent("0000:05:00.0\n", Some(&file)).unwrap().0.to_string(), "0000:05:00.0");
        let refused = |text, file| sent(text, file).unwrap_err().to_string();
        assert!(refused("0000:05:00.0", None).contains("no descriptor"));
        assert!(refused("the GPU", Some(&file)).contains("no PCI address"));
    }
}
