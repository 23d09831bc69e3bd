//! The key itself.

use axum::response::Response;
use http::HeaderMap;

use crate::{
    access::Caller,
    server::{answer::read, door::Who, problem::Problem, query::Query},
};

/// The key of this request: its scopes, its account, its expiry.
#[utoipa::path(
    get, operation_id = "getKey", path = "/v1/key", tag = "key", security(("key" = [])),
    responses((status = 200, body = Caller)),
)]
pub(super) async fn show(Who(caller): Who, headers: HeaderMap, query: Query) -> Result<Response, Problem> {
    query.end()?;
    Ok(read(&headers, &*caller))
}
