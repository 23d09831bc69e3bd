//! Texts as editors save them (some editors put a byte order mark before UTF-8, and some save UTF-16), durations for
//! people, the known name that a misspelt one means, and the unseen characters of hostile texts.

use std::{fmt::Write, time::Duration};

/// U+FEFF in UTF-8.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The error for a text in UTF-16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is UTF-16; save it as UTF-8")]
pub struct Utf16;

/// A file's text without the byte order mark with which it may begin. It does not check whether the rest is UTF-8.
///
/// # Errors
/// [`Utf16`] if the text begins with the mark of UTF-16, or if every second byte of its beginning is zero.
pub fn without_mark(bytes: &[u8]) -> Result<&[u8], Utf16> {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, 1..=255, 0, 1..=255, ..] | [1..=255, 0, 1..=255, 0, ..] => Err(Utf16),
        _ => Ok(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)),
    }
}

/// A duration in whole seconds: `less than 1s`, `1m 15s`.
pub fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0 => "less than 1s".to_owned(),
        seconds => humantime::format_duration(Duration::from_secs(seconds)).to_string(),
    }
}

/// Numbers in rising order, neighbours as one range; `none` if there are none.
///
/// ```
/// # use lynkhook::domain::text::numbers;
/// assert_eq!(numbers(&[0, 2, 3, 4, 7, 8]), "0, 2 to 4, 7, 8");
/// assert_eq!(numbers(&[]), "none");
/// ```
pub fn numbers(numbers: &[u16]) -> String {
    let ranges: Vec<String> = numbers
        .chunk_by(|number, next| number + 1 == *next)
        .flat_map(|range| match range {
            [first, _, .., last] => vec![format!("{first} to {last}")],
            few => few.iter().map(u16::to_string).collect(),
        })
        .collect();
    if ranges.is_empty() { "none".to_owned() } else { ranges.join(", ") }
}

/// The known name nearest to `name`, with at most one typing mistake for every three letters.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let slips_max = |known: &str| (known.chars().count() / 3).max(1);
    // The comparison takes memory for the product of both lengths, and a client chooses the name.
    let is_near = |known: &str| name.len() <= 4 * (known.chars().count() + slips_max(known));
    let slips = |known| strsim::damerau_levenshtein(&name.to_lowercase(), known);
    known
        .filter(|known| is_near(known))
        .map(|known| (slips(known), known))
        .filter(|(slips, known)| *slips <= slips_max(known))
        .min()
        .map(|(_, known)| known)
}

/// At most `chars_max` characters of a text of unknown origin, for one line: every character that is not seen, or that
/// changes what is seen beside it, has a visible mark in its place. A text that was cut ends in `…`.
///
/// ```
/// # use lynkhook::domain::text::visible;
/// assert_eq!(visible("a\tb\u{202e}c", 80), "a␉b⟨U+202E⟩c");
/// assert_eq!(visible("abcdef", 5), "abcde…");
/// ```
pub fn visible(text: &str, chars_max: usize) -> String {
    shown(text, chars_max, |_| false)
}

/// The same for a block of lines: tabs and line feeds stay.
pub fn visible_block(text: &str, chars_max: usize) -> String {
    shown(text, chars_max, |c| matches!(c, '\n' | '\t'))
}

fn shown(text: &str, chars_max: usize, stays: impl Fn(char) -> bool) -> String {
    let (mut shown, mut rest) = (String::new(), text.chars());
    // The character before, and whether it selected the picture of an emoji.
    let (mut before, mut is_selected) = (' ', false);
    for _ in 0..chars_max {
        let Some(c) = rest.next() else { return shown };
        let selects = matches!(c, '\u{fe0e}' | '\u{fe0f}') && is_emoji(before);
        let follows_emoji = is_emoji(before) || is_selected;
        let joins = c == '\u{200d}' && follows_emoji && rest.clone().next().is_some_and(is_emoji);
        (before, is_selected) = (c, selects);
        match c {
            _ if selects || joins || stays(c) || !is_unseen(c) => shown.push(c),
            // The pictures of the control characters stand in their order.
            '\0'..='\u{1f}' => shown.extend(char::from_u32(u32::from(c) + 0x2400)),
            '\u{7f}' => shown.push('\u{2421}'),
            _ => write!(shown, "⟨U+{:04X}⟩", u32::from(c)).expect("a text grows"),
        }
    }
    if rest.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Whether a reader does not see the character: control characters, separators of lines and paragraphs, and the
/// characters that Unicode 17 calls default-ignorable, bidi controls among them, or that annotate a text.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || is_bidi_control(c)
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{2029}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Whether the character is of the blocks of symbols and emoji, in which a selector or a joiner only chooses a picture.
const fn is_emoji(c: char) -> bool {
    matches!(c, '\u{2190}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}')
}

/// Whether the character sets the direction of the text around it: the marks, embeddings, overrides and isolates of the
/// bidirectional algorithm (UAX #9).
pub const fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mark_is_skipped_and_utf_16_is_refused_with_and_without_its_mark() {
        assert_eq!(without_mark(b"\xef\xbb\xbf{}"), Ok(&b"{}"[..]));
        assert_eq!(without_mark(b"\xef\xbb\xbf\xef\xbb\xbf{}"), Ok(&b"\xef\xbb\xbf{}"[..]));
        for text in [&b""[..], b"a", b"{}", b"\xef\xbb", b"a\0", b"a\0bc", b" \xef\xbb\xbf"] {
            assert_eq!(without_mark(text), Ok(text));
        }
        for text in [&b"\xff\xfe{\0}\0"[..], b"\xfe\xff\0{\0}", b"{\0}\0", b"\0{\0}", b"\xff\xfe"] {
            assert_eq!(without_mark(text), Err(Utf16), "{text:?}");
        }
    }

    #[test]
    fn durations_are_written_for_people() {
        for (ms, words) in
            [(0, "less than 1s"), (999, "less than 1s"), (75_400, "1m 15s"), (1_795_446_063_000, "56years 10months")]
        {
            let text = seconds(Duration::from_millis(ms));
            assert!(text.starts_with(words) && !text.contains('.'), "{ms} ms: {text}");
        }
    }

    #[test]
    fn a_nearest_name_is_found_and_a_huge_one_is_not_compared() {
        let nearest_of = |name: &str| nearest(name, ["url", "événements"].into_iter());
        for (name, found) in
            [("URL", Some("url")), ("urls", Some("url")), ("évènement", Some("événements")), ("u", None)]
        {
            assert_eq!(nearest_of(name), found, "{name}");
        }
        // The comparison alone would take a gigabyte.
        assert_eq!(nearest_of(&"x".repeat(10 << 20)), None);
    }
    #[test]
    fn no_character_of_a_hostile_text_stays_unseen() {
        for (text, line, block) in [
            ("plain ünïcode 株式会社 مرحبا", "plain ünïcode 株式会社 مرحبا", "plain ünïcode 株式会社 مرحبا"),
            ("a\nb\tc\rd", "a␊b␉c␍d", "a\nb\tc␍d"),
            ("\0\u{1b}[31m\u{7f}", "␀␛[31m␡", "␀␛[31m␡"),
            ("\u{85}\u{9b}", "⟨U+0085⟩⟨U+009B⟩", "⟨U+0085⟩⟨U+009B⟩"),
            ("\u{202e}gpj.exe\u{2069}", "⟨U+202E⟩gpj.exe⟨U+2069⟩", "⟨U+202E⟩gpj.exe⟨U+2069⟩"),
            ("a\u{200b}\u{feff}\u{ad}b", "a⟨U+200B⟩⟨U+FEFF⟩⟨U+00AD⟩b", "a⟨U+200B⟩⟨U+FEFF⟩⟨U+00AD⟩b"),
            ("\u{2028}\u{2029}", "⟨U+2028⟩⟨U+2029⟩", "⟨U+2028⟩⟨U+2029⟩"),
            ("\u{e0041}\u{61c}\u{3164}", "⟨U+E0041⟩⟨U+061C⟩⟨U+3164⟩", "⟨U+E0041⟩⟨U+061C⟩⟨U+3164⟩"),
        ] {
            assert_eq!((visible(text, 80).as_str(), visible_block(text, 80).as_str()), (line, block), "{text:?}");
        }
    }

    #[test]
    fn emoji_stay_whole_and_their_joiners_are_seen_elsewhere() {
        for whole in ["❤\u{fe0f}", "👩\u{200d}💻", "👩\u{200d}❤\u{fe0f}\u{200d}👩", "🏳\u{fe0f}\u{200d}🌈"]
        {
            assert_eq!(visible(whole, 80), whole);
        }
        for (text, seen) in [
            ("a\u{200d}b", "a⟨U+200D⟩b"),
            ("a\u{fe0f}", "a⟨U+FE0F⟩"),
            ("❤\u{fe0f}\u{fe0f}", "❤\u{fe0f}⟨U+FE0F⟩"),
            ("👩\u{200d}a", "👩⟨U+200D⟩a"),
            ("👩\u{200d}\u{200d}👩", "👩⟨U+200D⟩⟨U+200D⟩👩"),
            ("\u{200d}👩", "⟨U+200D⟩👩"),
        ] {
            assert_eq!(visible(text, 80), seen);
        }
    }

    #[test]
    fn a_text_is_cut_at_its_length_in_characters() {
        assert_eq!(visible("ééé", 3), "ééé");
        assert_eq!(visible("éééé", 3), "ééé…");
        assert_eq!(visible("\0\0\0", 2), "␀␀…");
        assert_eq!((visible("", 0).as_str(), visible("a", 0).as_str()), ("", "…"));
    }
}
