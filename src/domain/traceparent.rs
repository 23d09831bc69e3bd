//! A producer's trace context, as the header `traceparent` of W3C Trace Context has it
//! (<https://www.w3.org/TR/trace-context/#traceparent-header>).
//!
//! It is a stranger's text on its way into log lines and a header, so nothing passes but hexadecimal digits in this
//! form. A text of another form is no trace context, and its event goes without: tracing is no reason to refuse an
//! event.

use serde::Serialize;

/// The length of the form of version 00, in bytes.
const LENGTH: usize = 55;

/// `00-<trace id>-<parent id>-<flags>`, in lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Traceparent(String);

impl Traceparent {
    /// Reads the trace context of any version; `None` if it is invalid.
    ///
    /// A version after 00 may have more behind the flags. Of such a version only the known parts are kept, and written
    /// as version 00, as the specification asks. Its only known flag is the last bit, "sampled".
    pub fn read(text: &str) -> Option<Self> {
        let (head, rest) = text.split_at_checked(LENGTH)?;
        let parts: Vec<&str> = head.split('-').collect();
        let [version, trace, parent, flags] = parts[..] else { return None };
        let is_hex = parts.iter().all(|part| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        let has_lengths = [version, trace, parent, flags].map(str::len) == [2, 32, 16, 2];
        // Ids of zeros name nothing.
        let has_ids = [trace, parent].iter().all(|id| id.bytes().any(|b| b != b'0'));
        if !(is_hex && has_lengths && has_ids) {
            return None;
        }
        match version {
            "00" if rest.is_empty() => Some(Self(head.to_owned())),
            "00" | "ff" => None,
            _ if rest.is_empty() || rest.starts_with('-') => {
                let sampled = u8::from_str_radix(flags, 16).ok()? & 1;
                Some(Self(format!("00-{trace}-{parent}-{sampled:02x}")))
            }
            _ => None,
        }
    }

    /// The trace context as text of 55 bytes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(text: &str) -> Option<String> {
        Traceparent::read(text).map(|trace| trace.as_str().to_owned())
    }

    #[test]
    fn version_00_is_kept_as_it_is_with_any_flags() {
        for flags in ["00", "01", "02", "ff"] {
            let trace = format!("{}{flags}", &TRACE[..53]);
            assert_eq!(read(&trace), Some(trace));
        }
    }

    #[test]
    fn of_a_later_version_the_known_parts_are_kept_as_version_00() {
        let [of_01, of_fe] = ["01", "fe"].map(|version| format!("{version}{}", &TRACE[2..]));
        let long = format!("{of_01}-{}\r\n\u{e9}", "x".repeat(5000));
        for later in [&of_01, &of_fe, &format!("{of_01}-"), &format!("{of_01}-what.comes.next"), &long] {
            assert_eq!(read(later).as_deref(), Some(TRACE), "{later}");
        }
        let unknown_flags = format!("cc{}", TRACE[2..].replace("-01", "-fe"));
        assert_eq!(read(&unknown_flags), Some(TRACE.replace("-01", "-00")));
    }

    #[test]
    fn any_other_text_is_no_trace_context() {
        let with = |from: usize, to: usize, new: &str| format!("{}{new}{}", &TRACE[..from], &TRACE[to..]);
        for bad in [
            String::new(),
            "none".to_owned(),
            TRACE[..54].to_owned(),
            TRACE.to_uppercase(),
            with(0, 2, "ff"),
            with(0, 2, "0g"),
            with(0, 2, "\u{e9}"),
            with(2, 3, "_"),
            with(3, 35, &"0".repeat(32)),
            with(36, 52, &"0".repeat(16)),
            with(34, 36, "-6"),
            with(10, 11, "A"),
            with(10, 11, "\n"),
            with(40, 41, "\0"),
            with(53, 55, "-1"),
            with(54, 55, "\u{e9}"),
            format!(" {TRACE}"),
            format!("{TRACE} "),
            format!("{TRACE}\n"),
            format!("{TRACE}\r\nInjected: 1"),
            format!("{TRACE}-more"),
            format!("01{}x", &TRACE[2..]),
            format!("01{}\n", &TRACE[2..]),
            format!("ff{}-more", &TRACE[2..]),
        ] {
            assert_eq!(read(&bad), None, "{bad:?}");
        }
    }
}
