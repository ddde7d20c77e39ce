//! Why a layer cannot be built.

/// A layer that cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Attention splits its width evenly among heads unless it is told how wide a head is.
    #[error("attention: heads ({heads}) must divide dim ({dim})")]
    Heads {
        /// Attention heads asked for.
        heads: usize,
        /// Width asked for.
        dim: usize,
    },
    /// Query heads share key heads evenly.
    #[error("attention: key heads ({key_heads}) must divide heads ({heads})")]
    KeyHeads {
        /// Key heads asked for.
        key_heads: usize,
        /// Query heads asked for.
        heads: usize,
    },
    /// A size that must be at least one is zero.
    #[error("{0} must be at least 1, found 0")]
    Zero(&'static str),
    /// A number outside its range.
    #[error("{name} must be {range}, found {found}")]
    Range {
        /// What it is.
        name: &'static str,
        /// What it may be.
        range: &'static str,
        /// What was asked for.
        found: String,
    },
}

/// Refuses the first of some named sizes that is zero.
pub(crate) fn none_is_zero(sizes: &[(&'static str, usize)]) -> Result<(), ConfigError> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        Some((name, _)) => Err(ConfigError::Zero(name)),
        None => Ok(()),
    }
}
