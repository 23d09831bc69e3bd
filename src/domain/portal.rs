//! The portal: the screen on which a platform's customer manages the webhooks of an account. This module has the words
//! for what a link or a session allows, and the rules for the texts of a platform that end up in the screen's pages.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::origin::WebOrigin;

/// The most characters of a user's name.
pub const USER_MAX: usize = 64;
/// The largest radius of corners, in CSS pixels.
pub const RADIUS_MAX: u8 = 32;

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

/// The look of the screen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Theme {
    /// The colour of buttons and links.
    pub accent: Colour,
    /// The same on a dark ground; `None`: `accent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accent_dark: Option<Colour>,
    /// The radius of corners in CSS pixels, 0 to 32; `None`: the screen's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius: Option<u8>,
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

/// Whether a text can be the platform's name for a visitor: 1 to 64 characters, none of them a control character.
pub fn is_user(text: &str) -> bool {
    (1..=USER_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
