//! Every request passes here: it gets an id, the limits of its head and a time limit, and an answer that is no success
//! gets its form.

use std::{any::Any, sync::atomic::Ordering::Relaxed};

use axum::{
    body::HttpBody,
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{
    HeaderName, HeaderValue,
    header::{CONNECTION, CONTENT_LENGTH},
};
use tokio::time::{Instant, timeout};
use tracing::{Instrument, field::Empty};

use super::{
    Shared,
    body::IsRead,
    problem::{HEAD_TOO_LARGE, OUTCOME_UNKNOWN, Problem},
};

/// The most headers of a request.
const HEADERS_MAX: usize = 64;
/// The id of a request, in every answer and in the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Answers a request, and gives the answer its form.
pub(super) async fn outer(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    let id = uuid::Uuid::now_v7().to_string();
    let (method, began) = (request.method().clone(), Instant::now());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (has_body, is_read) = (!request.body().is_end_stream(), IsRead::default());
    request.extensions_mut().insert(is_read.clone());
    // `door.rs` fills in the rest.
    let span = tracing::info_span!("request", request = id, route = Empty, key = Empty);
    // A body that comes slowly has a limit of its own.
    let within = app.settings.body_timeout + app.settings.request_timeout;
    let answered = async {
        if let Err(problem) = judge_head(&request, app.settings.header_max_bytes) {
            return problem.into_response();
        }
        if let Ok(response) = timeout(within, next.run(request)).await {
            return response;
        }
        tracing::warn!("the server gave a request up at its time limit");
        Problem::new(&OUTCOME_UNKNOWN, "the server did not finish in time").retry_after(1).into_response()
    };
    let response = answered.instrument(span.clone()).await;
    let mut response = finish(response, &id, has_body && !is_read.0.load(Relaxed));
    app.metrics.answered(&method, route.as_ref().map(MatchedPath::as_str), response.status(), began.elapsed());
    let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(parent: &span, %method, status = response.status().as_u16(), duration_ms, "answered");
    let id = HeaderValue::from_str(&id).expect("a UUID");
    response.headers_mut().insert(REQUEST_ID, id);
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// The answer to a request that panicked. The panic is logged by its hook.
pub(super) fn panicked(_: Box<dyn Any + Send>) -> Response {
    Problem::internal().into_response()
}

fn judge_head(request: &Request, most_bytes: usize) -> Result<(), Problem> {
    let headers = request.headers();
    // `: ` and the end of a line.
    let of_headers: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let line = request.uri().path_and_query().map_or(0, |path| path.as_str().len()) + request.method().as_str().len();
    if line + of_headers > most_bytes {
        return Err(Problem::new(&HEAD_TOO_LARGE, format!("the head has more than {most_bytes} bytes")));
    }
    if headers.len() > HEADERS_MAX {
        return Err(Problem::new(&HEAD_TOO_LARGE, format!("there are more than {HEADERS_MAX} headers")));
    }
    Ok(())
}

/// Gives a problem its JSON. Any other answer stays as it is.
fn finish(mut response: Response, id: &str, is_unread: bool) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let mut answer = problem.answer(id);
    if is_unread {
        // Another request cannot follow a body that nobody read.
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    // The router names the allowed methods.
    for (name, value) in response.headers() {
        if *name != CONTENT_LENGTH && !answer.headers().contains_key(name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    answer
}
