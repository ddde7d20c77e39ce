//! Sound files as a model wants them: WAV, FLAC, MP3 and Ogg Vorbis to one channel at a rate of choice.
//!
//! Files are untrusted. Nothing is kept but one channel of as many seconds as the caller allows, whatever a header claims; a file that
//! is damaged, or cut off where its format says how long it is (WAV, FLAC), is an error that says where, never a shorter sound. Channels are averaged, and other rates come by a filter
//! through which no tone passes that the new rate cannot hold.

use std::fs::File;
use std::io::Cursor;
use std::path::Path;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};

use crate::DataError;
use crate::guarded::guarded;

/// Samples a second that a file or a caller may name.
const HIGHEST_RATE: usize = 768_000;
/// Channels that a file may have.
const MOST_CHANNELS: usize = 64;
/// Samples, at least, that are resampled at once; longer blocks have steeper filters.
const BLOCK: usize = 2048;
/// Formats whose header says truly how long a sound is; others guess.
const STATE_THEIR_LENGTH: [&str; 2] = ["wave", "flac"];

/// One channel of sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// Samples between -1 and 1.
    pub samples: Vec<f32>,
    /// Samples a second.
    pub rate: usize,
    /// Whether this is all of it, or only as many seconds as were allowed.
    pub is_whole: bool,
}

/// Reads the first `longest` seconds of a file at `rate` samples a second.
pub fn read(path: &Path, rate: usize, longest: usize) -> Result<Sound, DataError> {
    let failed = |source| DataError::file("read", path, source);
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(failed(std::io::Error::other("not a regular file")));
    }
    if about.len() == 0 {
        return Err(DataError::sound_file(path, "it is empty"));
    }
    let (samples, native, is_whole) = native_guarded(Box::new(file), path, longest)?;
    Ok(Sound { samples: resampled(&samples, native, rate)?, rate, is_whole })
}

/// The same of a file's bytes at the rate that they have; `path` is for messages.
pub fn from_bytes(bytes: Vec<u8>, path: &Path, longest: usize) -> Result<Sound, DataError> {
    if bytes.is_empty() {
        return Err(DataError::sound_file(path, "it is empty"));
    }
    let (samples, rate, is_whole) = native_guarded(Box::new(Cursor::new(bytes)), path, longest)?;
    Ok(Sound { samples, rate, is_whole })
}

/// A sound at another rate, as long as before; the last sample may stand behind its end.
pub fn resampled(samples: &[f32], from: usize, to: usize) -> Result<Vec<f32>, DataError> {
    for rate in [from, to] {
        if !(1..=HIGHEST_RATE).contains(&rate) {
            return Err(DataError::sound(format!("its rate must lie between 1 and {HIGHEST_RATE}, found {rate}")));
        }
    }
    if from == to || samples.is_empty() {
        return Ok(samples.to_vec());
    }
    // Half a block is the filter's delay, which is cut off: of an odd block it would be half a sample too little.
    let whole = from / greatest_common_divisor(from, to);
    let block = whole * BLOCK.div_ceil(whole).next_multiple_of(2);
    let refused = |reason: &dyn std::fmt::Display| DataError::sound(format!("from {from} to {to} Hz: {reason}"));
    let resampler = Fft::<f32>::new_custom(from, to, block, 1, 1, WindowFunction::BlackmanHarris2, FixedSync::Both);
    let mut resampler = resampler.map_err(|error| refused(&error))?;
    let input = InterleavedSlice::new(samples, 1, samples.len()).map_err(|error| refused(&error))?;
    let output = resampler.process_all(&input, samples.len(), None).map_err(|error| refused(&error))?;
    let mut output = output.take_data();
    // Rubato rounds the length in floating point, which may be one sample too many.
    output.truncate((samples.len() as u128 * to as u128).div_ceil(from as u128) as usize);
    Ok(output)
}

fn greatest_common_divisor(one: usize, other: usize) -> usize {
    if other == 0 { one } else { greatest_common_divisor(other, one % other) }
}

/// Whatever happens to the decoder, whose readers still overflow on some headers, is an error of the file.
fn native_guarded(
    source: Box<dyn MediaSource>,
    path: &Path,
    longest: usize,
) -> Result<(Vec<f32>, usize, bool), DataError> {
    let failed = || Err(DataError::sound_file(path, "its decoder failed, so that it must be damaged"));
    guarded(|| native(source, path, longest)).unwrap_or_else(failed)
}

/// One channel at the file's own rate, that rate, and whether it is all.
fn native(source: Box<dyn MediaSource>, path: &Path, longest: usize) -> Result<(Vec<f32>, usize, bool), DataError> {
    let refused = |reason: String| DataError::sound_file(path, reason);
    let stream = MediaSourceStream::new(source, Default::default());
    let mut hint = Hint::new();
    if let Some(ending) = path.extension().and_then(|ending| ending.to_str()) {
        hint.with_extension(ending);
    }
    let probed = symphonia::default::get_probe().probe(&hint, stream, Default::default(), Default::default());
    let mut format = probed.map_err(|error| match error {
        Error::Unsupported(_) => refused("it is none of WAV, FLAC, MP3 and Ogg Vorbis".to_owned()),
        other => refused(other.to_string()),
    })?;
    let track = format.default_track(TrackType::Audio).ok_or_else(|| refused("it holds no sound".to_owned()))?;
    let (id, stated) = (track.id, track.num_frames);
    let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
    let parameters = parameters.ok_or_else(|| refused("its sound is of no known kind".to_owned()))?;
    let options = AudioDecoderOptions::default().verify(true);
    let decoder = symphonia::default::get_codecs().make_audio_decoder(parameters, &options);
    let mut decoder = decoder.map_err(|error| refused(error.to_string()))?;
    let is_stated = STATE_THEIR_LENGTH.contains(&format.format_info().short_name);
    let (samples, native, is_whole) = mono(format.as_mut(), decoder.as_mut(), id, longest).map_err(refused)?;
    if let Some(stated) = stated.filter(|&stated| is_whole && is_stated && samples.len() as u64 != stated) {
        return Err(refused(format!("it ends after {} of {stated} samples", samples.len())));
    }
    if is_whole && decoder.finalize().verify_ok == Some(false) {
        return Err(refused("its samples are not those of its checksum".to_owned()));
    }
    if samples.is_empty() {
        return Err(refused("it holds no samples".to_owned()));
    }
    Ok((samples, native, is_whole))
}

/// The mean of all channels, the file's own rate, and whether that is all; an error says where it stopped.
fn mono(
    format: &mut dyn FormatReader,
    decoder: &mut dyn AudioDecoder,
    track: u32,
    longest: usize,
) -> Result<(Vec<f32>, usize, bool), String> {
    let (mut samples, mut interleaved) = (Vec::new(), Vec::<f32>::new());
    let mut kind: Option<(usize, usize)> = None;
    let at = |samples: &[f32], reason: String| format!("after {} samples: {reason}", samples.len());
    loop {
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(error) => return Err(at(&samples, error.to_string())),
        };
        if packet.track_id != track {
            continue;
        }
        let buffer = decoder.decode(&packet).map_err(|error| at(&samples, error.to_string()))?;
        let found = (buffer.spec().rate() as usize, buffer.spec().channels().count());
        let (rate, channels) = *kind.get_or_insert(found);
        if found != (rate, channels) {
            return Err(at(&samples, "its rate or its channels change".to_owned()));
        }
        if !(1..=HIGHEST_RATE).contains(&rate) || !(1..=MOST_CHANNELS).contains(&channels) {
            return Err(format!("it has {channels} channels of {rate} samples a second"));
        }
        buffer.copy_to_vec_interleaved(&mut interleaved);
        samples.extend(interleaved.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32));
        let most = longest.saturating_mul(rate);
        if samples.len() > most {
            samples.truncate(most);
            return finite(samples).map(|samples| (samples, rate, false));
        }
    }
    finite(samples).map(|samples| (samples, kind.map_or(1, |(rate, _)| rate), true))
}

fn finite(samples: Vec<f32>) -> Result<Vec<f32>, String> {
    match samples.iter().position(|sample| !sample.is_finite()) {
        Some(place) => Err(format!("sample {place} is {}", samples[place])),
        None => Ok(samples),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A WAV file of so many channels with samples of so many bytes in the format of that number.
    fn wav(format: u16, channels: u16, rate: u32, bytes: u16, data: &[u8]) -> Vec<u8> {
        let frame = channels * bytes;
        let header = [
            &16u32.to_le_bytes()[..],
            &format.to_le_bytes(),
            &channels.to_le_bytes(),
            &rate.to_le_bytes(),
            &(rate * u32::from(frame)).to_le_bytes(),
            &frame.to_le_bytes(),
            &(8 * bytes).to_le_bytes(),
        ]
        .concat();
        let chunks = [b"fmt ", &header[..], b"data", &(data.len() as u32).to_le_bytes(), data].concat();
        [b"RIFF", &(4 + chunks.len() as u32).to_le_bytes()[..], b"WAVE", &chunks].concat()
    }

    fn shorts(samples: &[i16]) -> Vec<u8> {
        samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
    }

    fn decode(bytes: Vec<u8>) -> Result<Sound, String> {
        from_bytes(bytes, Path::new("call.wav"), 60).map_err(|error| error.to_string())
    }

    fn tone(hertz: f64, rate: usize, count: usize) -> Vec<f32> {
        let step = std::f64::consts::TAU * hertz / rate as f64;
        (0..count).map(|place| (0.5 * (step * place as f64).sin()) as f32).collect()
    }

    /// The largest difference, the ends left out.
    fn gap(one: &[f32], other: &[f32], ends: usize) -> f32 {
        let pairs = one.iter().zip(other).take(one.len().min(other.len()) - ends).skip(ends);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn every_kind_of_wav_is_read_and_channels_are_averaged() {
        let found = |bytes| decode(bytes).unwrap().samples;
        assert_eq!(found(wav(1, 1, 8000, 2, &shorts(&[0, 16384, -32768]))), [0.0, 0.5, -1.0]);
        assert_eq!(found(wav(1, 2, 8000, 2, &shorts(&[8192, 24576, -32768, 0]))), [0.5, -0.5]);
        assert_eq!(found(wav(1, 1, 8000, 1, &[128, 192, 0])), [0.0, 0.5, -1.0]);
        assert_eq!(found(wav(1, 1, 8000, 3, &[0, 0, 0x40, 0, 0, 0x80])), [0.5, -1.0]);
        let floats: Vec<u8> = [0.25f32, -0.75].iter().flat_map(|sample| sample.to_le_bytes()).collect();
        assert_eq!(found(wav(3, 1, 8000, 4, &floats)), [0.25, -0.75]);
    }

    #[test]
    fn what_is_damaged_cut_off_or_empty_is_refused() {
        let said = |bytes| decode(bytes).unwrap_err();
        let whole = wav(1, 1, 8000, 2, &shorts(&[1; 5000]));
        assert!(decode(whole.clone()).is_ok());
        assert_eq!(said(vec![]), "cannot read the sound call.wav: it is empty");
        assert_eq!(said(wav(1, 1, 8000, 2, &[])), "cannot read the sound call.wav: it holds no samples");
        for cut in [10, 30, 44, 45, 3000, whole.len() - 1] {
            assert!(decode(whole[..cut].to_vec()).is_err(), "cut after {cut} bytes");
        }
        assert!(said(whole[..8000].to_vec()).starts_with("cannot read the sound call.wav: after "));
        let page = b"<html><body>not found</body></html>".repeat(20);
        assert!(said(page).contains("it is none of WAV, FLAC, MP3 and Ogg Vorbis"));
        let nan = wav(3, 1, 8000, 4, &f32::NAN.to_le_bytes());
        assert!(said(nan).contains("sample 0 is NaN"));
        assert!(said(wav(1, 1, 0, 2, &shorts(&[1; 9]))).contains("call.wav"));
        // More bytes a frame than the reader's numbers hold, where their overflow is checked.
        let mut overflowing = wav(1, 2, 8000, 2, &shorts(&[1; 8]));
        overflowing[22..24].fill(0xff);
        assert!(said(overflowing).contains("call.wav"));
        let absent = read(Path::new("/nowhere/call.wav"), 8000, 60).unwrap_err().to_string();
        assert!(absent.starts_with("cannot read /nowhere/call.wav: "), "{absent}");
    }

    #[test]
    fn no_more_is_kept_than_was_allowed() {
        let bytes = wav(1, 1, 1000, 2, &shorts(&[7; 5000]));
        let read = |longest| from_bytes(bytes.clone(), Path::new("call.wav"), longest).unwrap();
        assert_eq!((read(2).samples.len(), read(2).is_whole), (2000, false));
        assert_eq!((read(5).samples.len(), read(5).is_whole), (5000, true));
    }

    #[test]
    fn a_tone_keeps_its_place_at_another_rate_and_one_too_high_for_it_is_gone() {
        for (from, to) in [(44_100, 16_000), (8_000, 16_000), (48_000, 16_000), (22_050, 48_000), (11_025, 16_001)] {
            let found = resampled(&tone(440.0, from, from), from, to).unwrap();
            assert_eq!(found.len(), to, "a second stays a second");
            let gap = gap(&found, &tone(440.0, to, to), to / 20);
            assert!(gap < 1e-4, "{from} to {to}: {gap}");
        }
        let gone = resampled(&tone(9_000.0, 44_100, 44_100), 44_100, 16_000).unwrap();
        assert!(gap(&gone, &vec![0.0; 16_000], 800) < 1e-4);
        assert!(resampled(&[0.0], 0, 16_000).is_err());
    }

    /// A second of the same tone, compressed by libsndfile 1.2 at 16 000 samples a second, in two channels of which one is half as loud.
    #[test]
    fn compressed_sounds_are_the_sound_that_was_compressed() {
        let flac = include_bytes!("sound/tone.flac").to_vec();
        let mp3 = include_bytes!("sound/tone.mp3").to_vec();
        let ogg = include_bytes!("sound/tone.ogg").to_vec();
        let expected: Vec<f32> = tone(440.0, 16_000, 16_000).into_iter().map(|sample| 0.75 * sample).collect();
        for (name, bytes, allowed) in [("tone.flac", flac, 1e-4), ("tone.mp3", mp3, 0.02), ("tone.ogg", ogg, 0.02)] {
            let sound = from_bytes(bytes.clone(), Path::new(name), 60).unwrap();
            let (gap, length) = (gap(&sound.samples, &expected, 1200), sound.samples.len());
            assert!(gap < allowed && (16_000..18_000).contains(&length), "{name}: {gap}, {length} samples");
            for cut in [0, 3, bytes.len() / 3] {
                // Nothing says how long an MP3 is: cut anywhere it is a shorter one.
                let cut_off = from_bytes(bytes[..cut].to_vec(), Path::new(name), 60);
                assert!(cut_off.is_err() || (name != "tone.flac" && cut > 3), "{name} cut after {cut} bytes");
            }
        }
    }
}
