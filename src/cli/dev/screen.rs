//! The output of the story: standard output, with bold headings if it is a terminal.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

/// Standard output.
pub(super) struct Screen {
    out: io::Stdout,
    bold: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        let out = io::stdout();
        let bold = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { out, bold }
    }

    /// A heading, with an empty line before it.
    pub(super) fn heading(&self, text: &str) -> io::Result<()> {
        if self.bold { self.line(&format!("\n\x1b[1m{text}\x1b[0m")) } else { self.line(&format!("\n{text}")) }
    }

    /// One or more lines, each indented.
    pub(super) fn indented(&self, text: &str) -> io::Result<()> {
        text.lines().try_for_each(|text| self.line(&format!("  {text}")))
    }

    fn line(&self, text: &str) -> io::Result<()> {
        let mut out = self.out.lock();
        writeln!(out, "{text}")?;
        out.flush()
    }
}

/// The command that runs this program: a path relative to the working directory if the program is below it.
pub(super) fn program() -> String {
    let path = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("lynkhook"));
    let below = std::env::current_dir().ok().and_then(|folder| path.strip_prefix(folder).ok().map(PathBuf::from));
    quoted(&below.map_or(path, |below| PathBuf::from(".").join(below)).to_string_lossy())
}

/// A word, quoted for a shell if necessary.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "./_-:=+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_if_a_shell_would_interpret_it() {
        for (word, expected) in [
            ("./a-b", "./a-b"),
            ("lynkhook:{0}:queue", "'lynkhook:{0}:queue'"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
