//! How a sentence encoder makes one vector of a text's tokens: as the folder's `modules.json` and `1_Pooling` say, which
//! sentence-transformers writes.
//!
//! Paper: Reimers and Gurevych 2019 (Sentence-BERT), <https://arxiv.org/abs/1908.10084>
//! Difference: pooling by the first token, the mean or the largest; weighted means and layers on top are refused.

use std::path::Path;

use burn::prelude::*;
use florin_nn::{Mask, Tokens};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::ModelError;

/// Which tokens make the vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentenceTokens {
    /// The mean of all that are kept; sentence-transformers' own choice where a folder says nothing.
    Mean,
    /// The first.
    First,
    /// The largest number of each dimension over all that are kept.
    Largest,
}

/// From tokens to one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentencePooling {
    /// Which tokens.
    pub tokens: SentenceTokens,
    /// Whether the vector is made one of length one.
    pub normalised: bool,
}

/// An entry of `modules.json`.
#[derive(Deserialize)]
struct ModuleConfig {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PoolingConfig {
    pooling_mode_cls_token: bool,
    pooling_mode_mean_tokens: bool,
    pooling_mode_max_tokens: bool,
    pooling_mode_mean_sqrt_len_tokens: bool,
    pooling_mode_weightedmean_tokens: bool,
    pooling_mode_lasttoken: bool,
    /// What newer versions write in place of the switches.
    pooling_mode: Option<String>,
}

impl SentenceTokens {
    /// # Shapes
    ///
    /// - tokens: `[batch, seq, dim]`
    /// - output: `[batch, dim]`
    pub fn of(self, tokens: Tensor<3>, mask: &Mask) -> Tensor<2> {
        match self {
            Self::Mean => Tokens::new(tokens, mask.clone()).mean(),
            Self::First => tokens.narrow(1, 0, 1).squeeze_dim(1),
            Self::Largest => {
                let shape = tokens.dims();
                let hidden = mask.hidden().unsqueeze_dim::<3>(2).expand(shape);
                tokens.mask_fill(hidden, f32::NEG_INFINITY).max_dim(1).squeeze_dim(1)
            }
        }
    }
}

impl SentencePooling {
    /// What a folder says; the mean where it says nothing.
    pub fn of_folder(folder: &Path) -> Result<Self, ModelError> {
        let mut pooling = Self { tokens: SentenceTokens::Mean, normalised: false };
        let modules: Vec<ModuleConfig> = read(folder, "modules.json")?.unwrap_or_default();
        if modules.is_empty() {
            if let Some(config) = read(folder, "1_Pooling/config.json")? {
                pooling.tokens = tokens(folder, &config)?;
            }
            return Ok(pooling);
        }
        for module in modules {
            match module.kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" => {}
                "Normalize" => pooling.normalised = true,
                "Pooling" => {
                    let is_inside = |part| matches!(part, std::path::Component::Normal(_));
                    let path = Path::new(&module.path);
                    if !path.components().all(is_inside) {
                        return Err(refused(folder, format!("`{}` is not a folder inside this one", module.path)));
                    }
                    let name = path.join("config.json");
                    let config = read(folder, &name.to_string_lossy())?;
                    let missing = || refused(folder, format!("{} is missing", name.display()));
                    pooling.tokens = tokens(folder, &config.ok_or_else(missing)?)?;
                }
                _ => {
                    let reason = format!("{} is not read; known: Transformer, Pooling, Normalize", module.kind);
                    return Err(refused(folder, reason));
                }
            }
        }
        Ok(pooling)
    }

    /// # Shapes
    ///
    /// - tokens: `[batch, seq, dim]`
    /// - output: `[batch, dim]`; zero for a row that keeps nothing
    pub fn of(&self, tokens: Tensor<3>, mask: &Mask) -> Tensor<2> {
        let vector = self.tokens.of(tokens, mask);
        if !self.normalised {
            return vector;
        }
        let length = vector.clone().square().sum_dim(1).clamp_min(1e-24).sqrt();
        vector / length
    }
}

fn tokens(folder: &Path, config: &PoolingConfig) -> Result<SentenceTokens, ModelError> {
    let switches = [
        (config.pooling_mode_cls_token, "cls"),
        (config.pooling_mode_mean_tokens, "mean"),
        (config.pooling_mode_max_tokens, "max"),
        (config.pooling_mode_mean_sqrt_len_tokens, "mean_sqrt_len_tokens"),
        (config.pooling_mode_weightedmean_tokens, "weightedmean"),
        (config.pooling_mode_lasttoken, "lasttoken"),
    ];
    let chosen: Vec<&str> = switches.into_iter().filter(|(on, _)| *on).map(|(_, name)| name).collect();
    let named = config.pooling_mode.as_deref().map_or(chosen, |name| vec![name]);
    match named[..] {
        ["cls"] => Ok(SentenceTokens::First),
        ["mean"] => Ok(SentenceTokens::Mean),
        ["max"] => Ok(SentenceTokens::Largest),
        _ => {
            let found = if named.is_empty() { "none".to_owned() } else { named.join(", ") };
            Err(refused(folder, format!("pooling must be one of cls, mean, max; found {found}")))
        }
    }
}

/// A small file of a folder; nothing if it is not there.
pub(crate) fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Option<T>, ModelError> {
    let path = folder.join(name);
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read(&path).map_err(|source| ModelError::File { path: path.clone(), source })?;
    let parsed = serde_json::from_slice(&text);
    parsed.map(Some).map_err(|error| ModelError::Configuration { path, reason: error.to_string() })
}

fn refused(folder: &Path, reason: String) -> ModelError {
    ModelError::Configuration { path: folder.join("modules.json"), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pooling_reads_what_is_kept() {
        let device = florin_backend::device("cpu").expect("the cpu device is always there");
        let tokens = Tensor::<3>::from_floats([[[3.0, -8.0], [1.0, 0.0], [90.0, 90.0]]], &device);
        let mask = Mask::from_lengths(&[2], 3, &device);
        let found = |tokens_of, normalised| {
            let pooling = SentencePooling { tokens: tokens_of, normalised };
            pooling.of(tokens.clone(), &mask).into_data().try_to_vec::<f32>().expect("f32")
        };
        assert_eq!(found(SentenceTokens::Mean, false), [2.0, -4.0]);
        assert_eq!(found(SentenceTokens::First, false), [3.0, -8.0]);
        assert_eq!(found(SentenceTokens::Largest, false), [3.0, 0.0]);
        assert_eq!(found(SentenceTokens::Largest, true), [1.0, 0.0]);
    }

    #[test]
    fn a_folder_says_how_and_what_is_not_known_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let found = || SentencePooling::of_folder(folder.path());
        assert_eq!(found().unwrap(), SentencePooling { tokens: SentenceTokens::Mean, normalised: false });
        write("1_Pooling/config.json", r#"{"pooling_mode_cls_token": true}"#);
        assert_eq!(found().unwrap().tokens, SentenceTokens::First);
        let module = |kind: &str, path: &str| {
            format!(r#"{{"idx": 0, "name": "0", "path": "{path}", "type": "sentence_transformers.models.{kind}"}}"#)
        };
        let modules = [module("Transformer", ""), module("Pooling", "1_Pooling"), module("Normalize", "2_Normalize")];
        write("modules.json", &format!("[{}]", modules.join(",")));
        assert_eq!(found().unwrap(), SentencePooling { tokens: SentenceTokens::First, normalised: true });
        write("1_Pooling/config.json", r#"{"pooling_mode_lasttoken": true}"#);
        assert!(found().unwrap_err().to_string().contains("one of cls, mean, max; found lasttoken"));
        write("modules.json", &format!("[{}]", module("Dense", "2_Dense")));
        assert!(found().unwrap_err().to_string().contains("Dense is not read"));
        write("modules.json", &format!("[{}]", module("Pooling", "../elsewhere")));
        assert!(found().unwrap_err().to_string().contains("not a folder inside"));
    }
}
