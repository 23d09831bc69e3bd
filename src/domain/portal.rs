//! The portal: the screen on which a platform's customer manages the webhooks of an account. This module has the words
//! for what a link or a session allows, and the rules for the texts of a platform that end up in the screen's pages.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{origin::WebOrigin, text::is_bidi_control};

/// The most characters of a name that the platform gives: its user's, and its product's.
pub const LABEL_MAX: usize = 64;
/// The largest radius of corners, in CSS pixels.
pub const RADIUS_MAX: u8 = 32;
/// The widest space at the screen's sides, in CSS pixels.
pub const GUTTERS_MAX: u8 = 64;
/// The least contrast of text with its ground (WCAG 2, level AA).
pub const CONTRAST_MIN: f64 = 4.5;
/// The steps from a colour to black or white. The first one that is readable is taken.
const STEPS: u16 = 100;

/// The access of a portal's visitor to the webhooks of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PortalAccess {
    /// Look at webhooks and logs.
    Read,
    /// Change them too.
    Manage,
}

/// The rights of a link, and of the session that it opens, and its look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// The access to webhooks.
    pub access: PortalAccess,
    /// Whether the visitor may read the envelopes of held and failed deliveries.
    pub payloads: bool,
    /// The platform's name for the visitor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The origin whose pages may show the screen in a frame; `None`: no page may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embed: Option<WebOrigin>,
    /// The look of the screen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theme: Option<Theme>,
    /// The page of the platform to which the screen leads back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_url: Option<String>,
}

/// The ground of the screen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ThemeMode {
    /// As the visitor's system has it.
    #[default]
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

/// The look of the screen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Theme {
    /// The ground.
    #[serde(default, skip_serializing_if = "ThemeMode::is_system")]
    pub mode: ThemeMode,
    /// The colour of buttons and links; `None`: the screen's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accent: Option<Colour>,
    /// The same on a dark ground; `None`: `accent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accent_dark: Option<Colour>,
    /// The radius of corners in CSS pixels, 0 to 32; `None`: the screen's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius: Option<u8>,
    /// The space at the screen's sides in CSS pixels, 0 to 64; `None`: the screen's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gutters: Option<u8>,
    /// The platform's name for the product of which the screen is a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_name: Option<String>,
}

impl ThemeMode {
    // Serde passes a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_system(&self) -> bool {
        *self == Self::System
    }
}

/// A colour: `#` and six lower-case hexadecimal digits, nothing else, because it ends up in a style sheet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Colour(String);

/// The error for a text that is not a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a colour is # and six hexadecimal digits, such as #3366ff")]
pub struct NotAColour;

impl Colour {
    /// The text, such as `#3366ff`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Red, green and blue.
    fn channels(&self) -> [u8; 3] {
        [1, 3, 5].map(|at| u8::from_str_radix(&self.0[at..at + 2], 16).unwrap_or_default())
    }

    fn of([red, green, blue]: [u8; 3]) -> Self {
        Self(format!("#{red:02x}{green:02x}{blue:02x}"))
    }

    /// The relative luminance of WCAG 2, from 0 (black) to 1 (white).
    fn luminance(&self) -> f64 {
        let linear = |channel: u8| match f64::from(channel) / 255.0 {
            low @ ..=0.04045 => low / 12.92,
            high => ((high + 0.055) / 1.055).powf(2.4),
        };
        let [red, green, blue] = self.channels().map(linear);
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    /// The contrast of two colours by WCAG 2, from 1 (none) to 21 (black with white).
    pub fn contrast(&self, other: &Self) -> f64 {
        let (one, other) = (self.luminance(), other.luminance());
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    /// Black or white: the one that is easier to read on this colour. Its contrast is always 4.5 or more.
    #[must_use]
    pub fn text_on(&self) -> Self {
        let [black, white] = [0, 255].map(|channel| Self::of([channel; 3]));
        if self.contrast(&black) >= self.contrast(&white) { black } else { white }
    }

    /// This colour, if text in it is readable on this ground; otherwise the nearest readable one on the way to the
    /// ground's [`text_on`](Self::text_on). The hue stays.
    #[must_use]
    pub fn readable_on(&self, ground: &Self) -> Self {
        let end = ground.text_on();
        let mixed = |step: u16| {
            let mix = |from: u8, to: u8| (u16::from(from) * (STEPS - step) + u16::from(to) * step) / STEPS;
            let pairs = self.channels().into_iter().zip(end.channels());
            let mut channels = pairs.map(|(from, to)| u8::try_from(mix(from, to)).unwrap_or(u8::MAX));
            Self::of(std::array::from_fn(|_| channels.next().unwrap_or_default()))
        };
        let readable = (0..STEPS).map(mixed).find(|colour| colour.contrast(ground) >= CONTRAST_MIN);
        readable.unwrap_or(end)
    }
}

impl FromStr for Colour {
    type Err = NotAColour;

    fn from_str(text: &str) -> Result<Self, NotAColour> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6).ok_or(NotAColour)?;
        let fits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if fits { Ok(Self(text.to_ascii_lowercase())) } else { Err(NotAColour) }
    }
}

impl TryFrom<String> for Colour {
    type Error = NotAColour;

    fn try_from(text: String) -> Result<Self, NotAColour> {
        text.parse()
    }
}

/// Whether a text can be a name that the platform gives: 1 to 64 characters, none of which controls the text around it.
pub fn is_label(text: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && !is_bidi_control(c);
    (1..=LABEL_MAX).contains(&text.chars().count()) && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn colour(text: &str) -> Colour {
        text.parse().unwrap()
    }

    #[test]
    fn a_colour_is_six_digits_and_cannot_hold_a_style() {
        assert_eq!("#3366FF".parse::<Colour>().unwrap().as_str(), "#3366ff");
        for bad in ["", "#", "#fff", "3366ff", "#3366f", "#3366ff;", "#3366fg", "red", "#3366ff\n", "#３３６６ff"] {
            assert_eq!(bad.parse::<Colour>(), Err(NotAColour), "{bad:?}");
        }
    }

    #[test]
    fn what_was_stored_is_judged_again_when_it_is_read() {
        let good = r##"{"access":"manage","payloads":false,"theme":{"accent":"#3366ff"}}"##;
        assert_eq!(serde_json::to_string(&serde_json::from_str::<Grant>(good).unwrap()).unwrap(), good);
        for bad in [good.replace("#3366ff", "red;"), good.replace("manage", "all")] {
            assert!(serde_json::from_str::<Grant>(&bad).is_err(), "{bad}");
        }
    }
    #[test]
    fn a_theme_of_an_older_version_is_read_and_one_may_have_only_a_mode() {
        for (stored, mode) in [
            (r##"{"accent":"#3366ff","accentDark":"#88aaff","radius":8}"##, ThemeMode::System),
            (r#"{"mode":"dark"}"#, ThemeMode::Dark),
            (r#"{"mode":"light","gutters":16,"productName":"TalentLynk"}"#, ThemeMode::Light),
            ("{}", ThemeMode::System),
        ] {
            let theme: Theme = serde_json::from_str(stored).unwrap();
            assert_eq!((theme.mode, serde_json::to_string(&theme).unwrap().as_str()), (mode, stored));
        }
    }

    #[test]
    fn a_label_has_1_to_64_characters_and_does_not_turn_the_text_around_it() {
        for good in ["x", "Jo \"x\"", "Ünïcode 株式会社", &"é".repeat(64)] {
            assert!(is_label(good), "{good}");
        }
        for bad in ["", &"x".repeat(65), "a\nb", "a\u{85}", "a\u{202e}b", "\u{2066}a", "a\u{200f}", "\u{61c}"] {
            assert!(!is_label(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_contrast_is_that_of_wcag() {
        // From the examples of https://www.w3.org/WAI/WCAG21/Techniques/general/G18 and its calculators.
        for (one, other, ratio) in [
            ("#000000", "#ffffff", 21.0),
            ("#777777", "#ffffff", 4.48),
            ("#ff0000", "#ffffff", 4.0),
            ("#3366ff", "#3366ff", 1.0),
        ] {
            let found = colour(one).contrast(&colour(other));
            assert!((found - ratio).abs() < 0.01, "{one} {other}: {found}");
            assert!((found - colour(other).contrast(&colour(one))).abs() < 1e-9);
        }
        for (ground, text) in
            [("#ffffff", "#000000"), ("#14171a", "#ffffff"), ("#ffdd00", "#000000"), ("#3333aa", "#ffffff")]
        {
            assert_eq!(colour(ground).text_on().as_str(), text, "{ground}");
        }
    }

    #[test]
    fn a_colour_that_is_not_readable_is_moved_no_further_than_needed() {
        assert_eq!(colour("#ffff00").readable_on(&colour("#ffffff")).as_str(), "#7a7a00");
        assert_eq!(colour("#0000ff").readable_on(&colour("#14171a")).as_str(), "#6d6dff");
        assert_eq!(colour("#3344cc").readable_on(&colour("#ffffff")).as_str(), "#3344cc");
    }

    /// The hue in degrees, and the chroma: the difference of the largest and the smallest channel.
    #[expect(clippy::float_cmp, reason = "channels are whole numbers")]
    fn hue(colour: &Colour) -> (f64, f64) {
        let [red, green, blue] = colour.channels().map(f64::from);
        let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
        let chroma = most - least;
        let part = |one: f64, other: f64, turn: f64| 60.0 * ((one - other) / chroma + turn);
        let degrees = if chroma == 0.0 {
            0.0
        } else if most == red {
            part(green, blue, 0.0)
        } else if most == green {
            part(blue, red, 2.0)
        } else {
            part(red, green, 4.0)
        };
        (degrees.rem_euclid(360.0), chroma)
    }

    proptest! {
        #[test]
        fn every_colour_becomes_readable_on_every_ground_and_keeps_its_hue(
            channels in any::<[u8; 3]>(),
            ground in prop_oneof![Just([0xff; 3]), Just([0x14, 0x17, 0x1a]), any::<[u8; 3]>()],
        ) {
            let (colour, ground) = (Colour::of(channels), Colour::of(ground));
            let readable = colour.readable_on(&ground);
            prop_assert!(readable.contrast(&ground) >= CONTRAST_MIN, "{readable:?} on {ground:?}");
            prop_assert!(ground.text_on().contrast(&ground) >= CONTRAST_MIN);
            prop_assert_eq!(readable.readable_on(&ground), readable.clone());
            prop_assert_eq!(readable.as_str().parse::<Colour>(), Ok(readable.clone()));
            if colour.contrast(&ground) >= CONTRAST_MIN {
                prop_assert_eq!(&readable, &colour);
            }
            // Near grey, rounding a channel turns the hue far.
            let ((before, _), (after, chroma)) = (hue(&colour), hue(&readable));
            let turn = (before - after).abs();
            prop_assert!(chroma < 20.0 || turn.min(360.0 - turn) * chroma < 120.0, "{colour:?} {readable:?}: {turn}");
        }
    }
}
