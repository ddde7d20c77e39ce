//! From the scores of words to probabilities of spans.
//!
//! The same formula as `florin_losses::SpanLoss`, in f64 on the host and without the quadratic matrix, so that a document of
//! five thousand words is read in milliseconds.

/// Scores of the words of one document for one field.
#[derive(Clone, Debug, PartialEq)]
pub struct WordScores {
    /// Score of each word as the first of the span.
    pub start: Vec<f32>,
    /// Score of each word as part of the span.
    pub inside: Vec<f32>,
    /// Score of each word as the last of the span.
    pub end: Vec<f32>,
    /// Score of there being no span.
    pub none: f32,
}

/// A span of words with its probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// First word.
    pub first: usize,
    /// Last word, included.
    pub last: usize,
    /// Probability, between 0 and 1.
    pub probability: f64,
}

/// The probability that there is no span, and every span with at least `least` probability, likeliest first.
pub fn spans(scores: &WordScores, longest: usize, least: f64) -> (f64, Vec<Span>) {
    let words = scores.start.len();
    let none = f64::from(scores.none);
    let mut most = none;
    visit(scores, longest, |_, _, score| most = most.max(score));
    let mut total = (none - most).exp();
    visit(scores, longest, |_, _, score| total += (score - most).exp());
    let mut found = Vec::with_capacity(words.min(64));
    visit(scores, longest, |first, last, score| {
        let probability = (score - most).exp() / total;
        if probability >= least {
            found.push(Span { first, last, probability });
        }
    });
    found.sort_by(|a, b| b.probability.total_cmp(&a.probability).then(a.first.cmp(&b.first)).then(a.last.cmp(&b.last)));
    ((none - most).exp() / total, found)
}

fn visit(scores: &WordScores, longest: usize, mut see: impl FnMut(usize, usize, f64)) {
    let words = scores.start.len();
    for first in 0..words {
        let mut sum = f64::from(scores.start[first]);
        for last in first..words.min(first + longest) {
            sum += f64::from(scores.inside[last]);
            see(first, last, sum + f64::from(scores.end[last]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_of_all_spans_and_of_none_sum_to_one() {
        let scores = WordScores {
            start: vec![0.3, -0.2, 0.9],
            inside: vec![0.5, 0.1, -0.7],
            end: vec![-0.4, 0.8, 0.2],
            none: 0.25,
        };
        let (none, found) = spans(&scores, 3, 0.0);
        assert_eq!(found.len(), 6);
        let sum: f64 = none + found.iter().map(|span| span.probability).sum::<f64>();
        assert!((sum - 1.0).abs() < 1e-12);
        let first = found.iter().find(|s| (s.first, s.last) == (0, 1)).expect("every span is listed at least 0");
        assert!((first.probability.ln() - none.ln() - (0.3 + 0.5 + 0.1 + 0.8 - 0.25)).abs() < 1e-6);
    }

    #[test]
    fn an_empty_document_has_no_span() {
        let scores = WordScores { start: vec![], inside: vec![], end: vec![], none: -3.0 };
        assert_eq!(spans(&scores, 8, 0.0), (1.0, vec![]));
    }
}
