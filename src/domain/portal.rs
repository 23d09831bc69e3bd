//! The portal: the screen on which a platform's customer manages the webhooks of an account. This module has the words
//! for what a link or a session allows, and the rules for the texts of a platform that end up in the screen's pages.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// The most characters of a user's name.
pub const USER_MAX: usize = 64;
/// The most characters of the URL that leads back to the platform.
pub const RETURN_URL_MAX: usize = 2048;
/// The largest radius of corners, in CSS pixels.
pub const RADIUS_MAX: u8 = 32;

/// The access of a portal's visitor to the webhooks of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PortalAccess {
    /// Look at webhooks and logs.
    View,
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
    pub embed: Option<Origin>,
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

/// An origin: `https://host[:port]`, or the same with http on this machine (`localhost`, `127.0.0.1`, `[::1]`). It is
/// in the form in which browsers send it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Origin(String);

/// The error for a text that is not such an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an origin is https:// and a host, with a port if it has one and without a path, such as https://app.example.com; \
     http:// is only for this machine"
)]
pub struct NotAnOrigin;

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

impl Origin {
    /// The text, such as `https://app.example.com`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The origin of a page's URL; `None` if the URL is not `https` (or `http` on this machine), names a user or a
    /// password, or has another form. The second value is the URL as it was read.
    pub fn of_page(text: &str) -> Option<(Self, String)> {
        // The parser drops tabs and line breaks and turns `\` into `/`: such a text is not what its author reviewed.
        let is_plain = text.len() <= RETURN_URL_MAX && !text.chars().any(|c| c.is_control() || " \\".contains(c));
        let url = Url::parse(text).ok().filter(|_| is_plain)?;
        let is_served = match url.scheme() {
            "https" => url.host().is_some(),
            "http" => url.host().is_some_and(|host| is_this_machine(&host)),
            _ => false,
        };
        let names_nobody = url.username().is_empty() && url.password().is_none();
        (is_served && names_nobody).then(|| (Self(url.origin().ascii_serialization()), url.into()))
    }
}

impl FromStr for Origin {
    type Err = NotAnOrigin;

    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        Self::of_page(text).map(|(origin, _)| origin).filter(|origin| origin.0 == text).ok_or(NotAnOrigin)
    }
}

impl TryFrom<String> for Origin {
    type Error = NotAnOrigin;

    fn try_from(text: String) -> Result<Self, NotAnOrigin> {
        text.parse()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_this_machine(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => IpAddr::from(*address).is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
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
    fn an_origin_is_https_or_this_machine_in_the_form_of_browsers() {
        for good in [
            "https://app.example.com",
            "https://app.example.com:8443",
            "https://192.0.2.1",
            "http://localhost:3000",
            "http://127.0.0.1:3000",
            "http://[::1]",
        ] {
            assert_eq!(good.parse::<Origin>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "null",
            "*",
            "app.example.com",
            "http://app.example.com",
            "https://app.example.com/",
            "https://app.example.com:443",
            "https://App.example.com",
            "https://a@app.example.com",
            "https://app.example.com?x",
            "https://app.example.com; script-src *",
            "https://app.example.com\n",
            "https://",
            "http://localhost.example.com",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
        ] {
            assert_eq!(bad.parse::<Origin>(), Err(NotAnOrigin), "{bad:?}");
        }
    }

    #[test]
    fn a_page_has_the_origin_that_a_browser_would_go_to() {
        for (text, origin) in [
            ("https://app.example.com/settings?tab=webhooks#x", "https://app.example.com"),
            ("https://APP.example.com:443/", "https://app.example.com"),
            ("https://app.example.com.evil.example/", "https://app.example.com.evil.example"),
            ("http://localhost:3000/back", "http://localhost:3000"),
        ] {
            assert_eq!(Origin::of_page(text).unwrap().0.as_str(), origin);
        }
        for bad in [
            "/settings",
            "//evil.example/",
            "https:\\\\evil.example",
            "https://app.example.com@evil.example/",
            "https://app.example.com\t.evil.example/",
            "https://app.example.com\\@evil.example",
            "http://app.example.com/",
            "javascript:alert(1)",
            &format!("https://app.example.com/{}", "x".repeat(RETURN_URL_MAX)),
        ] {
            assert_eq!(Origin::of_page(bad), None, "{bad:?}");
        }
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
}
