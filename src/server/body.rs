//! Bodies of requests: their type, size, time, and the room that all of them share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use axum::{body::HttpBody, extract::Request};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    Shared,
    problem::{BUSY, Problem, TOO_LARGE, TOO_SLOW, UNSUPPORTED_MEDIA_TYPE},
};
use crate::domain::text::seconds;

/// The media type of a merge patch (RFC 7396).
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";
/// The media type of everything else.
pub(super) const JSON: &str = "application/json";

/// The room for bodies in hand, counted in KiB.
pub(super) struct Room(Arc<Semaphore>);

/// Whether the body of a request was read to its end.
#[derive(Clone, Default)]
pub(super) struct IsRead(pub(super) Arc<AtomicBool>);

/// A body, and its part of the room until it is dropped.
pub(super) struct Held {
    /// The bytes.
    pub(super) bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl Room {
    /// Room for this many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes / 1024).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(units)))
    }

    /// No room yet, which can be widened.
    fn none(&self) -> OwnedSemaphorePermit {
        self.0.clone().try_acquire_many_owned(0).expect("the semaphore is never closed")
    }

    /// Widens what a body has of the room to this many bytes.
    fn widen(&self, taken: &mut OwnedSemaphorePermit, bytes: usize) -> Result<(), Problem> {
        let missing = bytes.div_ceil(1024).saturating_sub(taken.num_permits());
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        let more = self.0.clone().try_acquire_many_owned(missing);
        taken.merge(
            more.map_err(|_| Problem::new(&BUSY, "the bodies in hand leave no room for this one").retry_after(1))?,
        );
        Ok(())
    }
}

/// Reads the body of a request with one of these types, up to `most` bytes.
pub(super) async fn read(app: &Shared, request: Request, most: usize, types: &[&str]) -> Result<Held, Problem> {
    judge_type(request.headers(), types)?;
    collect(app, request, most).await
}

/// Reads a body that may be absent.
pub(super) async fn read_optional(app: &Shared, request: Request, most: usize) -> Result<Held, Problem> {
    let typed = judge_type(request.headers(), &[JSON]);
    let held = collect(app, request, most).await?;
    if !held.bytes.is_empty() {
        typed?;
    }
    Ok(held)
}

fn judge_type(headers: &HeaderMap, types: &[&str]) -> Result<(), Problem> {
    let coding = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    if coding.is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(&UNSUPPORTED_MEDIA_TYPE, "send the body without a Content-Encoding"));
    }
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if headers.get_all(CONTENT_TYPE).iter().count() == 1 && types.contains(&essence.as_str()) {
        return Ok(());
    }
    let wanted = types.join(" or ");
    Err(Problem::new(&UNSUPPORTED_MEDIA_TYPE, format!("send the header Content-Type: {wanted}")))
}

async fn collect(app: &Shared, request: Request, most: usize) -> Result<Held, Problem> {
    let too_large =
        || Problem::new(&TOO_LARGE, format!("the body has more than {most} bytes, the limit of this route"));
    let is_read = request.extensions().get::<IsRead>().cloned();
    let mut body = request.into_body();
    if HttpBody::size_hint(&body).lower() > most as u64 {
        return Err(too_large());
    }
    // Room is taken as bytes come: an announced length costs a client nothing.
    let mut room = app.room.none();
    let mut bytes = BytesMut::new();
    let reading = async {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                return Err(Problem::malformed(
                    "the body ended before its announced length, or its chunks are malformed",
                ));
            };
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > most {
                return Err(too_large());
            }
            app.room.widen(&mut room, bytes.len() + data.len())?;
            bytes.extend_from_slice(&data);
        }
        Ok(())
    };
    let within = app.settings.body_timeout;
    let read = timeout(within, reading).await;
    read.map_err(|_| Problem::new(&TOO_SLOW, format!("the body was not complete within {}", seconds(within))))??;
    if let Some(IsRead(is_read)) = is_read {
        is_read.store(true, Relaxed);
    }
    Ok(Held { bytes: bytes.freeze(), _room: room })
}
