//! Medians, ratios, and whether a target is reached.

use serde::Serialize;

/// The median; of an even number of values, the mean of the two in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// The smallest value that at least this share of the values does not exceed; 0 if there are none.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of values"
)]
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// The median of the rounds' ratios. Each ratio is between two values of the same round.
pub fn median_ratio<T>(rounds: &[T], of: impl Fn(&T) -> f64, to: impl Fn(&T) -> f64) -> f64 {
    median(rounds.iter().map(|round| of(round) / to(round)))
}

/// A figure, with its ratio to the bare loop's in brackets.
pub fn with_ratio(figure: f64, ratio: f64, decimals: usize) -> String {
    format!("{figure:.decimals$} ({ratio:.2})")
}

/// A figure and its target.
#[derive(Debug, Clone, Serialize)]
pub struct Judged {
    pub figure: String,
    pub measured: f64,
    /// In words and with its unit.
    pub target: String,
    pub reached: bool,
}

impl Judged {
    pub fn at_least(figure: impl Into<String>, measured: f64, target: f64) -> Self {
        Self { figure: figure.into(), measured, target: format!(">= {target}"), reached: measured >= target }
    }

    pub fn at_most(figure: impl Into<String>, measured: f64, target: f64) -> Self {
        Self { figure: figure.into(), measured, target: format!("<= {target}"), reached: measured <= target }
    }

    /// Within `by` of 1.
    pub fn near_one(figure: impl Into<String>, measured: f64, by: f64) -> Self {
        let reached = (measured - 1.0).abs() <= by;
        Self { figure: figure.into(), measured, target: format!("1 ± {by}"), reached }
    }

    pub fn verdict(&self) -> &'static str {
        if self.reached { "reached" } else { "missed" }
    }
}
