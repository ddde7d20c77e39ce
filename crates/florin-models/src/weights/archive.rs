//! The files inside a ZIP archive whose entries are stored, not compressed: what `torch.save` writes.
//!
//! Only names, places and sizes are read, each checked against the length of the file; compressed and encrypted entries are
//! refused. Archives beyond four gigabytes (ZIP64) are understood.

use std::collections::BTreeMap;
use std::ops::Range;

const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const ENTRY: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";
/// What a field holds whose value stands in the ZIP64 part.
const ELSEWHERE: u64 = 0xffff_ffff;
/// The number of the extra field that holds the large values.
const LARGE: u16 = 1;

/// Where in an archive each file is.
pub(super) fn entries(bytes: &[u8]) -> Result<BTreeMap<String, Range<usize>>, String> {
    let (mut at, count) = directory(bytes)?;
    let mut found = BTreeMap::new();
    for _ in 0..count {
        let entry = part(bytes, at, 46)?;
        if &entry[..4] != ENTRY {
            return Err(format!("its table of contents is damaged at byte {at}"));
        }
        let [name, extra, comment] = [28, 30, 32].map(|place| usize::from(short(entry, place)));
        let text = String::from_utf8_lossy(part(bytes, at + 46, name)?).into_owned();
        let extra_bytes = part(bytes, at + 46 + name, extra)?;
        let (method, flags) = (short(entry, 10), short(entry, 8));
        if method != 0 || flags & 1 != 0 {
            return Err(format!("`{text}` is compressed or encrypted, expected stored as it is"));
        }
        let [packed, size, local] =
            large([word(entry, 20), word(entry, 24), word(entry, 42)].map(u64::from), extra_bytes)
                .ok_or_else(|| format!("the size of `{text}` is missing"))?;
        if packed != size {
            return Err(format!("`{text}` is stored in {packed} bytes and has {size}"));
        }
        let range = contents(bytes, local, size).map_err(|reason| format!("`{text}`: {reason}"))?;
        if found.insert(text.clone(), range).is_some() {
            return Err(format!("`{text}` is there twice"));
        }
        at += 46 + name + extra + comment;
    }
    Ok(found)
}

/// Where the table of contents begins, and how many entries it has.
fn directory(bytes: &[u8]) -> Result<(usize, usize), String> {
    let earliest = bytes.len().saturating_sub(22 + usize::from(u16::MAX));
    let end = (earliest..=bytes.len().saturating_sub(22)).rev().find(|&at| bytes[at..].starts_with(END));
    let end = end.ok_or("it is no ZIP archive, or its end is missing")?;
    let record = part(bytes, end, 22)?;
    let (mut count, mut start) = (u64::from(short(record, 10)), u64::from(word(record, 16)));
    if (count == 0xffff || start == ELSEWHERE) && end >= 20 && bytes[end - 20..].starts_with(LOCATOR_64) {
        let place = place(long(&bytes[end - 20..], 8))?;
        let record = part(bytes, place, 56)?;
        if &record[..4] != END_64 {
            return Err("its ZIP64 end is missing".to_owned());
        }
        (count, start) = (long(record, 32), long(record, 48));
    }
    Ok((place(start)?, place(count)?))
}

/// The bytes of an entry, behind a header of its own whose names may have other lengths.
fn contents(bytes: &[u8], local: u64, size: u64) -> Result<Range<usize>, String> {
    let local = place(local)?;
    let header = part(bytes, local, 30)?;
    if &header[..4] != LOCAL {
        return Err(format!("there is no entry at byte {local}"));
    }
    let from = local + 30 + usize::from(short(header, 26)) + usize::from(short(header, 28));
    part(bytes, from, place(size)?)?;
    Ok(from..from + size as usize)
}

/// The three values, each from the extra field if it does not fit in the entry.
fn large(values: [u64; 3], mut extra: &[u8]) -> Option<[u64; 3]> {
    let mut fields: &[u8] = &[];
    while extra.len() >= 4 {
        let (kind, size) = (short(extra, 0), usize::from(short(extra, 2)));
        let field = extra.get(4..4 + size)?;
        if kind == LARGE {
            fields = field;
        }
        extra = &extra[4 + size..];
    }
    // Uncompressed size stands before the compressed one there.
    let mut found = values;
    for index in [1, 0, 2] {
        if found[index] == ELSEWHERE {
            found[index] = long(fields.get(..8)?, 0);
            fields = &fields[8..];
        }
    }
    Some(found)
}

fn part(bytes: &[u8], from: usize, size: usize) -> Result<&[u8], String> {
    let to = from.checked_add(size).filter(|&to| to <= bytes.len());
    to.map(|to| &bytes[from..to])
        .ok_or_else(|| format!("{size} bytes from byte {from} on lie beyond its {} bytes", bytes.len()))
}

fn place(value: u64) -> Result<usize, String> {
    usize::try_from(value).map_err(|_| format!("{value} is no place in it"))
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from(short(bytes, at)) | u32::from(short(bytes, at + 2)) << 16
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}
