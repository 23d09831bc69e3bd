//! The origins of web pages: those that may show the portal in a frame, and those to which it may lead back.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// The most characters of a page's URL.
pub const PAGE_URL_MAX: usize = 2048;

/// An origin: `https://host[:port]`, or the same with http on this machine (`localhost`, `127.0.0.1`, `[::1]`). It is
/// in the form in which browsers send it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct WebOrigin(String);

/// The error for a text that is not such an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an origin is https:// and a host, with a port if it has one and without a path, such as https://app.example.com; \
     http:// is only for this machine"
)]
pub struct NotAWebOrigin;

impl WebOrigin {
    /// The text, such as `https://app.example.com`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The origin of a page's URL; `None` if the URL is not `https` (or `http` on this machine), names a user or a
    /// password, or has another form. The second value is the URL as it was read.
    pub fn of_page(text: &str) -> Option<(Self, String)> {
        // The parser drops tabs and line breaks and turns `\` into `/`: such a text is not what its author reviewed.
        let is_plain = text.len() <= PAGE_URL_MAX && !text.chars().any(|c| c.is_control() || " \\".contains(c));
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

impl FromStr for WebOrigin {
    type Err = NotAWebOrigin;

    fn from_str(text: &str) -> Result<Self, NotAWebOrigin> {
        Self::of_page(text).map(|(origin, _)| origin).filter(|origin| origin.0 == text).ok_or(NotAWebOrigin)
    }
}

impl TryFrom<String> for WebOrigin {
    type Error = NotAWebOrigin;

    fn try_from(text: String) -> Result<Self, NotAWebOrigin> {
        text.parse()
    }
}

impl fmt::Display for WebOrigin {
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
            assert_eq!(good.parse::<WebOrigin>().unwrap().as_str(), good);
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
            assert_eq!(bad.parse::<WebOrigin>(), Err(NotAWebOrigin), "{bad:?}");
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
            assert_eq!(WebOrigin::of_page(text).unwrap().0.as_str(), origin);
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
            &format!("https://app.example.com/{}", "x".repeat(PAGE_URL_MAX)),
        ] {
            assert_eq!(WebOrigin::of_page(bad), None, "{bad:?}");
        }
    }
}
