//! Job files that come with the program.

use clap::ValueEnum;

/// A job file that comes with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preset {
    /// What an inference engine does that loads a model: large reads in order, some or many in flight; small tensors at random.
    ModelLoading,
    /// What a training job does that writes a checkpoint: large writes in order, until storage holds them.
    Checkpoint,
}

impl Preset {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ModelLoading => "--preset model-loading",
            Self::Checkpoint => "--preset checkpoint",
        }
    }

    /// The file.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::ModelLoading => include_str!("presets/model-loading.toml"),
            Self::Checkpoint => include_str!("presets/checkpoint.toml"),
        }
    }
}
