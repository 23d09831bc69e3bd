//! A request as a `curl` command that anyone can run. It has a placeholder in place of the secret.

use crate::webhooks::{AuthenticationView, SentRequest};

/// The environment variable that has the secret when the command runs.
pub(super) const SECRET: &str = "WEBHOOK_TOKEN";
/// Headers that curl writes by itself, from the URL and the body.
const BY_CURL: [&str; 2] = ["host", "content-length"];
/// Headers that curl adds unless it is told not to.
const ADDED_BY_CURL: [&str; 2] = ["accept", "user-agent"];

/// The command that sends the same request. A shell reads it, and gives each byte to curl as it is.
pub(super) fn command(request: &SentRequest, authentication: &AuthenticationView) -> String {
    let mut lines = vec![format!("curl --http1.1 --globoff --request {}", request.method)];
    let secret = match authentication {
        AuthenticationView::None => None,
        AuthenticationView::Bearer { .. } => Some(("authorization".to_owned(), "Bearer ")),
        AuthenticationView::Header { name, .. } => Some((name.to_ascii_lowercase(), "")),
    };
    for (name, value) in &request.headers {
        let header = match &secret {
            Some((known, before)) if known == name => {
                format!("{}\"${SECRET}\"", quoted(&format!("{name}: {before}")))
            }
            _ if BY_CURL.contains(&&**name) => continue,
            // `name;` is an empty header; `name:` would take it away.
            _ if value.is_empty() => quoted(&format!("{name};")),
            _ => quoted(&format!("{name}: {value}")),
        };
        lines.push(format!("--header {header}"));
    }
    for name in ADDED_BY_CURL.iter().filter(|name| !request.headers.contains_key(**name)) {
        lines.push(format!("--header '{name}:'"));
    }
    lines.push(format!("--data-raw {}", quoted(&request.body)));
    lines.push(quoted(request.url.as_str()));
    lines.join(" \\\n  ")
}

/// A text that a shell takes as one word.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_is_one_word_for_a_shell() {
        for text in ["", "a b", "it's", "''", "$HOME `id` \\ \"", "line\nbreak", "-x"] {
            let script = format!("printf %s {}", quoted(text));
            let run = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(run.stdout).unwrap(), text);
        }
    }
}
