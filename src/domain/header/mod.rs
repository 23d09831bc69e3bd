//! The header that a customer may choose to authenticate deliveries, and its value.
//!
//! A webhook can send one header of its own (or a bearer token). It is added to requests that Lynkhook frames, and
//! passes proxies on its way. So a name that decides how a request is framed, routed or understood is refused: see
//! [`RESERVED`]. The grammar is RFC 9110, 5.1 (names) and 5.5 (values), narrowed to ASCII.
//!
//! Values are secrets. A refusal never repeats a value, nor a name that is not in the table: a customer may have pasted
//! the secret into the wrong field.

use std::fmt;

use ReservedName::{Exactly, StartingWith};

/// The most octets a header name may have.
pub const NAME_MAX_BYTES: usize = 128;
/// The most octets that a header value or a bearer token may have: as many as common servers accept for a whole header
/// block.
pub const VALUE_MAX_BYTES: usize = 8192;

/// A name, or a family of names, that a customer may not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReservedName {
    /// This name, in lower case.
    Exactly(&'static str),
    /// Every name that begins with this, in lower case.
    StartingWith(&'static str),
}

impl ReservedName {
    fn covers(self, name: &str) -> bool {
        match self {
            Exactly(reserved) => name.eq_ignore_ascii_case(reserved),
            StartingWith(prefix) => name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)),
        }
    }
}

/// Written as `cookie` or `content-*`.
impl fmt::Display for ReservedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exactly(name) => f.write_str(name),
            StartingWith(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// The reserved names, each with its use; the reason follows "… is reserved:".
pub const RESERVED: &[(&str, &[ReservedName])] = &[
    (
        "it controls the connection or the framing of the request",
        &[
            Exactly("connection"),
            Exactly("keep-alive"),
            Exactly("transfer-encoding"),
            Exactly("te"),
            Exactly("trailer"),
            Exactly("upgrade"),
            Exactly("expect"),
            Exactly("http2-settings"),
            Exactly("alt-svc"),
            Exactly("alt-used"),
            Exactly("early-data"),
            Exactly("max-forwards"),
            Exactly("close"),
            Exactly("proxy"),
            StartingWith("proxy-"),
        ],
    ),
    (
        "it decides where the request is routed, or who seems to have sent it",
        &[
            Exactly("host"),
            Exactly("forwarded"),
            Exactly("via"),
            Exactly("x-forwarded"),
            StartingWith("x-forwarded-"),
            StartingWith("x-original-"),
            StartingWith("x-envoy-"),
            Exactly("x-rewrite-url"),
            Exactly("x-host"),
            Exactly("x-real-ip"),
            Exactly("x-client-ip"),
            Exactly("x-cluster-client-ip"),
            Exactly("client-ip"),
            Exactly("true-client-ip"),
            Exactly("cf-connecting-ip"),
            Exactly("fastly-client-ip"),
            Exactly("cdn-loop"),
        ],
    ),
    (
        "it describes the body or the response, which are the same for every webhook",
        &[
            StartingWith("content-"),
            Exactly("accept"),
            StartingWith("accept-"),
            Exactly("range"),
            StartingWith("if-"),
            Exactly("www-authenticate"),
            StartingWith("access-control-"),
        ],
    ),
    (
        "it would change the request's method",
        &[Exactly("x-http-method-override"), Exactly("x-http-method"), Exactly("x-method-override")],
    ),
    (
        "it belongs to browsers",
        &[
            Exactly("cookie"),
            Exactly("cookie2"),
            Exactly("set-cookie"),
            Exactly("set-cookie2"),
            Exactly("origin"),
            Exactly("referer"),
            StartingWith("sec-"),
        ],
    ),
    (
        "the sender of the deliveries sets it",
        &[
            StartingWith("webhook-"),
            StartingWith("svix-"),
            Exactly("user-agent"),
            Exactly("date"),
            Exactly("idempotency-key"),
            Exactly("traceparent"),
            Exactly("tracestate"),
            Exactly("baggage"),
        ],
    ),
];

/// The reason why a header is refused. Customers read its `Display`, which never contains the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderRefusal {
    /// No name.
    #[error("the header name is empty")]
    NameEmpty,
    /// More than [`NAME_MAX_BYTES`].
    #[error("the header name is longer than {NAME_MAX_BYTES} characters")]
    NameTooLong,
    /// Not a token of RFC 9110.
    #[error("the header name has a character ({}) that is not allowed; use letters, digits and hyphens", shown(*.0))]
    NameCharacter(char),
    /// The name is in [`RESERVED`].
    #[error("the header name {name} is reserved: {why}; choose another, such as X-Webhook-Secret")]
    NameReserved {
        /// The name, or the family to which it belongs.
        name: ReservedName,
        /// The use for which it is reserved.
        why: &'static str,
    },
    /// No value.
    #[error("the header value is empty")]
    ValueEmpty,
    /// More than [`VALUE_MAX_BYTES`].
    #[error("the header value is longer than {VALUE_MAX_BYTES} characters")]
    ValueTooLong,
    /// The value begins or ends with a space or a tab, which receivers cut off.
    #[error("the header value begins or ends with a space or a tab; remove it")]
    ValueEdge,
    /// A line break, another control character, or one that is not ASCII.
    #[error("the header value has a character that is not visible ASCII, such as a line break or an accented letter")]
    ValueCharacter,
    /// No token.
    #[error("the bearer token is empty")]
    TokenEmpty,
    /// More than [`VALUE_MAX_BYTES`].
    #[error("the bearer token is longer than {VALUE_MAX_BYTES} characters")]
    TokenTooLong,
    /// A space, a control character, or one that is not ASCII.
    #[error(
        "the bearer token has a space or a character that is not visible ASCII; give the token alone, without the word Bearer"
    )]
    TokenCharacter,
}

/// Splits a line `Name: value`. Blanks before the value are not part of it (RFC 9110, 5.5). It checks only that this is
/// one line.
pub fn read_line(line: &str) -> Option<(&str, &str)> {
    if line.contains(['\n', '\r']) {
        return None;
    }
    let (name, value) = line.split_once(':')?;
    Some((name, value.trim_start_matches([' ', '\t'])))
}

/// Whether the customer's header `name: value` may be sent.
pub fn judge(name: &str, value: &str) -> Result<(), HeaderRefusal> {
    judge_name(name)?;
    judge_value(value)
}

/// Whether `token` may be sent as `Authorization: Bearer <token>`.
pub fn judge_bearer(token: &str) -> Result<(), HeaderRefusal> {
    if token.is_empty() {
        Err(HeaderRefusal::TokenEmpty)
    } else if token.len() > VALUE_MAX_BYTES {
        Err(HeaderRefusal::TokenTooLong)
    } else if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err(HeaderRefusal::TokenCharacter)
    } else {
        Ok(())
    }
}

/// Whether a customer's header may have this name.
pub fn judge_name(name: &str) -> Result<(), HeaderRefusal> {
    if name.is_empty() {
        return Err(HeaderRefusal::NameEmpty);
    }
    if name.len() > NAME_MAX_BYTES {
        return Err(HeaderRefusal::NameTooLong);
    }
    if let Some(character) = name.chars().find(|&character| !is_token_character(character)) {
        return Err(HeaderRefusal::NameCharacter(character));
    }
    for &(why, names) in RESERVED {
        if let Some(&name) = names.iter().find(|reserved| reserved.covers(name)) {
            return Err(HeaderRefusal::NameReserved { name, why });
        }
    }
    Ok(())
}

/// Whether a customer's header may have this value.
pub fn judge_value(value: &str) -> Result<(), HeaderRefusal> {
    let blank = [' ', '\t'];
    if value.is_empty() {
        Err(HeaderRefusal::ValueEmpty)
    } else if value.len() > VALUE_MAX_BYTES {
        Err(HeaderRefusal::ValueTooLong)
    } else if !value.chars().all(|character| character.is_ascii_graphic() || blank.contains(&character)) {
        Err(HeaderRefusal::ValueCharacter)
    } else if value.starts_with(blank) || value.ends_with(blank) {
        Err(HeaderRefusal::ValueEdge)
    } else {
        Ok(())
    }
}

/// `tchar` of RFC 9110, 5.6.2.
fn is_token_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
}

/// A character in a form that can be shown anywhere: the character itself if it is visible ASCII, else its number.
fn shown(character: char) -> String {
    if character.is_ascii_graphic() { character.to_string() } else { format!("U+{:04X}", u32::from(character)) }
}

#[cfg(test)]
mod tests;
