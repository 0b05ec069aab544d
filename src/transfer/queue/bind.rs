//! Binding files to memory: what needs checking once is checked here.

use super::Queue;
use crate::{
    Error, Refusal, Result,
    memory::{Owner, PeerMemory},
    storage::File,
    topology::Topology,
    transfer::{pair::Pair, proof, target::Target},
    verdict::{Verdict, Way},
};

impl Queue {
    /// Binds a file to a provider's memory, if its bytes can go direct. The machine is looked at anew; for a buffer of the
    /// p2pdma_user module's, the running kernel is asked too.
    ///
    /// Where the verdict is unknown and bytes can tell ([`What::is_provable`](crate::verdict::What::is_provable)), the route must have been proved by this process,
    /// each way that the file is open for: [`Prover`](crate::transfer::Prover).
    ///
    /// # Errors
    ///
    /// [`Error::NoRoute`], [`Error::NoDirectIo`] or, when it cannot be known without more privilege or a proof,
    /// [`Error::NotAllowed`]; [`Error::Disproved`] for a route that was disproved, and not proved since; [`Error::NotFound`] when
    /// a device has gone.
    pub fn bind(&mut self, file: &File, memory: &PeerMemory) -> Result<Pair> {
        let verdict = self.judge(file, memory)?;
        let verdict = if proof::demand(file, memory.provider())? { verdict.settled_by_proof() } else { verdict };
        self.pair(Target::peer(file, memory, verdict)?, Some(memory.owner()))
    }

    /// For a proof: whatever bytes can tell, they are to tell.
    pub(in crate::transfer) fn bind_unproved(&mut self, file: &File, memory: &PeerMemory) -> Result<Pair> {
        let verdict = self.judge(file, memory)?.settled_by_proof();
        self.pair(Target::peer(file, memory, verdict)?, Some(memory.owner()))
    }

    fn judge(&mut self, file: &File, memory: &PeerMemory) -> Result<Verdict> {
        self.check_memory(file, memory)?;
        let topology = Topology::scan(&self.machine)?;
        let verdict = Verdict::judge(&topology, file, memory.provider())?;
        // The running kernel's own word on the queue, where the module passes it on. Its own way does without.
        if memory.buffer().is_none() && self.watch.takes_peer_memory(&self.machine, file) == Some(false) {
            let cause = "the kernel says that its queue takes no peer memory";
            let refusal = Refusal::new(file, cause, "use a buffer of the module's (Provider::allocate_buffer)");
            verdict.require(Way::P2pmem)?;
            return Err(Error::NoDirectIo(refusal));
        }
        Ok(verdict)
    }

    /// Binds a file to host memory, to stage data there.
    ///
    /// # Errors
    ///
    /// [`Error::NoDirectIo`] for a file that the kernel copies through the page cache in spite of `O_DIRECT`; a file that is
    /// [`buffered`](File::buffered) by wish may be bound. [`Error::QueueFull`] or [`Error::Io`] when the file cannot be registered.
    pub fn bind_host(&mut self, file: &File) -> Result<Pair> {
        self.check_machine(file)?;
        Verdict::judge_host(file)?;
        self.pair(Target::file(file), None)
    }

    /// File and memory are of this machine.
    pub(in crate::transfer) fn check_memory(&self, file: &File, memory: &PeerMemory) -> Result<()> {
        if memory.owner().machine != self.machine.id() {
            return Err(Error::Invalid(Refusal::new(file, "memory of another machine", "use one machine throughout")));
        }
        self.check_machine(file)
    }

    pub(super) fn check_machine(&self, file: &File) -> Result<()> {
        if file.machine() == self.machine.id() {
            return Ok(());
        }
        Err(Error::Invalid(Refusal::new(file, "a file of another machine", "use one machine throughout")))
    }

    /// Gives a pair back. With the last pair of a file, and the last operation that was taken for one, the queue lets go of
    /// the file; if a pair is just dropped, at the latest when its place is wanted for another file.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for another queue's pair; [`Error::Io`] when the ring does not let go.
    pub fn unbind(&mut self, pair: Pair) -> Result<()> {
        self.check_own(&pair)?;
        self.be_issuer()?;
        if pair.registration.witness.has_begun() {
            self.look(&pair.registration);
        }
        self.files.give_back(&mut **self.ring, pair.registration)
    }

    pub(super) fn pair(&mut self, target: Target, owner: Option<Owner>) -> Result<Pair> {
        self.be_issuer()?;
        Ok(Pair { registration: self.files.take(&mut **self.ring, self.id, target)?, owner })
    }
}
