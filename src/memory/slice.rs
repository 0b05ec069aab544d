//! A range of memory, of either kind.

use super::{HostSlice, PeerSlice, View};

/// Where an operation's bytes come from or go to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Slice {
    /// A provider's memory: the operation is direct.
    Peer(PeerSlice),
    /// Host memory: the operation stages data there.
    Host(HostSlice),
}

impl Slice {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn view(&self) -> &View {
        match self {
            Self::Peer(slice) => &slice.0,
            Self::Host(slice) => &slice.view,
        }
    }

    pub(crate) fn into_view(self) -> View {
        match self {
            Self::Peer(slice) => slice.0,
            Self::Host(slice) => slice.view,
        }
    }
}

impl From<PeerSlice> for Slice {
    fn from(slice: PeerSlice) -> Self {
        Self::Peer(slice)
    }
}

impl From<HostSlice> for Slice {
    fn from(slice: HostSlice) -> Self {
        Self::Host(slice)
    }
}
