//! What embedding, classifying and searching are given: texts, or pictures.

use std::collections::HashSet;
use std::hash::Hash;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use florin_data::table::{TABLE_EXTENSIONS, Table};

/// Endings of pictures.
const PICTURES: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Things of one kind.
pub(crate) enum Things {
    /// Texts as they are.
    Texts(Vec<String>),
    /// Files of pictures.
    Pictures(Vec<PathBuf>),
}

impl Things {
    /// Texts of the command line, then what the files hold; stdin's lines where there is neither.
    pub(crate) fn read(texts: &[String], inputs: &[PathBuf], column: Option<&str>) -> anyhow::Result<Self> {
        let pictures = pictures(inputs)?;
        if !pictures.is_empty() {
            let others = inputs.iter().find(|path| !path.is_dir() && !is_picture(path));
            if let Some(other) = others.filter(|_| texts.is_empty()) {
                bail!("{}: expected a picture like the others; texts and pictures go separately", other.display());
            }
            if !texts.is_empty() {
                bail!("texts and pictures go separately");
            }
            return Ok(Self::Pictures(pictures));
        }
        let mut found = texts.to_vec();
        for path in inputs {
            found.extend(texts_of(path, column)?);
        }
        if found.is_empty() && inputs.is_empty() {
            if std::io::stdin().is_terminal() {
                bail!("nothing given: name files, or give --text, or pipe lines in");
            }
            found.extend(std::io::stdin().lines().collect::<Result<Vec<_>, _>>().context("cannot read stdin")?);
        }
        if found.is_empty() {
            let named: Vec<String> = inputs.iter().map(|path| path.display().to_string()).collect();
            bail!(
                "no texts and no pictures in {}",
                if named.is_empty() { "stdin".to_owned() } else { named.join(", ") }
            );
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
            Self::Pictures(paths) => Self::Pictures(once(paths)),
        }
    }

    /// Some of them.
    pub(crate) fn only(&self, which: &[usize]) -> Self {
        match self {
            Self::Texts(texts) => Self::Texts(which.iter().map(|&text| texts[text].clone()).collect()),
            Self::Pictures(paths) => Self::Pictures(which.iter().map(|&path| paths[path].clone()).collect()),
        }
    }

    /// What each is called.
    pub(crate) fn names(&self) -> Vec<String> {
        match self {
            Self::Texts(texts) => texts.clone(),
            Self::Pictures(paths) => paths.iter().map(|path| path.display().to_string()).collect(),
        }
    }
}

/// Every picture of files and folders, those of a folder by name.
pub(crate) fn pictures(inputs: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in inputs {
        if path.is_dir() {
            let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
            let mut inside = Vec::new();
            for entry in entries {
                let path = entry.with_context(|| format!("cannot read {}", path.display()))?.path();
                inside.extend(Some(path).filter(|path| is_picture(path)));
            }
            if inside.is_empty() {
                bail!("{}: no pictures in it; known: .{}", path.display(), PICTURES.join(", ."));
            }
            inside.sort();
            found.extend(inside);
        } else if is_picture(path) {
            found.push(path.clone());
        }
    }
    Ok(found)
}

fn is_picture(path: &Path) -> bool {
    PICTURES.contains(&ending(path).as_str())
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
