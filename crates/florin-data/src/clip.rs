//! Clips as frames: an animated GIF, a folder of pictures in the order of their names, or a video, which the programs `ffprobe` and
//! `ffmpeg` decode where they are installed.
//!
//! Of a clip as many frames are kept as a model reads, spread evenly from the first to the last as transformers' examples do; of a
//! clip with fewer some stand twice. Others are decoded and forgotten, so that memory does not grow with a clip's length.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use image::codecs::gif::GifDecoder;
use image::{AnimationDecoder, Frames, ImageDecoder, Limits};
use rayon::prelude::*;
use serde::Deserialize;

use crate::DataError;
use crate::image_processor::decode_rgb;
use crate::picture::{MOST_PIXELS, check_size};
use crate::resample::Pixels;

/// Endings of clips; all but the first are videos, which `ffmpeg` is asked to read.
pub const CLIP_EXTENSIONS: [&str; 7] = ["gif", "mp4", "m4v", "mov", "webm", "mkv", "avi"];
/// Endings of pictures that may be frames.
pub const FRAME_EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Most frames that are kept of a clip.
pub const MOST_FRAMES: usize = 1024;

/// Bytes that a stored frame of a GIF may take beyond four pictures of its size.
const SPARE_BYTES: u64 = 1 << 16;

/// What `ffprobe` says of a video.
#[derive(Deserialize)]
struct Probed {
    streams: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    width: usize,
    height: usize,
    /// A number as text, counted by decoding the whole file: a header may lie.
    nb_read_frames: String,
}

/// So many frames of a clip, all of one size.
///
/// # Errors
///
/// If the clip holds no frame, or cannot be read, or its frames differ in size; if a video is to be read and `ffmpeg` is not installed.
pub fn read_frames(path: &Path, count: usize) -> Result<Vec<Pixels>, DataError> {
    if !(1..=MOST_FRAMES).contains(&count) {
        return Err(DataError::clip(path, format!("expected to keep 1 to {MOST_FRAMES} frames, found {count}")));
    }
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    let frames = match ending.as_str() {
        _ if path.is_dir() => of_folder(path, count)?,
        "gif" => of_gif(path, count)?,
        ending if CLIP_EXTENSIONS.contains(&ending) => of_video(path, count)?,
        _ => {
            let known = CLIP_EXTENSIONS.join(", .");
            return Err(DataError::clip(path, format!("expected a folder of pictures, or a file: .{known}")));
        }
    };
    let sides = |frame: &Pixels| (frame.width, frame.height);
    match frames.iter().find(|frame| sides(frame) != sides(&frames[0])) {
        None => Ok(frames),
        Some(other) => {
            let ((width, height), found) = (sides(&frames[0]), sides(other));
            Err(DataError::clip(
                path,
                format!("expected frames of {width} x {height}, found {} x {}", found.0, found.1),
            ))
        }
    }
}

/// Which of `total` frames are kept: evenly from the first to the last, whole numbers cut off as numpy's `linspace` does.
fn spread(total: usize, count: usize) -> Vec<usize> {
    let last = total.saturating_sub(1) as f64;
    let step = if count > 1 { last / (count - 1) as f64 } else { 0.0 };
    (0..count).map(|frame| if frame + 1 == count && count > 1 { last } else { frame as f64 * step } as usize).collect()
}

fn of_folder(path: &Path, count: usize) -> Result<Vec<Pixels>, DataError> {
    let failed = |source| DataError::file("read the clip", path, source);
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
        files.extend(Some(file).filter(|_| FRAME_EXTENSIONS.contains(&ending.as_str())));
    }
    if files.is_empty() {
        return Err(DataError::clip(path, format!("no pictures in it; known: .{}", FRAME_EXTENSIONS.join(", ."))));
    }
    files.sort();
    let frames: Vec<_> =
        spread(files.len(), count).into_par_iter().with_max_len(1).map(|frame| decode_rgb(&files[frame])).collect();
    frames.into_iter().collect()
}

fn of_gif(path: &Path, count: usize) -> Result<Vec<Pixels>, DataError> {
    let total = gif_frames(path)?.try_fold(0, |total, frame| frame.map(|_| total + 1));
    let total: usize = total.map_err(|error| DataError::clip(path, error))?;
    if total == 0 {
        return Err(DataError::clip(path, "it holds no frame"));
    }
    let wanted = spread(total, count);
    let mut kept = Vec::with_capacity(count);
    for (number, frame) in gif_frames(path)?.enumerate() {
        let times = wanted.iter().filter(|&&frame| frame == number).count();
        if times == 0 {
            continue;
        }
        let frame = frame.map_err(|error| DataError::clip(path, error))?.into_buffer();
        let (width, height) = (frame.width() as usize, frame.height() as usize);
        let bytes = frame.pixels().flat_map(|pixel| [pixel.0[0], pixel.0[1], pixel.0[2]]).collect();
        kept.extend(std::iter::repeat_n(Pixels { width, height, channels: 3, bytes }, times));
        if kept.len() == count {
            break;
        }
    }
    Ok(kept)
}

fn gif_frames(path: &Path) -> Result<Frames<'static>, DataError> {
    let file = File::open(path).map_err(|source| DataError::file("read the clip", path, source))?;
    let mut decoder = GifDecoder::new(BufReader::new(file)).map_err(|error| DataError::clip(path, error))?;
    let (width, height) = decoder.dimensions();
    check_size(path, width, height)?;
    // The frame before, the frame as it is stored, the frame on the whole picture, four bytes a pixel each; a stored frame says its own
    // size, which without a limit may be sixteen gigabytes.
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(SPARE_BYTES + 4 * 4 * u64::from(width) * u64::from(height));
    decoder.set_limits(limits).map_err(|error| DataError::clip(path, error))?;
    Ok(decoder.into_frames())
}

fn of_video(path: &Path, count: usize) -> Result<Vec<Pixels>, DataError> {
    if !path.is_file() {
        return Err(DataError::file("read the clip", path, std::io::Error::from(ErrorKind::NotFound)));
    }
    // An absolute path is never taken for an option or for an address.
    let absolute = path.canonicalize().map_err(|source| DataError::file("read the clip", path, source))?;
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-select_streams", "v:0", "-count_frames", "-of", "json"]);
    probe.args(["-show_entries", "stream=width,height,nb_read_frames"]).arg(&absolute);
    let output = probe.stdin(Stdio::null()).output().map_err(|source| not_run("ffprobe", path, source))?;
    if !output.status.success() {
        return Err(DataError::clip(path, last_line("ffprobe", &output.stderr)));
    }
    let probed: Probed = serde_json::from_slice(&output.stdout).map_err(|error| DataError::clip(path, error))?;
    let stream = probed.streams.into_iter().next();
    let Stream { width, height, nb_read_frames } = stream.ok_or_else(|| DataError::clip(path, "it holds no video"))?;
    if width == 0 || height == 0 || (width as u64).saturating_mul(height as u64) > MOST_PIXELS {
        return Err(DataError::clip(path, format!("expected at most {MOST_PIXELS} pixels, found {width} x {height}")));
    }
    let total: usize = nb_read_frames.parse().unwrap_or(0);
    if total == 0 {
        return Err(DataError::clip(path, "it holds no frame"));
    }
    let wanted = spread(total, count);
    let mut decode = Command::new("ffmpeg");
    decode.args(["-v", "error", "-noautorotate", "-i"]).arg(&absolute);
    decode.args(["-map", "0:v:0", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]);
    decode.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = decode.spawn().map_err(|source| not_run("ffmpeg", path, source))?;
    let mut pixels = child.stdout.take().map(BufReader::new);
    let mut bytes = vec![0; width * height * 3];
    let mut kept: Vec<Pixels> = Vec::with_capacity(count);
    for number in 0..total {
        if kept.len() == count || pixels.as_mut().is_none_or(|pixels| pixels.read_exact(&mut bytes).is_err()) {
            break;
        }
        let times = wanted.iter().filter(|&&frame| frame == number).count();
        kept.extend(std::iter::repeat_n(Pixels { width, height, channels: 3, bytes: bytes.clone() }, times));
    }
    // Frames behind the last that is kept are nobody's.
    let _ = child.kill();
    let _ = child.wait();
    let found = kept.len();
    if found == count {
        Ok(kept)
    } else {
        Err(DataError::clip(path, format!("the file ends early: {found} of {count} frames")))
    }
}

fn not_run(program: &str, path: &Path, source: std::io::Error) -> DataError {
    match source.kind() {
        ErrorKind::NotFound => DataError::clip(
            path,
            format!("the program '{program}' is not on the PATH; install ffmpeg, or give a folder of frames or a .gif"),
        ),
        _ => DataError::clip(path, format!("cannot run '{program}': {source}")),
    }
}

fn last_line(program: &str, message: &[u8]) -> String {
    let message = String::from_utf8_lossy(message);
    let last = message.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    format!("'{program}' failed: {last}")
}

#[cfg(test)]
mod tests {
    use image::codecs::gif::GifEncoder;
    use image::{Frame, Rgba, RgbaImage};

    use super::*;

    /// A clip whose frames are grey, each a little lighter.
    fn grey(frame: u8) -> RgbaImage {
        RgbaImage::from_pixel(6, 4, Rgba([frame * 20, frame * 20, frame * 20, 255]))
    }

    fn shades(frames: &[Pixels]) -> Vec<u8> {
        frames.iter().map(|frame| frame.bytes[0] / 20).collect()
    }

    #[test]
    fn frames_are_spread_as_linspace_spreads_them() {
        assert_eq!(spread(10, 4), [0, 3, 6, 9]);
        assert_eq!(spread(3, 5), [0, 0, 1, 1, 2]);
        assert_eq!(spread(7, 1), [0]);
        assert_eq!(spread(1, 3), [0, 0, 0]);
        for total in 1..200 {
            assert_eq!(spread(total, total), (0..total).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_gif_and_a_folder_give_their_frames() {
        let folder = tempfile::tempdir().unwrap();
        let gif = folder.path().join("clip.gif");
        let mut encoder = GifEncoder::new(File::create(&gif).unwrap());
        encoder.encode_frames((0..9).map(|number| Frame::new(grey(number)))).unwrap();
        drop(encoder);
        assert_eq!(shades(&read_frames(&gif, 3).unwrap()), [0, 4, 8]);
        assert_eq!(shades(&read_frames(&gif, 9).unwrap()), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let frames = folder.path().join("frames");
        std::fs::create_dir(&frames).unwrap();
        for number in 0..5 {
            grey(number).save(frames.join(format!("{number}.png"))).unwrap();
        }
        assert_eq!(shades(&read_frames(&frames, 3).unwrap()), [0, 2, 4]);
        RgbaImage::new(3, 3).save(frames.join("9.png")).unwrap();
        let error = read_frames(&frames, 2).unwrap_err().to_string();
        assert!(error.contains("expected frames of 6 x 4, found 3 x 3"), "{error}");
    }

    #[test]
    fn what_is_no_clip_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            read_frames(&path, 2).unwrap_err().to_string()
        };
        assert!(refused("a.gif", b"").contains("a.gif"));
        assert!(refused("b.gif", b"GIF89a\x01\0\x01\0\0\0\0").contains("b.gif"));
        // One pixel, and a frame that says it has 65,535 times 65,535.
        let large = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x4c\x01\0;";
        let error = refused("large.gif", large);
        assert!(error.contains("limit"), "{error}");
        assert!(refused("c.txt", b"hello").contains("expected a folder of pictures, or a file: .gif, .mp4"));
        assert!(refused("d.mp4", b"hello").contains("d.mp4"));
        assert!(read_frames(Path::new("/nowhere/e.mp4"), 2).unwrap_err().to_string().contains("/nowhere/e.mp4"));
        assert!(read_frames(folder.path(), 0).unwrap_err().to_string().contains("1 to 1024"));
    }

    #[test]
    fn a_gif_cut_anywhere_or_with_changed_bytes_never_panics() {
        use rand::{RngExt, SeedableRng};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.gif");
        let mut encoder = GifEncoder::new(File::create(&path).unwrap());
        encoder.encode_frames((0..3).map(|number| Frame::new(grey(number)))).unwrap();
        drop(encoder);
        let bytes = std::fs::read(&path).unwrap();
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(8);
        for cut in 0..bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let _ = read_frames(&path, 2);
            let mut changed = bytes.clone();
            changed[random.random_range(13..bytes.len())] = random.random();
            std::fs::write(&path, &changed).unwrap();
            let _ = read_frames(&path, 2);
        }
    }

    #[test]
    fn a_video_gives_its_frames_where_ffmpeg_is_installed() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..9 {
            // Wide enough for the encoder, which wants even sides.
            let frame = image::imageops::resize(&grey(number), 32, 16, image::imageops::FilterType::Nearest);
            frame.save(folder.path().join(format!("{number}.png"))).unwrap();
        }
        let video = folder.path().join("clip.avi");
        let mut encode = Command::new("ffmpeg");
        encode.args(["-v", "error", "-framerate", "10", "-i"]).arg(folder.path().join("%d.png"));
        match encode.args(["-c:v", "ffv1"]).arg(&video).stdin(Stdio::null()).status() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                eprintln!("skipped: ffmpeg is not installed, no video is read");
                return;
            }
            done => assert!(done.unwrap().success()),
        }
        let frames = read_frames(&video, 3).unwrap();
        assert_eq!((frames[0].width, frames[0].height), (32, 16));
        assert_eq!(shades(&frames), [0, 4, 8]);
    }
}
