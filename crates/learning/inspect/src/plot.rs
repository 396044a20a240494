//! Columns as pictures: SVG that stands in a page, in the page's own colours.

use crate::inspection::Column;
use crate::reading::Kind;
use crate::shown::{count, html, percent};

/// Of a histogram, in the picture's own units.
const WIDTH: f64 = 280.0;
const HEIGHT: f64 = 88.0;
/// Bars, where numbers are many.
const BARS: usize = 28;
/// Whole numbers within so many get a bar each.
const WHOLE_BARS_MAX: f64 = 40.0;
/// Fewer whole numbers are named beside their bars.
const FEW_BARS_MAX: usize = 8;
/// What lies outside these shares is left out where it would make one bar of all others.
const OUTER: [f64; 2] = [0.01, 0.99];
/// Texts that have a bar each.
const TEXTS: usize = 8;

/// A histogram, or a bar for each text; nothing for a column that has neither.
pub(crate) fn of(column: &Column) -> String {
    match (column.kind, column.range) {
        (Kind::Ignored | Kind::Empty, _) => String::new(),
        (_, Some(range)) => histogram(column, range),
        (_, None) => texts(column),
    }
}

/// Numbers as bars, with what they are about below.
fn histogram(column: &Column, [lowest, highest]: [f64; 2]) -> String {
    let numbers = &column.weighed;
    let [low, high] = within(numbers, [lowest, highest]);
    let is_whole = numbers.iter().all(|(number, _)| number.fract() == 0.0);
    let each = is_whole && high - low < WHOLE_BARS_MAX;
    let (from, bars, step) = match is_whole {
        // As many whole numbers in each bar: else some would stand out for nothing.
        true => {
            let step = if each { 1.0 } else { ((high - low + 1.0) / BARS as f64).ceil() };
            (low - 0.5, ((high - low + 1.0) / step).ceil() as usize, step)
        }
        false if high > low => (low, BARS, (high - low) / BARS as f64),
        false => (low - 0.5, 1, 1.0),
    };
    let mut heights = vec![0u64; bars];
    let mut outside = 0;
    for (number, weight) in numbers {
        // The upper end belongs to the last bar.
        let place =
            if *number == high { bars - 1 } else { ((number - from) / step).floor().max(0.0) as usize };
        match heights.get_mut(place).filter(|_| (low..=high).contains(number)) {
            Some(height) => *height += weight,
            None => outside += weight,
        }
    }
    if each && bars <= FEW_BARS_MAX {
        let value = |(place, times): (usize, &u64)| (column.shown(low + place as f64), *times, "bar");
        return self::bars(heights.iter().enumerate().map(value), column.known);
    }
    let most = heights.iter().max().copied().unwrap_or(0).max(1);
    let width = WIDTH / bars as f64;
    let mut drawn = String::new();
    for (place, height) in heights.iter().enumerate() {
        let bar = (HEIGHT - 4.0) * *height as f64 / most as f64;
        let start = from + step * place as f64;
        let about = match (each, is_whole) {
            (true, _) => column.shown(low + place as f64),
            (false, true) => format!("{} to {}", column.shown(start + 0.5), column.shown(start + step - 0.5)),
            (false, false) => format!("{} to {}", column.shown(start), column.shown(start + step)),
        };
        drawn += &rectangle(
            [width * place as f64, HEIGHT - bar, (width - 1.0).max(0.5), bar],
            &format!("{about}: {}", count(*height)),
        );
    }
    let beyond = match outside {
        0 => String::new(),
        outside => format!("<span>{} of the cells lie beyond</span>", percent(outside, column.known)),
    };
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"histogram of {}\">{drawn}<line class=\"axis\" x1=\"0\" y1=\"{HEIGHT}\" x2=\"{WIDTH}\" y2=\"{HEIGHT}\"/></svg>\
         <p class=\"ends\"><span>{}</span>{beyond}<span>{}</span></p>",
        html(&column.name),
        html(&column.shown(low)),
        html(&column.shown(high))
    )
}

/// Between which ends to draw.
fn within(numbers: &[(f64, u64)], [lowest, highest]: [f64; 2]) -> [f64; 2] {
    let [low, high] = OUTER.map(|share| crate::sketch::quantile(numbers, share));
    match (low, high) {
        (Some(low), Some(high)) if high > low && highest - lowest > 4.0 * (high - low) => [low, high],
        _ => [lowest, highest],
    }
}

/// The most frequent texts, a bar each.
fn texts(column: &Column) -> String {
    let others: u64 = column.texts.iter().skip(TEXTS).map(|(_, times)| times).sum::<u64>() + column.others;
    let more = column.texts.iter().skip(TEXTS).count();
    let shown =
        column.texts.iter().take(TEXTS).map(|(text, times)| (crate::shown::cut(text, 32), *times, "bar"));
    let rest = (others > 0).then(|| {
        let what = if column.others > 0 { "all others".to_owned() } else { format!("{more} others") };
        (what, others, "bar other")
    });
    bars(shown.chain(rest), column.known)
}

/// A line of text, a bar and a share for each.
pub(crate) fn bars(named: impl Iterator<Item = (String, u64, &'static str)>, all: u64) -> String {
    let named: Vec<_> = named.collect();
    let most = named.iter().map(|(_, times, _)| *times).max().unwrap_or(0).max(1);
    let mut lines = String::new();
    for (name, times, class) in named {
        lines += &format!(
            "<tr><th scope=\"row\">{}</th><td class=\"wide\"><svg viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"{class}\" x=\"0\" y=\"1\" width=\"{:.2}\" height=\"8\"/></svg></td>\
             <td class=\"number\">{}</td><td class=\"number soft\">{}</td></tr>",
            html(&name),
            100.0 * times as f64 / most as f64,
            count(times),
            percent(times, all)
        );
    }
    format!("<table class=\"bars\">{lines}</table>")
}

fn rectangle([x, y, width, height]: [f64; 4], title: &str) -> String {
    format!(
        "<rect class=\"bar\" x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\"><title>{}</title></rect>",
        html(title)
    )
}
