//! The kernels with vector instructions by themselves: Miri looks at every access of theirs and knows AVX-512, whatever the
//! machine has. `cargo xtask miri` runs their tests.

#[path = "../../crates/florin-backend/src/kernels"]
mod kernels {
    pub(crate) mod activation;
    pub(crate) mod finite;
    pub(crate) mod float_math;
    pub(crate) mod gapless;
    pub(crate) mod made;
    pub(crate) mod packed;
    pub(crate) mod transpose;
}

pub use kernels::activation::Activation;
