//! The settings screen: Settings → Integrations → Webhooks, for the customers of a platform.
//!
//! A request passes the checks of its origin (`origin.rs`) and of its session (`visitor.rs`), and a handler, one file
//! for each page. The handler calls `webhooks` or `access`, as the API does, and fills a template. A form brings its
//! token along (`form.rs`). A refusal is a notice (`notice.rs`), shown as a page with the look of the session
//! (`page.rs`).
//!
//! Pages are complete without the script, which improves them. The account stands in every path, and a session is
//! looked up under that account, so that no session opens another account's page.

mod about;
mod assets;
mod curl;
mod delete;
mod delivery;
mod edit;
mod enter;
mod events;
mod fields;
mod form;
mod kept;
mod list;
mod logs;
mod notice;
mod origin;
mod page;
mod redeliver;
mod strip;
mod switch;
mod test;
mod theme;
mod visitor;
mod words;

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{get, post},
};

pub(super) use self::{assets::Assets, notice::nothing};
use super::Shared;

/// All routes of the screen.
pub(super) fn routes(app: &Shared) -> Router<Shared> {
    let inside = Router::new()
        .route("/accounts/{account}/webhooks", get(list::show))
        .route("/accounts/{account}/webhooks/new", get(edit::new).post(edit::add))
        .route("/accounts/{account}/webhooks/judge", post(edit::judge))
        .route("/accounts/{account}/webhooks/{id}/edit", get(edit::show).post(edit::save))
        .route("/accounts/{account}/webhooks/{id}/test", get(list::back).post(test::test))
        .route("/accounts/{account}/webhooks/{id}/switch", get(switch::ask).post(switch::switch))
        .route("/accounts/{account}/webhooks/{id}/delete", get(delete::ask).post(delete::delete))
        .route("/accounts/{account}/webhooks/{id}/logs", get(logs::show))
        .route("/accounts/{account}/webhooks/{id}/redeliver", get(list::back).post(redeliver::redeliver))
        .route("/accounts/{account}/webhooks/{id}/held", get(kept::held))
        .route("/accounts/{account}/webhooks/{id}/failed", get(kept::failed))
        .route("/accounts/{account}/webhooks/{id}/deliveries/{delivery}", get(delivery::show))
        .route("/accounts/{account}/webhooks/{id}/deliveries/{delivery}/payload", get(delivery::payload))
        .route("/accounts/{account}/events", get(events::show))
        .layer(from_fn_with_state(app.clone(), visitor::admit));
    let outside = Router::new().route("/accounts/{account}/enter", get(enter::ask).post(enter::enter));
    let pages = inside
        .merge(outside)
        .layer(from_fn_with_state(app.clone(), origin::judge))
        .layer(from_fn_with_state(app.clone(), notice::as_page));
    pages
        .route("/screen/{name}", get(assets::file))
        .route("/theme/{name}", get(theme::style))
        .route("/embed.js", get(assets::embed))
}
