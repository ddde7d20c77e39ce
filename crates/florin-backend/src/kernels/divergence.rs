//! Kullback-Leibler divergence of a student's rows from a teacher's, and its gradient, without a matrix of logarithms.

use multiversion::multiversion;
use rayon::prelude::*;

use super::counted::Counted;
use super::float_math::exp;
use super::rows::{max, sum};

/// Numbers that one task takes, at least a row.
const NUMBERS: usize = 1 << 13;

fn rows_of(columns: usize) -> usize {
    (NUMBERS / columns.max(1)).max(1)
}

/// Logits of both sides, row by row.
#[derive(Clone, Copy)]
pub(crate) struct Logits<'a> {
    pub(crate) teacher: &'a [f32],
    pub(crate) student: &'a [f32],
    pub(crate) columns: usize,
    /// What both are multiplied with first: one over the temperature.
    pub(crate) factor: f32,
    pub(crate) counted: Counted<'a>,
}

/// Numbers a row that the way back needs: of the teacher and of the student the largest logit and one over the sum of exponentials.
pub(crate) const KEPT: usize = 4;

/// Of each row that counts its divergence, and what the way back needs of it.
pub(crate) struct Divergences {
    pub(crate) costs: Vec<f32>,
    pub(crate) kept: Vec<f32>,
}

/// `Σ p (ln p − ln q)` of each row, p the teacher's shares and q the student's.
pub(crate) fn forward(logits: &Logits) -> Divergences {
    let count = logits.counted.rows.len();
    let (mut costs, mut kept) = (vec![0f32; count], vec![0f32; count * KEPT]);
    let rows = rows_of(logits.columns);
    let tasks = costs.par_chunks_mut(rows).zip(kept.par_chunks_mut(rows * KEPT)).enumerate();
    tasks.for_each(|(task, (costs, kept))| diverge(logits, task * rows, costs, kept));
    Divergences { costs, kept }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn diverge(logits: &Logits, first: usize, costs: &mut [f32], kept: &mut [f32]) {
    let Logits { columns, factor, counted, .. } = *logits;
    let mut shown = [vec![0f32; columns], vec![0f32; columns]];
    let (mut shares, mut gaps) = (vec![0f32; columns], vec![0f32; columns]);
    for (row, (cost, kept)) in (first..).zip(costs.iter_mut().zip(kept.chunks_exact_mut(KEPT))) {
        if counted.rows[row] == 0 {
            continue;
        }
        let (mut teacher, mut student) =
            (&logits.teacher[row * columns..][..columns], &logits.student[row * columns..][..columns]);
        if let Some(marks) = counted.columns_of(row, columns) {
            // Nothing to compare.
            if !marks.iter().any(|mark| *mark != 0) {
                continue;
            }
            let [of_teacher, of_student] = &mut shown;
            hide(teacher, marks, of_teacher);
            hide(student, marks, of_student);
            (teacher, student) = (of_teacher, of_student);
        }
        let (most, most_student) = (max(teacher), max(student));
        for ((share, gap), (x, y)) in shares.iter_mut().zip(&mut gaps).zip(teacher.iter().zip(student)) {
            let (teacher, student) = ((x - most) * factor, (y - most_student) * factor);
            *share = exp(teacher);
            // What the teacher excludes costs nothing, also where its logarithm is infinite.
            *gap = if *share == 0.0 { 0.0 } else { *share * (teacher - student) };
        }
        let (total, gap) = (sum(&shares), sum(&gaps));
        shares.iter_mut().zip(student).for_each(|(share, y)| *share = exp((y - most_student) * factor));
        let total_student = sum(&shares);
        *cost = gap / total - (total.ln() - total_student.ln());
        kept.copy_from_slice(&[most, 1.0 / total, most_student, 1.0 / total_student]);
    }
}

/// Minus infinity where a number does not count.
#[inline(always)]
fn hide(row: &[f32], marks: &[u8], into: &mut [f32]) {
    for ((into, x), mark) in into.iter_mut().zip(row).zip(marks) {
        *into = if *mark == 0 { f32::NEG_INFINITY } else { *x };
    }
}

/// The gradient of the student's rows: `g (q − p)`, times the factor.
pub(crate) fn backward(logits: &Logits, kept: &[f32], gradient: &[f32]) -> Vec<f32> {
    let mut found = vec![0f32; logits.student.len()];
    let rows = rows_of(logits.columns);
    let tasks = found.par_chunks_mut(rows * logits.columns.max(1)).enumerate();
    tasks.for_each(|(task, found)| converge(logits, task * rows, kept, gradient, found));
    found
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+fma", "x86_64+avx2+fma"))]
fn converge(logits: &Logits, first: usize, kept: &[f32], gradient: &[f32], found: &mut [f32]) {
    let Logits { columns, factor, counted, .. } = *logits;
    for (row, found) in (first..).zip(found.chunks_exact_mut(columns)) {
        // Rows that do not count have no gradient, however odd their numbers are.
        if counted.rows[row] == 0 || gradient[row] == 0.0 {
            continue;
        }
        let (teacher, student) =
            (&logits.teacher[row * columns..][..columns], &logits.student[row * columns..][..columns]);
        let (kept, slope) = (&kept[row * KEPT..][..KEPT], gradient[row] * factor);
        let (most, share, most_student, share_student) = (kept[0], kept[1], kept[2], kept[3]);
        for ((found, teacher), student) in found.iter_mut().zip(teacher).zip(student) {
            let (p, q) =
                (exp((teacher - most) * factor) * share, exp((student - most_student) * factor) * share_student);
            *found = slope * (q - p);
        }
        if let Some(marks) = counted.columns_of(row, columns) {
            found.iter_mut().zip(marks).filter(|(_, mark)| **mark == 0).for_each(|(found, _)| *found = 0.0);
        }
    }
}
