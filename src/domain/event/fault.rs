//! The faults of an envelope, in words for the person who wrote it.

/// The reason why bytes are not a valid envelope. The text names the fault and never quotes the payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeFault {
    /// The envelope is larger than `event.max_bytes`.
    #[error("the envelope has {actual} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Its length in bytes.
        actual: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The envelope begins with U+FEFF. It is not removed, because an envelope's bytes are never changed.
    #[error("the envelope begins with a byte order mark (U+FEFF); send it without")]
    ByteOrderMark,
    /// Not UTF-8.
    #[error("the envelope is not UTF-8")]
    NotUtf8,
    /// Not JSON.
    #[error("the envelope is not JSON (line {line}, column {column})")]
    NotJson {
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
    },
    /// JSON, but not an object.
    #[error("the envelope is not a JSON object")]
    NotAnObject,
    /// A required member is absent.
    #[error("the envelope has no `{0}`")]
    Missing(&'static str),
    /// A required member occurs more than once.
    #[error("the envelope has `{0}` more than once")]
    Repeated(&'static str),
    /// A required member has another type.
    #[error("the envelope's `{member}` is not {expected}")]
    WrongType {
        /// The member's name.
        member: &'static str,
        /// The type that it should have.
        expected: &'static str,
    },
    /// The event type is not in the catalogue.
    #[error("the event type `{event}` is not in the catalogue{}", did_you_mean(nearest.as_deref()))]
    UnknownEvent {
        /// Its first 64 characters.
        event: String,
        /// The event type of the catalogue that may have been meant. Only [`Catalogue::faults`](super::Catalogue::faults)
        /// looks for it.
        nearest: Option<String>,
    },
    /// Only the test button sends `webhook.test`.
    #[error("the event type `webhook.test` is reserved for the test button")]
    ReservedEvent,
}

impl EnvelopeFault {
    /// The place of the fault in the envelope, as a JSON pointer: `""` (all of it), `/event`, `/timestamp` or `/data`.
    pub fn pointer(&self) -> &'static str {
        let member = match self {
            Self::TooLarge { .. } | Self::ByteOrderMark | Self::NotUtf8 | Self::NotJson { .. } | Self::NotAnObject => {
                return "";
            }
            Self::Missing(member) | Self::Repeated(member) | Self::WrongType { member, .. } => *member,
            Self::UnknownEvent { .. } | Self::ReservedEvent => "event",
        };
        match member {
            "timestamp" => "/timestamp",
            "data" => "/data",
            _ => "/event",
        }
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default()
}
