//! The part of a body that nobody reads: a request is often refused for its head alone.
//!
//! If it stayed unread, the connection would be closed without notice: the client's next request on it would fail, and a
//! client that is still sending might never see its answer. So it is read and dropped, within limits. A client that
//! sends `Expect: 100-continue` waits for the answer before it sends, so nothing of its body is asked for.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body;
use bytes::Bytes;
use http::{Request, header::EXPECT};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::{runtime::Handle, time::timeout};

/// The most bytes that are read and dropped: a whole batch of events.
const BYTES_MAX: usize = 4 << 20;
/// The longest time for it.
const WITHIN: Duration = Duration::from_secs(5);

/// A body that is read to its end, by its handler or after it.
struct ReadToEnd(Option<Incoming>);

/// The request with a body that is read to its end.
pub(super) fn read_to_end(request: Request<Incoming>) -> Request<body::Body> {
    if request.headers().contains_key(EXPECT) {
        return request.map(body::Body::new);
    }
    request.map(|body| body::Body::new(ReadToEnd(Some(body))))
}

impl Body for ReadToEnd {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if let Poll::Ready(None | Some(Err(_))) = polled {
            self.0 = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for ReadToEnd {
    fn drop(&mut self) {
        let rest = self.0.take().filter(|body| !body.is_end_stream());
        if let (Some(rest), Ok(runtime)) = (rest, Handle::try_current()) {
            runtime.spawn(timeout(WITHIN, drop_all(rest)));
        }
    }
}

async fn drop_all(mut body: Incoming) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > BYTES_MAX {
            return;
        }
    }
}
