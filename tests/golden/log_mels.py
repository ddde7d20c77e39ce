"""Log-mels of drawn sounds by transformers' feature extractors, computed in numpy: what PyTorch makes of Whisper's is in f32."""

from pathlib import Path

import numpy as np
import torch
from transformers import ASTFeatureExtractor, ClapFeatureExtractor, WhisperFeatureExtractor

import weights
from fixture import Fixture


def wave(name: str, count: int, rate: int) -> np.ndarray:
    """Two triangles, of which one comes and goes, and noise: whole numbers and products only, so that both sides draw the same f32."""
    place = np.arange(count, dtype=np.int64)

    def triangle(hertz: int) -> np.ndarray:
        return np.abs(2.0 * ((place * hertz) % rate).astype(np.float64) / rate - 1.0) * 2.0 - 1.0

    sounding = (place % (rate // 4) < rate // 6).astype(np.float64)
    noise = weights.uniform(name, (count,)).astype(np.float64)
    return (0.25 * triangle(311) + 0.25 * triangle(2750) * sounding + 0.015625 * noise).astype(np.float32)


def write(folder: Path, case: str, config: dict, count: int, rate: int, results: dict[str, np.ndarray]) -> None:
    config = {"settings": config, "samples": count, "rate": rate}
    fixture = Fixture(f"log_mel_{case}", config, most_entries=256, entries=1024)
    for name, value in results.items():
        value = torch.from_numpy(np.ascontiguousarray(value))
        assert value.dtype == torch.float32, value.dtype
        fixture.expect(name, value.double(), value)
    fixture.write(folder)


def whisper(folder: Path) -> None:
    for case, count, settings in [
        ("whisper", 21_334, dict(feature_size=80)),
        ("whisper_wide", 500_001, dict(feature_size=128)),
        ("whisper_odd", 7_001, dict(feature_size=40, hop_length=171, chunk_length=1, n_fft=402, sampling_rate=22_050)),
    ]:
        extractor = WhisperFeatureExtractor(**settings)
        rate = extractor.sampling_rate
        sound = wave(f"log_mel.{case}", count, rate)
        padded = np.zeros(extractor.n_samples, np.float32)
        padded[: min(count, len(padded))] = sound[: len(padded)]
        values = extractor._np_extract_fbank_features([padded], "cpu")[0]
        whole = extractor(sound, sampling_rate=rate, return_attention_mask=True, return_tensors="np")
        print(f"{case}: PyTorch's own features are up to {np.abs(whole.input_features[0] - values).max():.1e} away from numpy's")
        mask = whole.attention_mask[0].astype(np.float32)
        write(folder, case, settings, count, rate, {"input_features": values, "attention_mask": mask})


def ast(folder: Path) -> None:
    for case, count, settings in [
        ("ast", 52_111, {}),
        ("ast_cut", 40_000, dict(num_mel_bins=64, max_length=100, do_normalize=False)),
    ]:
        extractor = ASTFeatureExtractor(**settings)
        sound = wave(f"log_mel.{case}", count, 16_000)
        values = extractor(sound, sampling_rate=16_000, return_tensors="np").input_values[0]
        write(folder, case, settings, count, 16_000, {"input_values": values})


def clap(folder: Path) -> None:
    for case, count, settings in [
        ("clap_fusion", 130_003, dict(truncation="fusion")),
        ("clap_slaney", 480_000, dict(truncation="rand_trunc")),
        ("clap_repeat", 99_999, dict(truncation="rand_trunc", padding="repeat", frequency_min=50.0)),
    ]:
        extractor = ClapFeatureExtractor(**settings)
        sound = wave(f"log_mel.{case}", count, 48_000)
        values = extractor(sound, sampling_rate=48_000, return_tensors="np").input_features[0]
        write(folder, case, settings, count, 48_000, {"input_features": values})


CASES = [whisper, ast, clap]
