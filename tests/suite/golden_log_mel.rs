//! Log-mels of drawn sounds against transformers' feature extractors, which compute in numpy.

use florin_data::log_mel::{AstLogMelConfig, ClapLogMelConfig, LogMel, WhisperLogMelConfig};

use crate::golden_fixture::{Comparison, Fixture};
use crate::golden_systems::for_each;
use crate::golden_weights::uniform;

#[test]
fn golden_log_mel_whisper() {
    for_each("log_mel_whisper", &|case| {
        check(case, &|fixture, sound| {
            let config: WhisperLogMelConfig = fixture.config("settings");
            let mut extractor = config.init().unwrap();
            let mask = extractor.mask(sound.len()).into_iter().map(|mark| mark as f32).collect();
            vec![("input_features", extractor.extract(sound).unwrap().values), ("attention_mask", mask)]
        });
    });
}

#[test]
fn golden_log_mel_ast() {
    for_each("log_mel_ast", &|case| {
        check(case, &|fixture, sound| {
            let config: AstLogMelConfig = fixture.config("settings");
            vec![("input_values", config.init().unwrap().extract(sound).unwrap().values)]
        });
    });
}

#[test]
fn golden_log_mel_clap() {
    for_each("log_mel_clap", &|case| {
        check(case, &|fixture, sound| {
            let config: ClapLogMelConfig = fixture.config("settings");
            let LogMel { shape, values } = config.init().unwrap().extract(sound, 0).unwrap();
            assert_eq!(shape[1..], [1001, 64]);
            vec![("input_features", values)]
        });
    });
}

type Extract<'a> = &'a dyn Fn(&Fixture, &[f32]) -> Vec<(&'static str, Vec<f32>)>;

fn check(case: &str, extract: Extract<'_>) {
    let fixture = Fixture::open(case);
    let sound = wave(case, fixture.config("samples"), fixture.config("rate"));
    let mut comparison = Comparison::new(&fixture);
    for (name, values) in extract(&fixture, &sound) {
        comparison.equal(name, &values);
    }
    comparison.finish();
}

/// The sound that `tests/golden/log_mels.py` draws: two triangles, of which one comes and goes, and noise.
fn wave(case: &str, count: usize, rate: usize) -> Vec<f32> {
    let name = format!("log_mel.{}", case.strip_prefix("log_mel_").expect("a case of log-mels"));
    let triangle = |place: usize, hertz: usize| {
        let phase = 2.0 * ((place * hertz) % rate) as f64 / rate as f64 - 1.0;
        phase.abs() * 2.0 - 1.0
    };
    let sounding = |place: usize| f64::from(u8::from(place % (rate / 4) < rate / 6));
    let noise = uniform(&name, count);
    let draw = |(place, noise): (usize, f32)| {
        let tones = 0.25 * triangle(place, 311) + 0.25 * triangle(place, 2750) * sounding(place);
        (tones + 0.015625 * f64::from(noise)) as f32
    };
    noise.enumerate().map(draw).collect()
}
