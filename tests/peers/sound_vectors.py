"""Vectors of sounds by `florin embed` beside transformers' feature extractors and models: `python sound_vectors.py FLORIN FOLDER`.

Checkpoints of random numbers (CLAP's also with fusion) and three drawn sounds a model go to FOLDER, the second of two channels.
"""

import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import torch
import transformers as hf

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
from systems.case import fill  # noqa: E402


def draw(path: Path, rate: int, seconds: float, channels: int, seed: int) -> np.ndarray:
    """A rising tone that comes and goes, and noise, as 16 bits."""
    count = int(rate * seconds)
    time = np.arange(count) / rate
    tone = np.sin(2 * np.pi * (300 + 900 * time / seconds) * time) * (0.5 + 0.5 * np.sin(6 * np.pi * time))
    samples = 0.4 * tone + 0.02 * np.random.default_rng(seed).standard_normal(count)
    samples = np.clip(samples * 32767, -32768, 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat(samples[:, None], channels, 1).tobytes())
    return samples.astype(np.float32) / np.float32(32768)


def whisper(model, given):
    last = model.encoder(given.input_features).last_hidden_state[0]
    return last[: (int(given.attention_mask.sum()) - 1) // 2 + 1].mean(0)


def ast(model, given):
    return model.audio_spectrogram_transformer(**given).pooler_output[0]


def clap(model, given):
    # Of a batch without a longer sound the extractor calls one longer by lot.
    return model.get_audio_features(given.input_features, torch.zeros_like(given.is_longer)).pooler_output[0]


def models():
    small = dict(encoder_layers=3, encoder_attention_heads=4, encoder_ffn_dim=128, decoder_layers=1, decoder_attention_heads=4)
    small |= dict(d_model=64, decoder_ffn_dim=32, vocab_size=99, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3)
    config = hf.WhisperConfig(**small, suppress_tokens=None, begin_suppress_tokens=None)
    yield "whisper", hf.WhisperModel(config), hf.WhisperFeatureExtractor(), whisper, dict(return_attention_mask=True)
    config = hf.ASTConfig(hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96)
    yield "ast", hf.ASTForAudioClassification(config), hf.ASTFeatureExtractor(), ast, {}
    text = dict(vocab_size=99, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    audio = dict(patch_embeds_hidden_size=24, hidden_size=192, num_attention_heads=[1, 2, 4, 8], depths=[2, 2, 2, 2])
    for name, fuses, truncation in [("clap", False, "rand_trunc"), ("clap_fusion", True, "fusion")]:
        config = hf.ClapConfig(text_config=text, audio_config=audio | {"enable_fusion": fuses}, projection_dim=40)
        yield name, hf.ClapModel(config), hf.ClapFeatureExtractor(truncation=truncation), clap, {}


def main(florin: str, folder: Path) -> None:
    for name, model, extractor, vector, more in models():
        fill(model.eval())
        model.save_pretrained(folder / name)
        extractor.save_pretrained(folder / name)
        sounds = folder / f"sounds_{name}"
        sounds.mkdir(exist_ok=True)
        expected, rate = [], extractor.sampling_rate
        for index, seconds in enumerate([1.037, 4.5, 9.99]):
            samples = draw(sounds / f"{index}.wav", rate, seconds, 1 + index % 2, index)
            with torch.no_grad():
                expected.append(vector(model, extractor(samples, sampling_rate=rate, return_tensors="pt", **more)).numpy())
        out = folder / f"{name}.npy"
        subprocess.run([florin, "embed", folder / name, sounds, "--out", out], check=True)
        gap = np.abs(np.load(out) - np.stack(expected)).max()
        print(f"{name}: largest difference {gap:.1e}, largest value {np.abs(expected).max():.2f}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
