//! Which columns of a pack are fields, and what kind each is.

use std::path::Path;

use super::{FieldSpec, filled_text};
use crate::{
    DataError,
    table::Table,
    value::{FieldKind, normalise},
};

/// The file in which [`save_pack`](super::save_pack) keeps the fields' kinds.
pub(super) const FIELDS_FILE: &str = "fields.json";

/// The ending of the column that says whether a field's value is printed on the page.
pub(super) const FOUND_ENDING: &str = "_found_in_lines";

/// Share of a column's values that must be dates (or amounts) for the field to be of that kind.
const KIND_SHARE: f64 = 0.9;

/// The fields of a pack: those asked for, else those of its `fields.json`, else the columns that look like fields.
///
/// A column X looks like a field when there is a column `X_found_in_lines`; in a pack without any of those, every
/// text column does that is not structural.
pub(super) fn of_pack(folder: &Path, table: &Table, asked: Option<&[String]>) -> Result<Vec<FieldSpec>, DataError> {
    let listed = listed(folder)?;
    let names: Vec<String> = match (asked, &listed) {
        (Some(names), _) => names.to_vec(),
        (None, Some(listed)) => listed.iter().map(|field| field.name.clone()).collect(),
        (None, None) => likely(table),
    };
    if names.is_empty() {
        let found = table.names().join("', '");
        let reason = format!("expected at least one column with values to extract, found only '{found}'");
        return Err(DataError::table(table.path(), reason));
    }
    let kind = |name: &str| match listed.iter().flatten().find(|field| field.name == name) {
        Some(field) => Ok(field.kind),
        None => Ok(kind_of(&filled_text(table, name)?)),
    };
    names.into_iter().map(|name| Ok(FieldSpec { kind: kind(&name)?, name })).collect()
}

/// Whether a column's name says that it describes the file rather than what is printed.
pub(super) fn is_structural(name: &str) -> bool {
    const NAMES: [&str; 8] = ["id", "fold", "group", "split", "width", "height", "image", "file"];
    const ENDINGS: [&str; 10] =
        ["_id", "_key", "_file", "_group", "_iso", "_index", "_width", "_height", "_count", FOUND_ENDING];
    NAMES.contains(&name) || name.starts_with("crop_") || ENDINGS.iter().any(|ending| name.ends_with(ending))
}

fn listed(folder: &Path) -> Result<Option<Vec<FieldSpec>>, DataError> {
    let path = folder.join(FIELDS_FILE);
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).map_err(|source| DataError::file("read", &path, source))?;
    serde_json::from_str(&text).map(Some).map_err(|error| DataError::table(path, error))
}

fn likely(table: &Table) -> Vec<String> {
    let names = table.names();
    let marked = names.iter().filter(|name| table.has(&format!("{name}{FOUND_ENDING}")));
    let marked: Vec<String> = marked.map(|name| name.to_string()).collect();
    if !marked.is_empty() {
        return marked;
    }
    names.into_iter().filter(|name| !is_structural(name) && table.is_text(name)).map(String::from).collect()
}

/// The kind that at least nine in ten values share; text when there are no values.
fn kind_of(values: &[Option<String>]) -> FieldKind {
    let total = values.iter().flatten().count();
    let shares = |kind: FieldKind| {
        let fitting = values.iter().flatten().filter(|value| normalise(kind, value).is_some()).count();
        total > 0 && fitting as f64 >= KIND_SHARE * total as f64
    };
    [FieldKind::Date, FieldKind::Amount].into_iter().find(|&kind| shares(kind)).unwrap_or(FieldKind::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(content: &str) -> (tempfile::TempDir, Table) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("documents.csv");
        std::fs::write(&path, content).unwrap();
        let table = Table::read(path).unwrap();
        (folder, table)
    }

    #[test]
    fn marked_columns_win_over_unmarked_ones_and_names_given_over_both() {
        let (folder, table) = table("id,note,shop,shop_found_in_lines\na,x,y,true\n");
        let names = |asked: Option<&[String]>| -> Vec<String> {
            of_pack(folder.path(), &table, asked).unwrap().into_iter().map(|field| field.name).collect()
        };
        assert_eq!(names(None), ["shop"]);
        assert_eq!(names(Some(&["note".into()])), ["note"]);
        let error = of_pack(folder.path(), &table, Some(&["total".into()])).unwrap_err().to_string();
        assert!(error.contains("'total'") && error.contains("'shop'"), "{error}");
    }

    #[test]
    fn a_table_without_fields_is_an_error() {
        let (folder, table) = table("id,fold\na,1\n");
        assert!(of_pack(folder.path(), &table, None).unwrap_err().to_string().contains("'id', 'fold'"));
    }

    #[test]
    fn a_field_has_a_kind_only_when_nine_in_ten_values_agree() {
        let values = |good: usize, bad: usize| -> Vec<Option<String>> {
            let good = std::iter::repeat_n(Some("1/2/2018".to_string()), good);
            good.chain(std::iter::repeat_n(Some("soon".into()), bad)).chain([None]).collect()
        };
        assert_eq!(kind_of(&values(9, 1)), FieldKind::Date);
        assert_eq!(kind_of(&values(8, 1)), FieldKind::Text);
        assert_eq!(kind_of(&[Some("9.00".into()), Some("$3".into())]), FieldKind::Amount);
        assert_eq!(kind_of(&[None]), FieldKind::Text);
    }
}
