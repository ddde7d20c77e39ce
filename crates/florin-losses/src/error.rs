//! What a user may have written wrongly.

/// A setting or a stored state that a loss cannot use.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// A number outside its range.
    #[error("{name} ({found}) must be {allowed}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// What it was.
        found: f64,
        /// What it may be.
        allowed: &'static str,
    },
    /// A stored tensor that is absent or has another shape.
    #[error("stored tensor {name} has shape {found:?}, expected {expected}")]
    Stored {
        /// Its name.
        name: String,
        /// Its shape, empty where it is absent.
        found: Vec<usize>,
        /// The shape that was expected.
        expected: &'static str,
    },
}

/// Refuses a number that is not finite or for which the test fails.
pub(crate) fn check(
    name: &'static str,
    found: f64,
    allowed: &'static str,
    test: impl Fn(f64) -> bool,
) -> Result<(), LossError> {
    if found.is_finite() && test(found) { Ok(()) } else { Err(LossError::OutOfRange { name, found, allowed }) }
}
