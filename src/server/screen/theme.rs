//! The style sheet of a theme: its values stand in its address, because pages may have no style of their own. It sets
//! custom properties, and nothing else.

use std::fmt::Write;

use axum::response::Response;
use http::StatusCode;

use super::assets::kept;
use crate::{
    domain::portal::{Colour, GUTTERS_MAX, RADIUS_MAX, Theme},
    server::{answer::typed, ops::Name, problem::Problem},
};

/// A value that the theme leaves to the screen.
const NONE: &str = "x";
/// The grounds of the screen, light and dark, on which the accent must be readable. `screen.css` has the same.
const GROUNDS: [&str; 2] = ["#ffffff", "#14171a"];

/// The path of a theme's style sheet; `None` if it changes nothing.
pub(super) fn path(theme: &Theme) -> Option<String> {
    let Theme { accent, accent_dark, radius, gutters, .. } = theme;
    let colour =
        |colour: &Option<Colour>| colour.as_ref().map_or(NONE.to_owned(), |colour| colour.as_str()[1..].to_owned());
    let pixels = |pixels: &Option<u8>| pixels.map_or(NONE.to_owned(), |pixels| pixels.to_string());
    let values = [colour(accent), colour(accent_dark), pixels(radius), pixels(gutters)];
    let is_plain = values.iter().all(|value| value == NONE);
    (!is_plain).then(|| format!("/theme/{}.css", values.join("-")))
}

/// A theme's style sheet.
pub(super) async fn style(Name(name): Name) -> Result<Response, Problem> {
    let css = css(&name).map_err(|NotATheme| Problem::not_found())?;
    Ok(kept(typed(StatusCode::OK, "text/css; charset=utf-8", css)))
}

/// A name that no theme has.
#[derive(Debug, PartialEq, Eq)]
struct NotATheme;

/// The style sheet of this name.
fn css(name: &str) -> Result<String, NotATheme> {
    let values: Vec<&str> = name.strip_suffix(".css").ok_or(NotATheme)?.split('-').collect();
    let [accent, dark, radius, gutters] = values[..] else { return Err(NotATheme) };
    let (accent, dark) = (read(accent, colour)?, read(dark, colour)?);
    let radius = read(radius, |digits| pixels(digits, RADIUS_MAX))?;
    let gutters = read(gutters, |digits| pixels(digits, GUTTERS_MAX))?;
    let mut css = ":root {".to_owned();
    let light = accent.or_else(|| dark.clone());
    let dark = dark.or_else(|| light.clone());
    if let (Some(light), Some(dark)) = (light, dark) {
        let [on_light, on_dark] = GROUNDS.map(|ground| ground.parse::<Colour>().expect("a colour"));
        let (light, dark) = (light.readable_on(&on_light), dark.readable_on(&on_dark));
        let (text, text_dark) = (light.text_on(), dark.text_on());
        let _ = write!(css, " --accent: light-dark({}, {});", light.as_str(), dark.as_str());
        let _ = write!(css, " --accent-text: light-dark({}, {});", text.as_str(), text_dark.as_str());
    }
    for (name, pixels) in [("radius", radius), ("gutter", gutters)] {
        if let Some(pixels) = pixels {
            let _ = write!(css, " --{name}: {pixels}px;");
        }
    }
    css.push_str(" }\n");
    Ok(css)
}

/// A value, or `None` if the theme leaves it to the screen.
///
/// # Errors
/// The text is neither.
fn read<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, NotATheme> {
    if text == NONE { Ok(None) } else { parse(text).map(Some).ok_or(NotATheme) }
}

fn colour(digits: &str) -> Option<Colour> {
    let is_canonical = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    format!("#{digits}").parse().ok().filter(|_| is_canonical)
}

fn pixels(digits: &str, most: u8) -> Option<u8> {
    digits.parse().ok().filter(|pixels: &u8| *pixels <= most && pixels.to_string() == digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_theme_has_no_style_sheet() {
        for bad in [
            "",
            ".css",
            "3366ff-x-8.css",
            "3366ff-x-8-16-1.css",
            "3366FF-x-x-x.css",
            "36f-x-x-x.css",
            "x-x-33-x.css",
            "x-x-08-x.css",
            "x-x-x-65.css",
            "x-x-+8-x.css",
            "3366ff-x-8-16",
            "red;}-x-x-x.css",
        ] {
            assert_eq!(css(bad), Err(NotATheme), "{bad}");
        }
    }

    #[test]
    fn a_theme_sets_what_it_names_and_its_accent_is_readable() {
        let theme = Theme { accent: Some("#ffee00".parse().unwrap()), gutters: Some(0), ..Theme::default() };
        let path = path(&theme).unwrap();
        assert_eq!(path, "/theme/ffee00-x-x-0.css");
        let css = css(path.strip_prefix("/theme/").unwrap()).unwrap();
        assert!(css.contains("light-dark(#") && css.contains("--gutter: 0px;") && !css.contains("--radius"), "{css}");
        assert!(!css.contains("light-dark(#ffee00"), "yellow is not readable on white: {css}");
        assert!(css.contains(", #ffee00);"), "and is on the dark ground: {css}");
        assert_eq!(super::path(&Theme::default()), None);
    }
}
