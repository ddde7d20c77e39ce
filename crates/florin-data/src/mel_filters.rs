//! Mel filters: overlapping triangles of frequency, narrow where the ear tells tones apart and wide where it does not.
//!
//! Three scales are in use, and two ways to draw a triangle on them; checkpoints were trained on the numbers of one of them and are
//! of no use with those of another.
//!
//! Paper: Stevens et al. 1937, <https://doi.org/10.1121/1.1915893>
//! Difference: the curves are those of HTK, Kaldi and Slaney's Auditory Toolbox, as transformers' `audio_utils` has them.

/// A curve from hertz to mels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MelScale {
    /// 2595 log₁₀(1 + f / 700).
    Htk,
    /// 1127 ln(1 + f / 700): the same curve up to rounding of its factor.
    Kaldi,
    /// Straight up to 1000 Hz and logarithmic above.
    Slaney,
}

/// What a bank of filters is made for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MelFiltersConfig {
    /// Frequencies of a spectrum, from 0 to half the rate: half the transform's length and one.
    pub bins: usize,
    /// How many filters.
    pub bands: usize,
    /// Where the first filter begins, in hertz.
    pub lowest: f64,
    /// Where the last filter ends, in hertz.
    pub highest: f64,
    /// Samples a second.
    pub rate: usize,
    /// The curve.
    pub scale: MelScale,
    /// Whether each filter is divided by its width in hertz (Slaney's norm).
    pub area_norm: bool,
    /// Whether triangles are straight over mels (Kaldi), not over hertz.
    pub straight_in_mels: bool,
}

/// A bank of filters.
#[derive(Clone, Debug)]
pub struct MelFilters {
    bands: Vec<Band>,
}

/// The part of one filter that is not zero.
#[derive(Clone, Debug, Default)]
struct Band {
    first: usize,
    weights: Vec<f64>,
}

impl MelScale {
    fn mels(self, hertz: f64) -> f64 {
        match self {
            Self::Htk => 2595.0 * (1.0 + hertz / 700.0).log10(),
            Self::Kaldi => 1127.0 * (1.0 + hertz / 700.0).ln(),
            Self::Slaney if hertz >= 1000.0 => 15.0 + (hertz / 1000.0).ln() * (27.0 / 6.4f64.ln()),
            Self::Slaney => 3.0 * hertz / 200.0,
        }
    }

    fn hertz(self, mels: f64) -> f64 {
        match self {
            Self::Htk => 700.0 * (10f64.powf(mels / 2595.0) - 1.0),
            Self::Kaldi => 700.0 * ((mels / 1127.0).exp() - 1.0),
            Self::Slaney if mels >= 15.0 => 1000.0 * ((6.4f64.ln() / 27.0) * (mels - 15.0)).exp(),
            Self::Slaney => 200.0 * mels / 3.0,
        }
    }
}

impl MelFilters {
    /// Draws the triangles.
    pub fn new(config: &MelFiltersConfig) -> Self {
        let MelFiltersConfig { bins, bands, scale, .. } = *config;
        let corners = evenly(scale.mels(config.lowest), scale.mels(config.highest), bands + 2);
        let (corners, bins): (Vec<f64>, Vec<f64>) = if config.straight_in_mels {
            let width = config.rate as f64 / ((bins - 1) * 2) as f64;
            (corners, (0..bins).map(|bin| scale.mels(width * bin as f64)).collect())
        } else {
            let corners = corners.into_iter().map(|mels| scale.hertz(mels)).collect();
            (corners, evenly(0.0, (config.rate / 2) as f64, bins))
        };
        let band = |corners: &[f64]| {
            let [left, peak, right] = [corners[0], corners[1], corners[2]];
            let norm = if config.area_norm { 2.0 / (right - left) } else { 1.0 };
            Band::trimmed(bins.iter().map(|&bin| {
                let (rising, falling) = ((bin - left) / (peak - left), (right - bin) / (right - peak));
                rising.min(falling).max(0.0) * norm
            }))
        };
        Self { bands: corners.windows(3).map(band).collect() }
    }

    /// What each filter lets through of a spectrum.
    pub fn apply<'a>(&'a self, spectrum: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        let through = |band: &Band| -> f64 {
            band.weights.iter().zip(&spectrum[band.first..]).map(|(weight, power)| weight * power).sum()
        };
        self.bands.iter().map(through)
    }

    /// How many filters there are.
    pub fn len(&self) -> usize {
        self.bands.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bands.is_empty()
    }
}

impl Band {
    fn trimmed(weights: impl Iterator<Item = f64>) -> Self {
        let weights: Vec<f64> = weights.collect();
        let Some(first) = weights.iter().position(|&weight| weight > 0.0) else { return Self::default() };
        let last = weights.iter().rposition(|&weight| weight > 0.0).unwrap_or(first);
        Self { first, weights: weights[first..=last].to_vec() }
    }
}

/// `count` numbers from one to another, both included.
fn evenly(from: f64, to: f64, count: usize) -> Vec<f64> {
    let step = (to - from) / (count - 1) as f64;
    (0..count).map(|index| if index + 1 == count { to } else { index as f64 * step + from }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_turn_back_and_meet_known_points() {
        for scale in [MelScale::Htk, MelScale::Kaldi, MelScale::Slaney] {
            for hertz in [0.0, 20.0, 999.0, 1000.0, 7_600.0] {
                assert!((scale.hertz(scale.mels(hertz)) - hertz).abs() < 1e-9, "{scale:?} {hertz}");
            }
        }
        assert!((MelScale::Htk.mels(1000.0) - 999.9856).abs() < 1e-3);
        assert_eq!(MelScale::Slaney.mels(1000.0), 15.0);
        assert!((MelScale::Slaney.mels(6400.0) - 42.0).abs() < 1e-12, "27 steps from 1000 Hz to 6400");
    }

    #[test]
    fn a_triangle_rises_to_its_peak_and_its_area_is_one_under_the_norm() {
        let config = MelFiltersConfig {
            bins: 4001,
            bands: 6,
            lowest: 100.0,
            highest: 3900.0,
            rate: 8000,
            scale: MelScale::Htk,
            area_norm: true,
            straight_in_mels: false,
        };
        let filters = MelFilters::new(&config);
        assert_eq!(filters.len(), 6);
        // Bins are one hertz apart, so that the sum is the area.
        for area in filters.apply(&vec![1.0; 4001]) {
            assert!((area - 1.0).abs() < 1e-3, "{area}");
        }
        let plain = MelFilters::new(&MelFiltersConfig { area_norm: false, ..config });
        let tallest = plain.bands.iter().flat_map(|band| &band.weights).fold(0.0f64, |most, &weight| most.max(weight));
        assert!(tallest <= 1.0 && tallest > 0.99);
    }
}
