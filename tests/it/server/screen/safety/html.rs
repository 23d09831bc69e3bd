//! Pages as a browser's parser reads them.

use html5gum::{DefaultEmitter, Error, Token, Tokenizer};

use super::super::support::*;

/// The word that hostile texts bring as an element and as an attribute. No page has either.
pub(super) const EVIL: &str = "x-evil";
/// Attributes whose value a browser opens or loads.
const ADDRESSES: [&str; 5] = ["href", "src", "action", "data-judge", "xlink:href"];
/// Characters that only a program can have typed.
const TYPED: [Error; 2] = [Error::UnexpectedNullCharacter, Error::ControlCharacterInInputStream];
/// Attributes whose text people see or hear.
const SEEN: [&str; 3] = ["title", "aria-label", "placeholder"];

/// A page's elements with their attributes, and the texts that people see.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    elements: Vec<(String, Vec<(String, String)>)>,
    texts: Vec<String>,
}

pub(super) fn parse(html: &str) -> Parsed {
    let mut emitter = DefaultEmitter::<()>::default();
    emitter.naively_switch_states(true);
    let mut parsed = Parsed::default();
    for Ok(token) in Tokenizer::new_with_emitter(html, emitter) {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        match token {
            Token::StartTag(tag) => {
                let attributes = tag.attributes.iter().map(|(name, value)| (text(name), text(value)));
                parsed.elements.push((text(&tag.name), attributes.collect()));
            }
            Token::String(seen) => parsed.texts.push(text(&seen)),
            Token::EndTag(_) | Token::Doctype(_) => {}
            Token::Comment(comment) => panic!("a page has a comment: {comment:?} in {html}"),
            // A form shows again what was typed, whatever it is. Where people see it, the check below finds it.
            Token::Error(error) if TYPED.contains(&*error) => {}
            Token::Error(error) => panic!("{error:?} in {html}"),
        }
    }
    parsed
}

/// Whether a reader does not see the character, or it turns the text around it.
fn is_unseen(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

impl Parsed {
    /// The paths of the files that the page loads.
    pub(super) fn files(&self) -> Vec<String> {
        let loads = |(element, attributes): &(String, Vec<(String, String)>)| {
            let name = match &**element {
                "link" => "href",
                "script" | "img" => "src",
                _ => return None,
            };
            attributes.iter().find(|(known, _)| known == name).map(|(_, path)| path.clone())
        };
        self.elements.iter().filter_map(loads).collect()
    }

    /// All text, also that of attributes that people see.
    pub(super) fn text(&self) -> String {
        let attributes = self.elements.iter().flat_map(|(_, attributes)| attributes);
        let seen = attributes.filter(|(name, _)| SEEN.contains(&&**name)).map(|(_, text)| text);
        self.texts.iter().chain(seen).flat_map(|text| [text, "\n"]).collect()
    }
}

/// Asserts that a page has no script and style of its own, opens and loads nothing from outside, and shows hostile text
/// as text. `back` is the only address outside to which it may lead.
#[track_caller]
pub(super) fn assert_safe(place: &str, page: &Page, back: Option<&str>) -> Parsed {
    let parsed = parse(&page.html);
    let mut names = Vec::new();
    for (element, attributes) in &parsed.elements {
        names.push(&**element);
        assert!(element != EVIL, "{place} has the element of a hostile text: {}", page.html);
        for banned in ["style", "iframe", "object", "embed", "base", "foreignobject", "animate", "set", "use"] {
            assert!(element != banned, "{place} has an element {banned}");
        }
        let is_script = element == "script";
        assert!(!is_script || attributes.iter().any(|(name, _)| name == "src"), "{place} has a script of its own");
        for (name, value) in attributes {
            let is_banned =
                name.starts_with("on") || ["style", "srcdoc", "formaction", "http-equiv"].contains(&&**name);
            assert!(!is_banned && !name.starts_with(EVIL), "{place}: <{element} {name}={value:?}>");
            if ADDRESSES.contains(&&**name) {
                let is_own = value.starts_with('#') || value.starts_with('/') && !value.starts_with("//");
                assert!(is_own || Some(&**value) == back, "{place}: <{element} {name}={value:?}>");
                assert!(!value.contains('\\'), "{place}: <{element} {name}={value:?}>");
            }
        }
    }
    let unseen = parsed.text().chars().find(|c| is_unseen(*c));
    assert_eq!(unseen, None, "{place} has a character that nobody sees: {:?}", parsed.text());
    assert_eq!(names.iter().filter(|name| **name == "main").count(), 1, "{place} is no page: {}", page.html);
    assert_eq!(names.iter().filter(|name| **name == "script").count(), 1, "{place} has more than one script");
    parsed
}

#[test]
fn the_search_finds_what_breaks_out() {
    let page = |body: &str| Page {
        status: 200,
        headers: reqwest::header::HeaderMap::new(),
        html: format!("<!DOCTYPE html><script src=\"/a.js\" defer></script><main>{body}</main>"),
    };
    let fails = |body: &str| std::panic::catch_unwind(|| assert_safe("a test", &page(body), None)).is_err();
    for broken in [
        "<x-evil>",
        "<p title=\"\"x-evil=1>",
        "<script>1</script>",
        "<p onload=x>",
        "<p style=\"a\">",
        "<a href=\"javascript:x\">",
        "<a href=\"//evil.example\">",
        "<a href=\"https://evil.example\">",
        "a\u{202e}b",
        "<p title=\"a\u{7}\">",
        "<!-- -->",
    ] {
        assert!(fails(broken), "{broken}");
    }
    assert!(!fails("&#60;x-evil x-evil=1&#62; <a href=\"/a?b=&#34;\">a</a>"));
}
