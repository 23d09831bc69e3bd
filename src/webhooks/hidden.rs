//! Hides a webhook's own secret in the texts that its receiver sends back.
//!
//! The secret is found as it is, in lower case, and as JSON, HTML, percent-encoding or Base64 write it, Base64 also of a
//! longer text. A receiver that changes it in another way, such as letter by letter, hides it from this module too.

use base64::{
    Engine,
    engine::GeneralPurpose,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};
use http::{HeaderMap, header::AUTHORIZATION};
use zeroize::Zeroizing;

use crate::domain::webhook::{Authentication, mask};

/// The least length of a secret's Base64 inside another text that is looked for.
const INSIDE_LEAST: usize = 6;

/// The secret of one request in each form in which it is found, and the mask that replaces it.
#[derive(Default)]
pub(super) struct Hidden {
    /// The longest first.
    forms: Vec<Zeroizing<String>>,
    mask: String,
}

impl Hidden {
    /// The secret of a request with these headers, in which it is marked as sensitive.
    pub(super) fn new(authentication: &Authentication, headers: &HeaderMap) -> Self {
        let sensitive = headers.iter().find(|(_, value)| value.is_sensitive());
        let Some((name, Ok(whole))) = sensitive.map(|(name, value)| (name, value.to_str())) else {
            return Self::default();
        };
        let credentials = whole.split_once(' ').filter(|_| *name == AUTHORIZATION).map(|(_, credentials)| credentials);
        let secret = match authentication {
            Authentication::Bearer { .. } => credentials.unwrap_or(whole),
            Authentication::None | Authentication::Header { .. } => whole,
        };
        let mut forms: Vec<Zeroizing<String>> =
            [Some(secret), credentials].into_iter().flatten().flat_map(written).collect();
        forms.extend(encoded(whole));
        forms.retain(|form| !form.is_empty());
        forms.sort_by(|one, other| (other.len(), one.as_str()).cmp(&(one.len(), other.as_str())));
        forms.dedup();
        Self { forms, mask: mask(secret) }
    }

    /// A text with the mask in place of the secret.
    pub(super) fn hide(&self, text: &str) -> String {
        self.forms.iter().fold(text.to_owned(), |text, form| text.replace(form.as_str(), &self.mask))
    }

    /// The beginning of a receiver's bytes as text, at most `max_bytes` long, and whether it is all. Bytes that are no
    /// text are replaced. A secret that the end cuts is left out.
    pub(super) fn excerpt(&self, bytes: &[u8], max_bytes: usize, is_whole: bool) -> (String, bool) {
        let is_whole = is_whole && bytes.len() <= max_bytes;
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(max_bytes)]);
        let text = if is_whole { &*text } else { text.trim_end_matches(char::REPLACEMENT_CHARACTER) };
        let mut text = self.hide(text);
        if !is_whole {
            let cut = self.forms.iter().map(|form| cut_off(form, &text)).max().unwrap_or(0);
            text.truncate(text.len() - cut);
        }
        let end = text.floor_char_boundary(max_bytes);
        let is_whole = is_whole && end == text.len();
        text.truncate(end);
        (text, is_whole)
    }
}

/// The length of the longest beginning of `form` with which `text` ends.
fn cut_off(form: &str, text: &str) -> usize {
    let longest = form.len().min(text.len());
    (1..=longest).rev().find(|&length| form.as_bytes()[..length] == text.as_bytes()[text.len() - length..]).unwrap_or(0)
}

/// The ways in which a secret is written.
fn written(secret: &str) -> impl Iterator<Item = Zeroizing<String>> {
    let json = serde_json::to_string(secret).unwrap_or_default();
    let json = json.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned();
    let percent = |plain: &[u8], hex: fn(u8) -> String| {
        let byte = |b: u8| if b.is_ascii_alphanumeric() || plain.contains(&b) { char::from(b).into() } else { hex(b) };
        secret.bytes().map(byte).collect::<String>()
    };
    // Languages differ in what they leave plain: all, those of URLs, JavaScript and form encoders, Python.
    let plain: [&[u8]; 4] = [b"-._~", b"-._~!*'()", b"-._*", b"-._~/"];
    let percents =
        plain.map(|plain| [percent(plain, |b| format!("%{b:02X}")), percent(plain, |b| format!("%{b:02x}"))]);
    let plus = percents.each_ref().map(|[upper, _]| upper.replace("%20", "+"));
    let html = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let quoted = html.replace('"', "&quot;").replace('\'', "&#39;");
    let forms = [secret.to_owned(), secret.to_ascii_lowercase(), json.replace('/', "\\/"), json, html, quoted];
    forms.into_iter().chain(plus).chain(percents.into_iter().flatten()).map(Zeroizing::new).chain(encoded(secret))
}

/// The Base64 of a text, without the signs that fill it up: alone, and inside another text, where its first and last sign
/// depend on its neighbours.
fn encoded(text: &str) -> impl Iterator<Item = Zeroizing<String>> {
    let at = |before: &str, engine: &GeneralPurpose| -> [Zeroizing<String>; 2] {
        let bytes = Zeroizing::new(format!("{before}{text}"));
        let alone = Zeroizing::new(engine.encode(&*bytes));
        let end = alone.len() - usize::from(bytes.len() % 3 != 0);
        let inside = alone.get((before.len() * 4).div_ceil(3)..end).unwrap_or_default();
        // A few signs may be in any text.
        let inside = if inside.len() < INSIDE_LEAST { String::new() } else { inside.to_owned() };
        [if before.is_empty() { alone } else { Zeroizing::default() }, inside.into()]
    };
    let engines = [BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD];
    let forms = engines.iter().flat_map(|engine| ["", "x", "xx"].map(|before| at(before, engine)));
    forms.flatten().collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::domain::webhook::Sealed;

    const TOKEN: &str = "S3cret/with\"quotes&more";

    fn hidden(bearer: bool, value: &str) -> Hidden {
        let sealed = Sealed(String::new());
        let (authentication, name) = if bearer {
            (Authentication::Bearer { token: sealed }, AUTHORIZATION)
        } else {
            (Authentication::Header { name: String::new(), value: sealed }, HeaderName::from_static("x-key"))
        };
        let mut value = HeaderValue::from_str(value).unwrap();
        value.set_sensitive(true);
        Hidden::new(&authentication, &HeaderMap::from_iter([(name, value)]))
    }

    #[test]
    fn an_echoed_secret_is_hidden_in_each_of_its_forms() {
        let bearer = hidden(true, &format!("Bearer {TOKEN}"));
        let base64 = |text: &str| BASE64_STANDARD_NO_PAD.encode(text);
        for form in [
            TOKEN.to_owned(),
            TOKEN.to_lowercase(),
            serde_json::to_string(TOKEN).unwrap().trim_matches('"').to_owned(),
            r#"S3cret\/with\"quotes&more"#.to_owned(),
            "S3cret%2Fwith%22quotes%26more".to_owned(),
            "S3cret%2fwith%22quotes%26more".to_owned(),
            "S3cret/with%22quotes%26more".to_owned(),
            "S3cret/with&quot;quotes&amp;more".to_owned(),
            base64(TOKEN),
            BASE64_URL_SAFE_NO_PAD.encode(TOKEN),
            base64(&format!("Bearer {TOKEN}")),
        ] {
            assert_eq!(bearer.hide(&format!("<{form}> {form}")), "<••••more> ••••more", "{form}");
        }
        assert_eq!(bearer.hide(&format!("Bearer {TOKEN}")), "Bearer ••••more");
        for before in ["{", "{a", "{ab", "{abc"] {
            let shown = bearer.hide(&base64(&format!("{before}{TOKEN}}}")));
            let left = shown.replace("••••more", "");
            assert!(left.len() <= 8 && left != shown, "{shown}");
        }
        assert_eq!(hidden(false, "ab").hide("a ab b abab"), "a •••• b ••••••••");
        assert_eq!(Hidden::default().hide("a ab b"), "a ab b");
    }

    #[test]
    fn an_excerpt_ends_before_a_secret_that_its_end_cuts_and_at_a_character() {
        let bearer = hidden(true, &format!("Bearer {TOKEN}"));
        let body = format!("body: {TOKEN}");
        for end in 6..body.len() {
            let (shown, is_whole) = bearer.excerpt(body.as_bytes(), end, true);
            assert_eq!((&*shown, is_whole), ("body: ", false), "{end}");
            let (shown, _) = bearer.excerpt(&body.as_bytes()[..end], 100, false);
            assert_eq!(shown, "body: ", "{end}");
        }
        assert_eq!(bearer.excerpt(body.as_bytes(), 100, true), ("body: ••••more".to_owned(), true));
        assert_eq!(bearer.excerpt("aéé".as_bytes(), 4, true), ("aé".to_owned(), false));
        assert_eq!(bearer.excerpt(b"a\xffb\xff", 9, true), ("a\u{fffd}b\u{fffd}".to_owned(), true));
        // The mask is longer than this secret.
        let (shown, is_whole) = hidden(false, "a").excerpt(&[b'a'; 9], 9, true);
        assert!(shown.len() <= 9 && !shown.contains('a') && !is_whole, "{shown}");
    }
}
