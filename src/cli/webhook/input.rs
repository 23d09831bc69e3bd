//! The flags that describe a webhook, and the files that hold its secret. No secret is given on the command line,
//! because every process on the machine could read it there.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::{
    domain::{header, text::without_mark},
    webhooks::{Edit, NewAuthentication, NewWebhook},
};

/// A secret file is at most this long: a header's name and value with room to spare.
const SECRET_FILE_MAX_BYTES: u64 = 16 * 1024;

/// A fault of the command line or of a file that it names. The text never quotes a file's content.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum BadInput {
    /// The file cannot be read.
    #[error("cannot read {file}")]
    Unreadable { file: String, source: io::Error },
    /// The file is too long to hold a secret.
    #[error("{file} is longer than {SECRET_FILE_MAX_BYTES} bytes, too long for a secret")]
    TooLong { file: String },
    /// The file is not text.
    #[error("{file} is not UTF-8 text")]
    NotUtf8 { file: String },
    /// The file is text of another encoding.
    #[error("{file} is UTF-16; save it as UTF-8")]
    Utf16 { file: String },
    /// The file does not hold a header.
    #[error("{file} must hold one line, `Name: value`")]
    NotAHeader { file: String },
    /// An edit that names no change.
    #[error(
        "nothing to change: give --url, --event, --description, --active, --inactive, --bearer-token-file, --header-file or --no-authentication"
    )]
    NothingToChange,
}

/// The flags that `add` and `edit` share.
#[derive(Debug, Args)]
pub(in crate::cli) struct Flags {
    /// Event type to subscribe to; may be repeated [default for a new webhook: all].
    #[arg(long = "event", value_name = "EVENT")]
    events: Vec<String>,
    /// Authenticate with the bearer token in this file; - is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "header_file")]
    bearer_token_file: Option<PathBuf>,
    /// Authenticate with the header in this file, one line `Name: value`; - is standard input.
    #[arg(long, value_name = "FILE")]
    header_file: Option<PathBuf>,
    /// Label for the webhook, such as "CRM sync".
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Switch the webhook off: its deliveries are held until it is switched on.
    #[arg(long)]
    inactive: bool,
}

/// The flags of `edit`.
#[derive(Debug, Args)]
pub(in crate::cli) struct EditFlags {
    /// URL that receives the events: HTTPS, with a public host name.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    flags: Flags,
    /// Switch the webhook on.
    #[arg(long, conflicts_with = "inactive")]
    active: bool,
    /// Remove the authentication.
    #[arg(long, conflicts_with_all = ["bearer_token_file", "header_file"])]
    no_authentication: bool,
    #[command(flatten)]
    look: Look,
}

/// The revision that a change is based on.
#[derive(Debug, Args)]
pub(in crate::cli) struct Look {
    /// Revision that your change is based on. If the webhook was edited since, nothing changes (exit code 4).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) revision: Option<u64>,
}

impl Flags {
    /// The webhook to add.
    pub(super) fn into_new(self, url: String) -> Result<NewWebhook, BadInput> {
        Ok(NewWebhook {
            url,
            authentication: self.authentication()?.unwrap_or(NewAuthentication::None),
            events: (!self.events.is_empty()).then_some(self.events),
            description: self.description.unwrap_or_default(),
            active: !self.inactive,
        })
    }

    fn authentication(&self) -> Result<Option<NewAuthentication>, BadInput> {
        if let Some(file) = &self.bearer_token_file {
            return Ok(Some(NewAuthentication::Bearer(SecretString::from(secret(file)?.as_str()))));
        }
        let Some(file) = &self.header_file else { return Ok(None) };
        let header = header(&secret(file)?).ok_or_else(|| BadInput::NotAHeader { file: name(file) })?;
        Ok(Some(header))
    }
}

impl EditFlags {
    /// The edit that the flags ask for.
    pub(super) fn into_edit(self) -> Result<Edit, BadInput> {
        let authentication =
            if self.no_authentication { Some(NewAuthentication::None) } else { self.flags.authentication()? };
        let edit = Edit {
            url: self.url,
            events: (!self.flags.events.is_empty()).then_some(self.flags.events),
            authentication,
            description: self.flags.description,
            active: (self.active || self.flags.inactive).then_some(self.active),
            revision: self.look.revision,
        };
        match edit {
            Edit { url: None, events: None, authentication: None, description: None, active: None, revision: _ } => {
                Err(BadInput::NothingToChange)
            }
            edit => Ok(edit),
        }
    }
}

/// The content of a secret file, without its final newline.
fn secret(file: &Path) -> Result<Zeroizing<String>, BadInput> {
    let read = if file == Path::new("-") { bounded(io::stdin().lock()) } else { File::open(file).and_then(bounded) };
    let bytes = read.map_err(|source| BadInput::Unreadable { file: path(file), source })?;
    if bytes.len() as u64 > SECRET_FILE_MAX_BYTES {
        return Err(BadInput::TooLong { file: name(file) });
    }
    let text = without_mark(&bytes).map_err(|_| BadInput::Utf16 { file: name(file) })?;
    let text = str::from_utf8(text).map_err(|_| BadInput::NotUtf8 { file: name(file) })?;
    Ok(Zeroizing::new(without_final_newline(text).to_owned()))
}

/// Reads at most one byte more than a secret file may have.
fn bounded(stream: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    stream.take(SECRET_FILE_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn without_final_newline(text: &str) -> &str {
    text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line))
}

/// A header from one line `Name: value`. Name and value are judged later, as for every header.
fn header(line: &str) -> Option<NewAuthentication> {
    let (name, value) = header::read_line(line)?;
    Some(NewAuthentication::Header { name: name.to_owned(), value: value.into() })
}

/// The name of a file that cannot be read, shown only if it is certainly a file name: somebody may have given the
/// secret itself by mistake.
fn path(file: &Path) -> String {
    if file == Path::new("-") || file.is_absolute() || file.starts_with(".") || file.starts_with("..") {
        name(file)
    } else {
        "the file (its name is not shown, because it may be the secret itself)".to_owned()
    }
}

fn name(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn only_the_final_newline_is_dropped() {
        for (text, secret) in [
            ("t0ken", "t0ken"),
            ("t0ken\n", "t0ken"),
            ("t0ken\r\n", "t0ken"),
            ("t0ken\n\n", "t0ken\n"),
            ("t0ken \n", "t0ken "),
            ("t0ken\r", "t0ken\r"),
            ("\n", ""),
        ] {
            assert_eq!(without_final_newline(text), secret, "{text:?}");
        }
    }

    #[test]
    fn a_secret_file_is_read_after_a_byte_order_mark_and_refused_as_utf_16() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all("\u{feff}t0ken\r\n".as_bytes()).unwrap();
        assert_eq!(*secret(file.path()).unwrap(), "t0ken");
        std::fs::write(file.path(), b"\xff\xfet\x000\0").unwrap();
        let said = secret(file.path()).unwrap_err().to_string();
        assert!(said.ends_with("is UTF-16; save it as UTF-8"), "{said}");
    }

    #[test]
    fn a_header_file_is_one_line_of_name_and_value() {
        for (line, name, value) in [
            ("X-Webhook-Secret: s3cret", "X-Webhook-Secret", "s3cret"),
            ("X-A:b", "X-A", "b"),
            ("X-A: \t b:c ", "X-A", "b:c "),
            (": b", "", "b"),
            ("X-A:", "X-A", ""),
        ] {
            let Some(NewAuthentication::Header { name: found, value: secret }) = header(line) else {
                panic!("{line:?}");
            };
            assert_eq!((found.as_str(), secret.expose_secret()), (name, value), "{line:?}");
        }
        for none in ["", "s3cret", "X-A: b\nX-C: d", "X-A: b\n", "X-A: b\r"] {
            assert!(header(none).is_none(), "{none:?}");
        }
    }

    #[test]
    fn a_file_that_holds_no_secret_is_named_and_never_quoted() {
        let refused = |content: &[u8]| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(content).unwrap();
            secret(file.path()).map(|_| ()).map_err(|e| e.to_string().replace(&name(file.path()), "FILE"))
        };
        assert_eq!(refused(b"\xff"), Err("FILE is not UTF-8 text".to_owned()));
        assert_eq!(refused(&vec![b'a'; 16 * 1024]), Ok(()));
        assert!(refused(&vec![b'a'; 16 * 1024 + 1]).unwrap_err().starts_with("FILE is longer than 16384 bytes"));
        for (file, text) in [
            ("/nowhere/token", "cannot read /nowhere/token"),
            ("./token", "cannot read ./token"),
            ("t0ken", "cannot read the file (its name is not shown, because it may be the secret itself)"),
        ] {
            assert_eq!(secret(Path::new(file)).unwrap_err().to_string(), text);
        }
    }
}
