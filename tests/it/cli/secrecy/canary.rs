//! The secrets to look for, the collected output, and the search.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE},
};

use crate::support::*;

pub(crate) const TOKEN: &str = "tok-Zq8vN3xW7rT5-bearer";
pub(crate) const VALUE: &str = "val-Hy2kP9sL4mB6-header";
/// The path of a customer's URL may be a secret capability.
pub(crate) const CAPABILITY: &str = "/cap-Xw4jD8fG1nC3-path";
/// The query may be one as well.
pub(crate) const QUERY: &str = "qry-Lm7tR2vB9kE5-query";
/// The password of Redis.
pub(crate) const PASSWORD: &str = "pas-Qd6hJ3yU8oF1-redis";

/// The output of the program.
#[derive(Default)]
pub(crate) struct Seen {
    /// Answers that show a webhook's settings, including its URL.
    pub(crate) answered: String,
    /// All other answers.
    pub(crate) printed: String,
    /// Standard error: log lines and errors.
    pub(crate) logged: String,
}

impl Seen {
    /// Takes an answer that shows a webhook's settings.
    pub(crate) fn answer(&mut self, output: &Output) -> Option<i32> {
        self.answered += &output.stdout;
        self.logged += &output.stderr;
        output.code
    }

    /// Takes any other answer.
    pub(crate) fn take(&mut self, output: &Output) -> Option<i32> {
        self.printed += &output.stdout;
        self.logged += &output.stderr;
        output.code
    }
}

/// Asserts that the text contains none of these secrets in any of their [`forms`].
pub(crate) fn assert_hidden<'a>(place: &str, text: &str, secrets: impl IntoIterator<Item = &'a str>) {
    for secret in secrets {
        for form in forms(secret) {
            let around = text.find(&form).map(|at| text[..at].lines().next_back().unwrap_or_default());
            assert_eq!(around, None, "{form} is in {place}");
        }
    }
}

/// The forms in which a secret may appear: as it is, without its ends (a mask shows the last 4), in hexadecimal, and in
/// base64 at any offset of a longer text.
fn forms(secret: &str) -> Vec<String> {
    let middle = &secret[4..secret.len() - 8];
    let hexadecimal = format!("{:02x?}", middle.as_bytes()).replace(", ", "").replace(['[', ']'], "");
    let mut forms = vec![secret.to_owned(), middle.to_owned(), hexadecimal.to_uppercase(), hexadecimal];
    for (before, cut) in [("", 0), ("x", 2), ("xx", 3)] {
        for engine in [STANDARD, URL_SAFE] {
            let encoded = engine.encode(format!("{before}{secret}"));
            forms.push(encoded[cut..encoded.len() - 4].to_owned());
        }
    }
    forms
}

#[test]
fn the_search_finds_a_secret_in_another_spelling() {
    let lies = |text: &str| std::panic::catch_unwind(|| assert_hidden("a test", text, [TOKEN])).is_err();
    for text in [
        format!("Bearer {TOKEN}"),
        STANDARD.encode(format!("Bearer {TOKEN}\n")),
        URL_SAFE.encode(format!("{{\"token\":\"{TOKEN}\"}}")),
        format!("{:02x?}", TOKEN.as_bytes()).replace(", ", ""),
        "cut: Zq8vN3xW7rT5-".to_owned(),
    ] {
        assert!(lies(&text), "{text}");
    }
    assert!(!lies("••••arer"));
}
