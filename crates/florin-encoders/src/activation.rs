//! Activations by the names that Hugging Face's `config.json` gives them.

use florin_backend::Activation;

use crate::ConfigError;

/// The activation of a name.
pub fn activation(encoder: &'static str, name: &str) -> Result<Activation, ConfigError> {
    match name {
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        "quick_gelu" => Ok(Activation::QuickGelu),
        "relu" => Ok(Activation::Relu),
        "silu" | "swish" => Ok(Activation::Silu),
        "tanh" => Ok(Activation::Tanh),
        "linear" => Ok(Activation::Identity),
        _ => Err(ConfigError::Activation { encoder, found: name.to_owned() }),
    }
}
