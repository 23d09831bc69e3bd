//! The URLs that a webhook may have: `https`, a public host name, and nothing that two parsers could read differently.
//!
//! The WHATWG parser (the `url` crate) repairs many faults: it drops tabs, turns `\` into `/`, full-width letters into
//! ASCII and `0x7f.1` into 127.0.0.1. A repaired URL may lead elsewhere than the URL that was reviewed, so this module
//! refuses it and says what to change. The following changes are not repairs, so they are made: lower case for scheme
//! and host, IDNA, percent-encoding of non-ASCII in path and query, dot segments, and dropping `:443`. The result is
//! canonical: parsing it again gives the same URL.
//!
//! Only the spelling is checked here, and no name is looked up. A public name can point anywhere, so the address is
//! checked when a connection is made ([`address`](crate::domain::address)).
//!
//! Path and query count as secret (some are capabilities): neither `Debug` nor a refusal repeats them.

use std::{cell::Cell, fmt};

use serde::{Serialize, Serializer};
use url::{Host, ParseError, SyntaxViolation, Url};

use super::address::{AllowList, HOST_MAX_BYTES, LABEL_MAX_BYTES, is_host_label, is_number};

/// The most octets a URL may have, as given and in its canonical form.
pub const URL_MAX_BYTES: usize = 2048;

/// The port of a URL that names none.
const HTTPS_PORT: u16 = 443;

/// Top-level names that never lead to a public host, and the document that says so. Delegated ones (`.host`, `.box`)
/// must stay out.
pub const PRIVATE_SUFFIXES: &[(&str, &str)] = &[
    ("alt", "RFC 9476"),
    ("arpa", "RFC 3172"),
    ("consul", "by convention"),
    ("corp", "RFC 6762, appendix G"),
    ("domain", "by convention"),
    ("example", "RFC 6761"),
    ("home", "RFC 6762, appendix G"),
    ("internal", "ICANN, 2024"),
    ("intranet", "RFC 6762, appendix G"),
    ("invalid", "RFC 6761"),
    ("lan", "RFC 6762, appendix G"),
    ("local", "RFC 6762"),
    ("localdomain", "by convention"),
    ("localdomain4", "by convention"),
    ("localdomain6", "by convention"),
    ("localhost", "RFC 6761"),
    ("localnet", "by convention"),
    ("onion", "RFC 7686"),
    ("private", "RFC 6762, appendix G"),
    ("svc", "by convention"),
    ("test", "RFC 6761"),
    ("workgroup", "by convention"),
];

/// Ports of other protocols, which no HTTPS endpoint has (WHATWG Fetch, "bad port").
const BAD_PORTS: &[u16] = &[
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110,
    111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532,
    540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061,
    6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
];

/// The URL of a webhook, in canonical form. Serialized as a string, path and query included.
///
/// There is no `Display`: code that prints a URL chooses between [`as_str`](Self::as_str) and
/// [`redacted`](Self::redacted).
#[derive(Clone, PartialEq, Eq, Hash, utoipa::ToSchema)]
#[schema(value_type = String, format = "uri", pattern = "^https://")]
pub struct EndpointUrl(Url);

/// The reason why a URL is refused. Its `Display` tells the customer what to change, and never contains a path or a
/// query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefusal {
    /// The scheme is missing or another, or is not followed by two slashes.
    #[error("the URL must begin with https://")]
    NotHttps,
    /// More than [`URL_MAX_BYTES`].
    #[error("the URL is longer than {URL_MAX_BYTES} characters (after percent-encoding)")]
    TooLong,
    /// A space, a line break, a tab or another control character.
    #[error("the URL has a space, a line break or another invisible character; remove it, or write %20 for a space")]
    ControlOrSpace,
    /// `\`, which some parsers read as `/`.
    #[error("the URL has a backslash; write / or %5C")]
    Backslash,
    /// A fragment: `#` and the text after it, which is never sent.
    #[error("the URL has a fragment (#…), which is never sent; remove it")]
    Fragment,
    /// `user:password@` before the host, or an `@` alone.
    #[error("the URL has credentials before an @; remove them and use the webhook's authentication instead")]
    Credentials,
    /// Nothing between `https://` and the path.
    #[error("the URL has no host name")]
    NoHost,
    /// An IP address in any spelling, public or not.
    #[error("the URL's host is an IP address; use a host name")]
    IpAddress,
    /// A port that is neither empty nor 1 to 65535 in ASCII digits.
    #[error("the URL's port must be a number from 1 to 65535")]
    Port,
    /// A port of another protocol.
    #[error("port {0} belongs to another protocol than HTTPS; use another port")]
    BadPort(u16),
    /// More than 253 octets.
    #[error("the host name is longer than {HOST_MAX_BYTES} characters")]
    HostTooLong,
    /// More than 63 octets between two dots.
    #[error("a part of the host name is longer than {LABEL_MAX_BYTES} characters")]
    LabelTooLong,
    /// Two dots in a row, or one at the start or the end.
    #[error("the host name begins or ends with a dot, or has two in a row")]
    EmptyLabel,
    /// Something other than letters, digits, underscores and inner hyphens.
    #[error("the host name may have only letters, digits, underscores, dots, and hyphens inside its parts")]
    HostCharacter,
    /// Letters that IDNA does not allow, or an `xn--` part that decodes to such letters or cannot be decoded.
    #[error("the host name is not a valid internationalized domain name")]
    Idna,
    /// Characters that IDNA drops or replaces, so that the name looked up would differ from the name written.
    #[error("the host name has characters that stand for others, and would be read as {0}; write that if you mean it")]
    HostReplaced(String),
    /// A name without a dot.
    #[error("{0} is not a public host name: it has no dot")]
    SingleLabel(String),
    /// A last part with an underscore: the public DNS has none.
    #[error("{0} is not a public host name: its last part has an underscore")]
    UnderscoreInLast(String),
    /// A name that is reserved or used for private networks.
    #[error("{host} is not a public host name: .{suffix} is not in the public DNS ({source_name})")]
    PrivateName {
        /// The host of the URL.
        host: String,
        /// Its last label.
        suffix: &'static str,
        /// The document that set it aside.
        source_name: &'static str,
    },
    /// A character in path or query that the URL standard wants percent-encoded.
    #[error("the URL's path or query has a character that must be percent-encoded, such as \" < > [ ] {{ | }} ^ or `")]
    Unencoded,
    /// `%` without two hexadecimal digits after it.
    #[error("the URL has a % that is not followed by two hexadecimal digits; write %25 for the sign itself")]
    PercentEscape,
    /// Another fault that the parser found.
    #[error("the URL is not valid ({0})")]
    Invalid(ParseError),
}

impl EndpointUrl {
    /// Checks and parses a customer's URL. Hosts on the allow list may be private names or single labels; every other
    /// rule applies to them.
    pub fn parse(input: &str, allow: &AllowList) -> Result<Self, UrlRefusal> {
        let url = Self::parse_spelling(input)?;
        if !allow.permits_host(url.host()) {
            judge_public(url.host())?;
        }
        Ok(url)
    }

    /// Parses a URL that was checked when it was saved. The allow list at that time decided whether it may have a
    /// private name, so that is not checked again; every other rule applies. It is not for a customer's input, which is
    /// why there is no `Deserialize`.
    pub fn from_saved(text: &str) -> Result<Self, UrlRefusal> {
        Self::parse_spelling(text)
    }

    /// The URL in full. Path and query are secret.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The URL in full, for the HTTP client. Path and query are secret.
    pub fn as_url(&self) -> &Url {
        &self.0
    }

    /// The host name: lower case, ASCII, no trailing dot, never an IP address.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The TCP port, 443 if the URL names none.
    pub fn port(&self) -> u16 {
        self.0.port().unwrap_or(HTTPS_PORT)
    }

    /// The form for logs and errors: `https://host:port/…`.
    pub fn redacted(&self) -> String {
        format!("https://{}:{}/…", self.host(), self.port())
    }

    /// Applies every rule except that the name must be public.
    fn parse_spelling(input: &str) -> Result<Self, UrlRefusal> {
        let authority = judge_text(input)?;
        let written_host = judge_authority(authority)?;
        let url = parse_without_repair(input)?;
        let Some(Host::Domain(host)) = url.host() else { return Err(UrlRefusal::IpAddress) };
        judge_host(host)?;
        if !reads_as(written_host, host) {
            return Err(UrlRefusal::HostReplaced(host.to_owned()));
        }
        if url.as_str().len() > URL_MAX_BYTES {
            return Err(UrlRefusal::TooLong);
        }
        Ok(Self(url))
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EndpointUrl").field(&self.redacted()).finish()
    }
}

impl Serialize for EndpointUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Checks the text as a whole; returns the part between `https://` and the path or query.
fn judge_text(input: &str) -> Result<&str, UrlRefusal> {
    const SCHEME: &str = "https://";
    if input.len() > URL_MAX_BYTES {
        return Err(UrlRefusal::TooLong);
    }
    if input.chars().any(|character| character.is_control() || character.is_whitespace()) {
        return Err(UrlRefusal::ControlOrSpace);
    }
    match input.get(..SCHEME.len()) {
        Some(scheme) if scheme.eq_ignore_ascii_case(SCHEME) => {}
        _ => return Err(UrlRefusal::NotHttps),
    }
    if input.contains('\\') {
        return Err(UrlRefusal::Backslash);
    }
    if input.contains('#') {
        return Err(UrlRefusal::Fragment);
    }
    Ok(input[SCHEME.len()..].split(['/', '?']).next().unwrap_or_default())
}

/// Checks `host[:port]` as it was written; returns the host.
fn judge_authority(authority: &str) -> Result<&str, UrlRefusal> {
    if authority.contains('@') {
        return Err(UrlRefusal::Credentials);
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    if authority.contains(['[', ']']) || port.contains(':') {
        return Err(UrlRefusal::IpAddress);
    }
    if host.is_empty() {
        return Err(UrlRefusal::NoHost);
    }
    if host.contains('%') {
        return Err(UrlRefusal::HostCharacter);
    }
    if !port.is_empty() {
        judge_port(port)?;
    }
    Ok(host)
}

fn judge_port(digits: &str) -> Result<(), UrlRefusal> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UrlRefusal::Port);
    }
    match digits.parse::<u16>() {
        Ok(0) | Err(_) => Err(UrlRefusal::Port),
        Ok(port) if BAD_PORTS.contains(&port) => Err(UrlRefusal::BadPort(port)),
        Ok(_) => Ok(()),
    }
}

/// The WHATWG parser's result; an error if the parser had to repair something.
fn parse_without_repair(input: &str) -> Result<Url, UrlRefusal> {
    let violation = Cell::new(None);
    let note = |found| violation.set(Some(found));
    let url = Url::options().syntax_violation_callback(Some(&note)).parse(input).map_err(|error| match error {
        ParseError::EmptyHost => UrlRefusal::NoHost,
        ParseError::InvalidIpv4Address | ParseError::InvalidIpv6Address => UrlRefusal::IpAddress,
        ParseError::InvalidDomainCharacter => UrlRefusal::HostCharacter,
        ParseError::IdnaError => UrlRefusal::Idna,
        ParseError::InvalidPort => UrlRefusal::Port,
        other => UrlRefusal::Invalid(other),
    })?;
    match violation.get() {
        None => Ok(url),
        Some(SyntaxViolation::PercentDecode) => Err(UrlRefusal::PercentEscape),
        Some(_) => Err(UrlRefusal::Unencoded),
    }
}

/// Checks the form of a host name in lower-case ASCII.
fn judge_host(host: &str) -> Result<(), UrlRefusal> {
    if host.len() > HOST_MAX_BYTES {
        return Err(UrlRefusal::HostTooLong);
    }
    for label in host.split('.') {
        if label.is_empty() {
            return Err(UrlRefusal::EmptyLabel);
        }
        if label.len() > LABEL_MAX_BYTES {
            return Err(UrlRefusal::LabelTooLong);
        }
        if !is_host_label(label) {
            return Err(UrlRefusal::HostCharacter);
        }
        // No registry allows a label that decodes to another label with this prefix (UTS 46, validity criterion 4).
        if label.starts_with("xn--") && url::quirks::domain_to_unicode(label).starts_with("xn--") {
            return Err(UrlRefusal::Idna);
        }
    }
    if host.rsplit('.').next().is_some_and(is_number) {
        return Err(UrlRefusal::IpAddress);
    }
    Ok(())
}

/// Whether the host as `written` equals the `canonical` one, apart from letter case and punycode: nothing was dropped
/// (soft hyphens) and nothing replaced (full-width letters, ideographic full stops, the Kelvin sign).
fn reads_as(written: &str, canonical: &str) -> bool {
    let mut canonical_labels = canonical.split('.');
    written.split('.').all(|label| canonical_labels.next().is_some_and(|canonical| label_reads_as(label, canonical)))
        && canonical_labels.next().is_none()
}

fn label_reads_as(written: &str, canonical: &str) -> bool {
    if written.is_ascii() {
        return written.eq_ignore_ascii_case(canonical);
    }
    let becomes_ascii = |character: char| !character.is_ascii() && character.to_lowercase().any(|c| c.is_ascii());
    !written.chars().any(becomes_ascii)
        && written.chars().flat_map(char::to_lowercase).eq(url::quirks::domain_to_unicode(canonical).chars())
}

/// Checks whether a name of the right form can be in the public DNS.
fn judge_public(host: &str) -> Result<(), UrlRefusal> {
    let Some((_, last)) = host.rsplit_once('.') else { return Err(UrlRefusal::SingleLabel(host.to_owned())) };
    if last.contains('_') {
        return Err(UrlRefusal::UnderscoreInLast(host.to_owned()));
    }
    match PRIVATE_SUFFIXES.iter().find(|(suffix, _)| *suffix == last) {
        Some(&(suffix, source_name)) => Err(UrlRefusal::PrivateName { host: host.to_owned(), suffix, source_name }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
