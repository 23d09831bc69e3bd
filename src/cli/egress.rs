//! `lynkhook egress`: says whether a URL, host name, address or header is allowed, and if not, why.
//!
//! It calls the same functions as saving and connecting do. It saves nothing and opens no connection; only `--resolve`
//! asks name servers.

use std::{
    borrow::Cow,
    io::{self, BufRead, IsTerminal},
    net::IpAddr,
};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::{
    Exit,
    output::{self, Reader, clean},
};
use crate::{
    config::Settings,
    domain::{
        address::{AllowList, judge_with},
        header,
        text::without_mark,
        url::EndpointUrl,
    },
    sender::{Resolver, SenderError},
    telemetry,
};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check URLs and host names by the rules for saving a webhook, and IP addresses by the rules for connecting.
    Check(Check),
    /// Check headers, written as `Name: value` or {"name":…,"value":…}, by the rules for a webhook's authentication.
    CheckHeader(CheckHeader),
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// URLs, host names or IP addresses [default: the lines of standard input].
    #[arg(value_name = "URL|HOST|IP", allow_hyphen_values = true)]
    inputs: Vec<String>,
    /// Also look up the names, and check every address that they resolve to.
    #[arg(long)]
    resolve: bool,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CheckHeader {
    /// Headers [default: the lines of standard input]. Other processes can read arguments, so give real secrets on
    /// standard input.
    #[arg(value_name = "HEADER")]
    inputs: Vec<String>,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
}

/// The kind of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Url,
    Host,
    Ip,
    Header,
}

/// The verdict on one input; with `--json`, one line.
#[derive(Debug, Serialize)]
struct Judgement<'a> {
    /// The input as it was given; for a header only its name, because the value is a secret.
    input: Cow<'a, str>,
    kind: Kind,
    allowed: bool,
    /// Why it is refused.
    reason: Option<String>,
    /// The addresses that the name resolves to, with `--resolve` and if all of them are allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    addresses: Option<Vec<IpAddr>>,
}

/// Runs it. Needs no Redis.
pub(super) async fn run(settings: &Settings, command: Command) -> anyhow::Result<Exit> {
    telemetry::init(&settings.log)?;
    match command {
        Command::Check(Check { inputs, resolve, json }) => {
            let egress = Egress::new(settings, resolve)?;
            let mut report = Report { json, exit: Exit::Success };
            for input in lines(inputs) {
                if report.add(&egress.judge(&input?).await)? == Reader::Gone {
                    break;
                }
            }
            Ok(report.exit)
        }
        Command::CheckHeader(CheckHeader { inputs, json }) => {
            let mut report = Report { json, exit: Exit::Success };
            for input in lines(inputs) {
                if report.add(&judge_header(&input?))? == Reader::Gone {
                    break;
                }
            }
            Ok(report.exit)
        }
    }
}

/// The arguments, or the lines of standard input if there are none. Only the newline is removed: a blank at an end is
/// part of what is judged.
fn lines(arguments: Vec<String>) -> Box<dyn Iterator<Item = io::Result<String>>> {
    if !arguments.is_empty() {
        return Box::new(arguments.into_iter().map(Ok));
    }
    let stdin = io::stdin();
    if stdin.is_terminal() {
        super::output::say(format_args!("hint: type one per line; Ctrl-D ends"));
    }
    Box::new(stdin.lock().split(b'\n').enumerate().map(|(number, line)| {
        let line = line?;
        let marked = |utf16| io::Error::new(io::ErrorKind::InvalidData, format!("standard input: {utf16}"));
        let line = if number == 0 { without_mark(&line).map_err(marked)? } else { &line };
        // Bytes that are not UTF-8 become replacement characters, which no rule allows.
        Ok(String::from_utf8_lossy(line).into_owned())
    }))
}

/// The rules for addresses, and the resolver if names are to be looked up.
struct Egress {
    allow: AllowList,
    resolver: Option<Resolver>,
}

impl Egress {
    fn new(settings: &Settings, resolve: bool) -> Result<Self, SenderError> {
        let allow = AllowList::parse(&settings.egress.allow)?;
        let resolver =
            resolve.then(|| Resolver::new(&settings.dns, allow.clone(), settings.delivery.timeout)).transpose()?;
        Ok(Self { allow, resolver })
    }

    async fn judge<'a>(&self, input: &'a str) -> Judgement<'a> {
        let (kind, judged) = match kind(input) {
            (Kind::Ip, Some(address)) => {
                (Kind::Ip, judge_with(address, &self.allow).map(|()| None).map_err(|why| why.to_string()))
            }
            (kind, _) => (kind, self.judge_name(kind, input).await),
        };
        let (addresses, reason) = judged.map_or_else(|reason| (None, Some(reason)), |addresses| (addresses, None));
        Judgement { input: input.into(), kind, allowed: reason.is_none(), reason, addresses }
    }

    async fn judge_name(&self, kind: Kind, input: &str) -> Result<Option<Vec<IpAddr>>, String> {
        let url = if kind == Kind::Host { Cow::Owned(format!("https://{input}/")) } else { Cow::Borrowed(input) };
        let url = EndpointUrl::parse(&url, &self.allow).map_err(|refusal| refusal.to_string())?;
        let Some(resolver) = &self.resolver else { return Ok(None) };
        resolver.addresses(url.host()).await.map(Some).map_err(|error| error.to_string())
    }
}

/// An address in its usual spelling (IPv6 also in brackets), a name, or otherwise a URL.
fn kind(input: &str) -> (Kind, Option<IpAddr>) {
    let bare = input.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(input);
    if let Ok(address) = bare.parse() {
        return (Kind::Ip, Some(address));
    }
    let is_url = input.contains([':', '/', '?', '#', '@', '\\', '[', ']', '%']);
    (if is_url { Kind::Url } else { Kind::Host }, None)
}

/// Judges a header. The judgement never borrows the value, because it is a secret.
fn judge_header(input: &str) -> Judgement<'_> {
    #[derive(Deserialize)]
    struct Given {
        name: String,
        value: String,
    }
    let given = if input.trim_start().starts_with('{') {
        serde_json::from_str(input).map(|Given { name, value }| (name, value)).ok()
    } else {
        header::read_line(input).map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let (name, reason) = match given {
        Some((name, value)) => {
            let reason = header::judge(&name, &value).err().map(|refusal| refusal.to_string());
            (name, reason)
        }
        None => (String::new(), Some(r#"neither `Name: value` nor {"name":"…","value":"…"}"#.to_owned())),
    };
    Judgement { input: name.into(), kind: Kind::Header, allowed: reason.is_none(), reason, addresses: None }
}

/// Prints each verdict at once, and remembers whether any input was refused.
struct Report {
    json: bool,
    exit: Exit,
}

impl Report {
    fn add(&mut self, judgement: &Judgement<'_>) -> anyhow::Result<Reader> {
        if !judgement.allowed {
            self.exit = Exit::Refused;
        }
        let line = if self.json { output::json_line(judgement)? } else { words(judgement) + "\n" };
        Ok(output::write(&line)?)
    }
}

fn words(judgement: &Judgement<'_>) -> String {
    let mut words = format!("{}  {}", if judgement.allowed { "allowed" } else { "refused" }, clean(&judgement.input));
    if let Some(reason) = &judgement.reason {
        words += "  ";
        words += &clean(reason);
    }
    for address in judgement.addresses.iter().flatten() {
        words += "  ";
        words += &address.to_string();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_an_input_follows_from_its_form() {
        for (input, expected) in [
            ("192.0.2.1", Kind::Ip),
            ("2001:db8::1", Kind::Ip),
            ("[2001:db8::1]", Kind::Ip),
            ("::ffff:10.0.0.1", Kind::Ip),
            ("example.com", Kind::Host),
            ("localhost", Kind::Host),
            ("127.1", Kind::Host),
            ("0x7f000001", Kind::Host),
            ("bücher.de", Kind::Host),
            ("", Kind::Host),
            ("https://example.com", Kind::Url),
            ("//example.com", Kind::Url),
            ("example.com:8443", Kind::Url),
            ("example.com/hook", Kind::Url),
            ("fe80::1%eth0", Kind::Url),
            ("javascript:alert(1)", Kind::Url),
        ] {
            assert_eq!(kind(input).0, expected, "{input:?}");
        }
    }

    #[test]
    fn a_headers_verdict_never_has_its_value() {
        for input in ["X-Key: s3cret", "Cookie: s3cret", "s3cret", r#"{"name":"X-Key","value":"s3cret\n"}"#, "{s3cret"]
        {
            let judgement = judge_header(input);
            let shown = serde_json::to_string(&judgement).unwrap() + &words(&judgement);
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }
}
