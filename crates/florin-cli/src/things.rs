//! What embedding, classifying and searching are given: texts, pictures, sounds or clips.

use std::collections::HashSet;
use std::hash::Hash;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, bail};
use florin_data::clip::{CLIP_EXTENSIONS, FRAME_EXTENSIONS};
use florin_data::table::{TABLE_EXTENSIONS, Table};

use crate::arguments::ThingOptions;

/// Files of one kind, which their endings tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What an image processor reads.
    Pictures,
    /// What is decoded to samples.
    Sounds,
    /// Moving pictures: files, and folders of frames.
    Clips,
}

/// Things of one kind.
pub(crate) enum Things {
    /// Texts as they are.
    Texts(Vec<String>),
    /// Files of one kind, or folders of frames.
    Files(Kind, Vec<PathBuf>),
}

impl Kind {
    const ALL: [Self; 3] = [Self::Pictures, Self::Sounds, Self::Clips];

    /// Endings of its files.
    fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Pictures => &FRAME_EXTENSIONS,
            Self::Sounds => &["wav", "flac", "mp3", "ogg", "oga"],
            Self::Clips => &CLIP_EXTENSIONS,
        }
    }

    /// What many of them are called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pictures => "pictures",
            Self::Sounds => "sounds",
            Self::Clips => "clips",
        }
    }

    /// What one of them is called.
    fn one(self) -> &'static str {
        self.name().trim_end_matches('s')
    }

    fn has(self, path: &Path) -> bool {
        self.endings().contains(&ending(path).as_str())
    }
}

impl Things {
    /// Texts of the command line, then what the files hold; stdin's lines where there is neither. With a kind the files are of it, or
    /// name those that are; without one their endings tell.
    pub(crate) fn read(options: &ThingOptions) -> anyhow::Result<Self> {
        let ThingOptions { text: texts, inputs, .. } = options;
        let (column, kind) = (options.column.as_deref(), options.kind());
        if let Some(kind) = kind {
            return Ok(Self::Files(kind, files_and_lists(kind, inputs, column)?));
        }
        if let Some(kind) = kind_of(inputs)? {
            let others = inputs.iter().find(|path| !path.is_dir() && !kind.has(path));
            if let Some(other) = others.filter(|_| texts.is_empty()) {
                let (name, one) = (kind.name(), kind.one());
                bail!("{}: expected a {one} like the others; texts and {name} go separately", other.display());
            }
            if !texts.is_empty() {
                bail!("texts and {} go separately", kind.name());
            }
            return Ok(Self::Files(kind, files(kind, inputs)?));
        }
        let mut found = texts.to_vec();
        for path in inputs {
            found.extend(texts_of(path, column)?);
        }
        if found.is_empty() && inputs.is_empty() {
            found = stdin_lines()?;
        }
        if found.is_empty() {
            bail!("no texts, pictures, sounds or clips in {}", named(inputs));
        }
        Ok(Self::Texts(found))
    }

    /// Each of them once, where it stood first.
    pub(crate) fn without_repeats(self) -> Self {
        fn once<T: Clone + Eq + Hash>(things: Vec<T>) -> Vec<T> {
            let mut seen = HashSet::new();
            things.into_iter().filter(|thing| seen.insert(thing.clone())).collect()
        }
        match self {
            Self::Texts(texts) => Self::Texts(once(texts)),
            Self::Files(kind, paths) => Self::Files(kind, once(paths)),
        }
    }

    /// Some of them.
    pub(crate) fn only(&self, which: &[usize]) -> Self {
        match self {
            Self::Texts(texts) => Self::Texts(which.iter().map(|&text| texts[text].clone()).collect()),
            Self::Files(kind, paths) => Self::Files(*kind, which.iter().map(|&path| paths[path].clone()).collect()),
        }
    }

    /// Files of the kind that their endings tell.
    pub(crate) fn of_files(files: &[PathBuf]) -> anyhow::Result<Self> {
        match kind_of(files)? {
            Some(kind) => Ok(Self::Files(kind, self::files(kind, files)?)),
            None => bail!("{}: expected pictures, sounds or clips", named(files)),
        }
    }

    /// What each is now, beside its name: a file may change and keep its name, a text cannot.
    pub(crate) fn versions(&self) -> anyhow::Result<Vec<String>> {
        match self {
            Self::Texts(texts) => Ok(vec![String::new(); texts.len()]),
            Self::Files(_, paths) => paths.iter().map(|path| version(path)).collect(),
        }
    }

    /// What each is called.
    pub(crate) fn names(&self) -> Vec<String> {
        match self {
            Self::Texts(texts) => texts.clone(),
            Self::Files(_, paths) => paths.iter().map(|path| path.display().to_string()).collect(),
        }
    }
}

/// How large a file is and when it was written; of a folder of frames, how large all of them are and when the last was.
fn version(path: &Path) -> anyhow::Result<String> {
    let failed = |path: &Path| format!("cannot read {}", path.display());
    let about = |path: &Path| {
        let about = path.metadata().with_context(|| failed(path))?;
        let time = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        anyhow::Ok((about.len(), time.as_nanos()))
    };
    let (mut bytes, mut time) = about(path)?;
    if path.is_dir() {
        for entry in std::fs::read_dir(path).with_context(|| failed(path))? {
            let (more, written) = about(&entry.with_context(|| failed(path))?.path())?;
            (bytes, time) = (bytes + more, time.max(written));
        }
    }
    Ok(format!("{bytes} bytes, {time} ns"))
}

/// Every file of a kind among files and folders, those of a folder by name; a folder of pictures is a clip where clips are meant.
pub(crate) fn files(kind: Kind, inputs: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in inputs {
        if path.is_dir() {
            let mut inside = inside(kind, path)?;
            if inside.is_empty() && kind == Kind::Clips && !self::inside(Kind::Pictures, path)?.is_empty() {
                inside.push(path.clone());
            }
            if inside.is_empty() {
                let (name, known) = (kind.name(), kind.endings().join(", ."));
                bail!("{}: no {name} in it; known: .{known}", path.display());
            }
            found.extend(inside);
        } else if kind.has(path) {
            found.push(path.clone());
        }
    }
    Ok(found)
}

/// The files of a kind in a folder, by name.
fn inside(kind: Kind, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let failed = || format!("cannot read {}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(failed)? {
        found.extend(Some(entry.with_context(failed)?.path()).filter(|path| kind.has(path)));
    }
    found.sort();
    Ok(found)
}

/// The kind of files and folders; none where all of them hold texts.
fn kind_of(inputs: &[PathBuf]) -> anyhow::Result<Option<Kind>> {
    let mut kinds = Vec::new();
    for path in inputs {
        let mut own = Vec::new();
        for kind in Kind::ALL {
            if if path.is_dir() { !inside(kind, path)?.is_empty() } else { kind.has(path) } {
                own.push(kind);
            }
        }
        if own.is_empty() && path.is_dir() {
            let known: Vec<&str> = Kind::ALL.iter().flat_map(|kind| kind.endings()).copied().collect();
            bail!("{}: no pictures, sounds or clips in it; known: .{}", path.display(), known.join(", ."));
        }
        kinds.extend(own);
    }
    kinds.dedup();
    match kinds[..] {
        [] => Ok(None),
        [kind] => Ok(Some(kind)),
        _ => bail!("{}: choose one kind with --pictures, --sounds or --clips", named(inputs)),
    }
}

/// Files of a kind, those of folders, and those that tables and lists of lines name; stdin's lines where there are no inputs.
fn files_and_lists(kind: Kind, inputs: &[PathBuf], column: Option<&str>) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in inputs {
        if path.is_dir() || kind.has(path) {
            found.extend(files(kind, std::slice::from_ref(path))?);
        } else if Kind::ALL.iter().any(|other| other.has(path)) {
            bail!("{}: expected a {}; known: .{}", path.display(), kind.one(), kind.endings().join(", ."));
        } else {
            // What a list names stands beside it.
            let folder = path.parent().unwrap_or(Path::new(""));
            found.extend(listed(&path.display().to_string(), folder, texts_of(path, column)?)?);
        }
    }
    if inputs.is_empty() {
        found = listed("stdin", Path::new(""), stdin_lines()?)?;
    }
    if found.is_empty() {
        bail!("no {} in {}", kind.name(), named(inputs));
    }
    Ok(found)
}

/// The files that the rows of a list name.
fn listed(list: &str, folder: &Path, rows: Vec<String>) -> anyhow::Result<Vec<PathBuf>> {
    if let Some(row) = rows.iter().position(|row| row.trim().is_empty()) {
        bail!("{list}: row {} names no file", row + 1);
    }
    Ok(rows.iter().map(|row| folder.join(row.trim())).collect())
}

fn stdin_lines() -> anyhow::Result<Vec<String>> {
    if std::io::stdin().is_terminal() {
        bail!("nothing given: name files, or give --text, or pipe lines in");
    }
    std::io::stdin().lines().collect::<Result<Vec<_>, _>>().context("cannot read stdin")
}

/// The inputs for a message.
fn named(inputs: &[PathBuf]) -> String {
    let named: Vec<String> = inputs.iter().map(|path| path.display().to_string()).collect();
    if named.is_empty() { "stdin".to_owned() } else { named.join(", ") }
}

fn ending(path: &Path) -> String {
    path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase()
}

/// The texts of a table's column, or the lines of a file.
fn texts_of(path: &Path, column: Option<&str>) -> anyhow::Result<Vec<String>> {
    if !TABLE_EXTENSIONS.contains(&ending(path).as_str()) {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        return Ok(text.lines().map(str::to_owned).collect());
    }
    let table = Table::read(path)?;
    let column = match column {
        Some(column) => column.to_owned(),
        None => only_text(&table)?,
    };
    Ok(table.text(&column)?.into_iter().map(Option::unwrap_or_default).collect())
}

/// The one column that holds text.
fn only_text(table: &Table) -> anyhow::Result<String> {
    let names: Vec<&str> = table.names().into_iter().filter(|name| table.is_text(name)).collect();
    match names[..] {
        [only] => Ok(only.to_owned()),
        [] => bail!("{}: no column holds text; found {}", table.path().display(), table.names().join(", ")),
        _ => bail!("{}: say which column with --column: {}", table.path().display(), names.join(", ")),
    }
}
