//! The part of a response that a person is shown after a test. Deliveries keep nothing of a response.

use bytes::Bytes;
use http::HeaderMap;

/// The most bytes of a body that are kept.
pub const SEEN_MAX_BYTES: usize = 1024;

/// A response as far as it is shown. It has no `Debug`, because it may echo the request's secret.
#[derive(Default)]
pub struct Seen {
    /// Its headers.
    pub headers: HeaderMap,
    /// The beginning of its body: at most [`SEEN_MAX_BYTES`].
    pub body: Vec<u8>,
    /// Whether that is the whole body.
    pub is_whole: bool,
}

impl Seen {
    pub(super) fn has_room(&self) -> bool {
        self.body.len() < SEEN_MAX_BYTES
    }

    /// Keeps of these bytes what there is room for.
    pub(super) fn add(&mut self, data: &Bytes) {
        let room = SEEN_MAX_BYTES - self.body.len();
        self.body.extend_from_slice(&data[..data.len().min(room)]);
    }
}
