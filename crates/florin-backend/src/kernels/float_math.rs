//! Exponential and error function of one number, written so that loops over them become vector code.
//!
//! The C library's take one number at a time, and they are what an unfused transformer spends most of its time outside
//! matrix products on. All are inlined into loops compiled for the processor at hand (`multiversion`).

/// Adding and taking away `1.5 · 2²³` rounds a small number to the nearest whole one.
const ROUNDER: f32 = 12_582_912.0;
/// Below this, the exponential is taken as zero: it would be subnormal.
const LEAST: f32 = -87.0;
/// Above this, the exponential is that of this number: softmax never asks for it, and a sigmoid is then zero or one.
const MOST: f32 = 88.0;

/// `eˣ` within 2 ulp for x between -87 and 88; zero below, that of 88 above.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let inside = x.clamp(LEAST, MOST);
    let shifted = inside.mul_add(std::f32::consts::LOG2_E, ROUNDER);
    let whole = shifted - ROUNDER;
    // ln 2 in two parts, so that the remainder is exact.
    let rest = whole.mul_add(-0.693_359_4, inside);
    let rest = whole.mul_add(2.121_944_4e-4, rest);
    let series = 1.987_569_1e-4_f32;
    let series = series.mul_add(rest, 1.398_2e-3);
    let series = series.mul_add(rest, 8.333_452e-3);
    let series = series.mul_add(rest, 4.166_579_6e-2);
    let series = series.mul_add(rest, 1.666_666_5e-1);
    let series = series.mul_add(rest, 5e-1);
    let value = series.mul_add(rest * rest, rest) + 1.0;
    let exponent = (shifted.to_bits().wrapping_sub(ROUNDER.to_bits()).wrapping_add(127)) << 23;
    if x < LEAST { 0.0 } else { value * f32::from_bits(exponent) }
}

/// The error function within 6 ulp: an odd rational function, one beyond ±4 (where it is one to within a rounding).
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let inside = x.clamp(-4.0, 4.0);
    let square = inside * inside;
    let above = -2.726_142_3e-10_f32;
    let above = above.mul_add(square, 2.770_681_4e-8);
    let above = above.mul_add(square, -2.101_024e-6);
    let above = above.mul_add(square, -5.692_506_4e-5);
    let above = above.mul_add(square, -7.349_906_3e-4);
    let above = above.mul_add(square, -2.954_6e-3);
    let above = above.mul_add(square, -1.609_603_3e-2);
    let below = -1.456_607_2e-5_f32;
    let below = below.mul_add(square, -2.133_740_6e-4);
    let below = below.mul_add(square, -1.682_827e-3);
    let below = below.mul_add(square, -7.373_329e-3);
    let below = below.mul_add(square, -1.426_474e-2);
    if x.abs() > 4.0 { 1f32.copysign(x) } else { inside * above / below }
}

/// `1 / (1 + e⁻ˣ)`
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The hyperbolic tangent within 2 ulp: an odd series near zero, where one less something would lose digits, and an exponential elsewhere.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let square = x * x;
    let series = -5.704_988_7e-3_f32;
    let series = series.mul_add(square, 2.063_909e-2);
    let series = series.mul_add(square, -5.373_971_6e-2);
    let series = series.mul_add(square, 1.333_144_2e-1);
    let series = series.mul_add(square, -3.333_328e-1);
    let near = (series * square).mul_add(x, x);
    let size = x.abs();
    let far = (1.0 - 2.0 / (exp(2.0 * size) + 1.0)).copysign(x);
    // The other way round NaN would be one.
    if size >= 0.625 { far } else { near }
}

/// `ln (1 + x)` within 2 ulp for x from 0 to 1: twice the inverse hyperbolic tangent of `x / (2 + x)`, by its series.
#[inline(always)]
pub(crate) fn ln_one_plus(x: f32) -> f32 {
    let part = x / (2.0 + x);
    twice_inverse_tanh(part)
}

/// `2 artanh x` for x up to a third, by its series.
#[inline(always)]
fn twice_inverse_tanh(x: f32) -> f32 {
    let square = x * x;
    let series = 1.0 / 15.0_f32;
    let series = series.mul_add(square, 1.0 / 13.0);
    let series = series.mul_add(square, 1.0 / 11.0);
    let series = series.mul_add(square, 1.0 / 9.0);
    let series = series.mul_add(square, 1.0 / 7.0);
    let series = series.mul_add(square, 1.0 / 5.0);
    let series = series.mul_add(square, 1.0 / 3.0);
    let twice = x + x;
    (series * square).mul_add(twice, twice)
}

/// `ln x` within 2 ulp for x above zero and finite, minus infinity for the rest: a power of two, and twice the inverse hyperbolic tangent of
/// what is left by its series.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    // From the root of a half to the root of two, so that near one nothing is taken from anything.
    let shifted = x.to_bits().wrapping_sub(0x3f35_04f3);
    let exponent = ((shifted as i32) >> 23) as f32;
    let above_one = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(0x3f35_04f3)) - 1.0;
    let part = above_one / (2.0 + above_one);
    let rest = twice_inverse_tanh(part);
    // ln 2 in two parts, the first of which times an exponent is exact.
    let value = exponent.mul_add(0.693_359_4, exponent.mul_add(-2.121_944_4e-4, rest));
    // What is no number stays none.
    if x <= 0.0 { f32::NEG_INFINITY } else { value + x * 0.0 }
}

#[cfg(test)]
mod tests {
    /// Distance in units of the last place of the exact value.
    fn ulps(found: f32, exact: f64) -> f64 {
        let unit = f64::from((exact as f32).abs().next_up()) - f64::from((exact as f32).abs());
        (f64::from(found) - exact).abs() / unit
    }

    #[test]
    fn the_exponential_is_within_two_ulp() {
        let worst = (-86_999..=88_000).map(|i| i as f32 / 1000.0).map(|x| ulps(super::exp(x), f64::from(x).exp()));
        let worst = worst.fold(0.0, f64::max);
        assert!(worst <= 2.0, "{worst} ulp");
        assert_eq!(super::exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(super::exp(0.0), 1.0);
        assert!(super::exp(f32::NAN).is_nan());
    }

    #[test]
    fn the_logarithm_of_one_and_something_is_within_two_ulp() {
        let numbers = (0..=100_000).map(|i| i as f32 / 100_000.0).chain((1..120).map(|i| 0.5f32.powi(i)));
        let worst = numbers.map(|x| ulps(super::ln_one_plus(x), f64::from(x).ln_1p())).fold(0.0, f64::max);
        assert!(worst <= 2.0, "{worst} ulp");
        assert!(super::ln_one_plus(f32::NAN).is_nan());
    }

    #[test]
    fn the_logarithm_is_within_two_ulp() {
        let numbers = (1..=200_000).map(|i| i as f32 / 100_000.0).chain((-120..120).map(|i| 1.37 * 2f32.powi(i)));
        let worst = numbers.map(|x| ulps(super::ln(x), f64::from(x).ln())).fold(0.0, f64::max);
        assert!(worst <= 2.0, "{worst} ulp");
        assert_eq!([super::ln(1.0), super::ln(0.0), super::ln(-1.0)], [0.0, f32::NEG_INFINITY, f32::NEG_INFINITY]);
        assert!(super::ln(f32::NAN).is_nan());
    }

    #[test]
    fn the_hyperbolic_tangent_is_within_two_ulp() {
        let numbers = (-100_000..=100_000).map(|i| i as f32 / 10_000.0).chain((0..120).map(|i| 0.5f32.powi(i)));
        let worst = numbers.map(|x| ulps(super::tanh(x), f64::from(x).tanh())).fold(0.0, f64::max);
        assert!(worst <= 2.0, "{worst} ulp");
        assert!(super::tanh(f32::NAN).is_nan());
        assert_eq!([super::tanh(f32::NEG_INFINITY), super::tanh(f32::INFINITY)], [-1.0, 1.0]);
    }

    #[test]
    fn the_error_function_is_within_six_ulp() {
        let worst =
            (-60_000..=60_000).map(|i| i as f32 / 10_000.0).map(|x| ulps(super::erf(x), libm::erf(f64::from(x))));
        let worst = worst.fold(0.0, f64::max);
        assert!(worst <= 6.0, "{worst} ulp");
        assert!(super::erf(f32::NAN).is_nan());
        assert_eq!([super::erf(-1e9), super::erf(f32::INFINITY)], [-1.0, 1.0]);
    }
}
