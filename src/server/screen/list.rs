//! The list: a card for each webhook of the account.

use askama::Template;
use axum::{extract::State, response::Response};
use http::StatusCode;

use super::{
    notice::Notice,
    page::{Look, go_to, page},
    strip::Strip,
    test::Shown as Tested,
    visitor::{Visiting, Visitor},
    words::{Attempt, Moment, advice, count, line, title},
};
use crate::{
    domain::{
        event::TEST_EVENT,
        log_entry::{LogEntry, Status},
        webhook::WebhookId,
    },
    server::{
        Shared,
        query::{Query, cursor},
    },
    webhooks::{Listed, Summary, View},
};

/// The webhooks of a page.
const LIMIT: usize = 20;

#[derive(Template)]
#[template(path = "screen/list.html", config = "src/server/askama.toml")]
struct List<'a> {
    look: &'a Look,
    cards: Vec<Card>,
    flash: Option<&'static str>,
    /// The number of webhooks that the account has, and may have.
    total: usize,
    limit: usize,
    /// The address of the next page.
    next: Option<String>,
}

/// A webhook of the list.
struct Card {
    id: WebhookId,
    /// Its settings; `None` if they cannot be read.
    shown: Option<Settings>,
    last: Option<Attempt>,
    /// The error of the last delivery, if that failed for good.
    failing: Option<Failing>,
    strip: Option<Strip>,
    held: Option<Held>,
    /// `3 failed deliveries`; `None` if there are none.
    failed: Option<String>,
    tested: Option<Tested>,
    is_saved: bool,
}

/// The settings of a webhook, as far as the list shows them.
struct Settings {
    title: String,
    url: String,
    host: String,
    path: String,
    events: Vec<String>,
    is_active: bool,
}

/// The last delivery failed for good, or the last test.
struct Failing {
    /// `delivery` or `test`.
    what: &'static str,
    error: String,
    advice: Option<&'static str>,
    time: Moment,
}

/// Deliveries that wait.
struct Held {
    /// `12 events`.
    count: String,
    is_one: bool,
    oldest: Option<Moment>,
    /// Whether the oldest waits since before the webhook's last change, such as switching it on: it is being sent, and
    /// tells nothing about the endpoint.
    is_on_its_way: bool,
}

/// Things that the list tells besides the webhooks.
#[derive(Default)]
pub(super) struct News {
    /// One line about the change that was just made.
    pub(super) flash: Option<&'static str>,
    /// The webhook that was just added.
    pub(super) saved: Option<WebhookId>,
    /// The result of a test, under its webhook.
    pub(super) tested: Option<(WebhookId, Tested)>,
}

/// The list, or one page of it.
pub(super) async fn show(
    State(app): State<Shared>,
    Visiting(visitor): Visiting,
    mut query: Query,
) -> Result<Response, Notice> {
    let after = query.part().after;
    let done = query.one_of("done", &FLASHES);
    let saved = query.parsed("saved");
    query.end()?;
    list(&app, &visitor, after.as_deref(), News { flash: done, saved, tested: None }).await
}

/// Leads to the list: the address of a page that answered a form was opened once more.
pub(super) async fn back(Visiting(visitor): Visiting) -> Response {
    go_to(&visitor.look.at("/webhooks"))
}

/// Values of `done`, each with its line.
const FLASHES: [(&str, &str); 6] = [
    ("saved", "Saved."),
    ("deleted", "Deleted."),
    ("on", "Switched on. Events are sent from now on."),
    ("on-sent", "Switched on. The events that waited are being sent."),
    ("on-discarded", "Switched on. The events that waited were discarded."),
    ("off", "Switched off. Events wait until you switch it on again."),
];

/// The page of the list that begins after a webhook, with news.
pub(super) async fn list(
    app: &Shared,
    visitor: &Visitor,
    after: Option<&str>,
    mut news: News,
) -> Result<Response, Notice> {
    let overview = app.webhooks.overview(&visitor.account, after, LIMIT).await?;
    let look = &*visitor.look;
    let next = overview.webhooks.next.map(|position| look.at(format!("/webhooks?after={}", cursor(&position))));
    let cards = overview.webhooks.items.into_iter().map(|item| {
        let id = item.webhook.id();
        let tested = news.tested.take_if(|(tested, _)| *tested == id).map(|(_, tested)| tested);
        Card { tested, is_saved: news.saved == Some(id), ..Card::new(item) }
    });
    let cards = cards.collect();
    let list = List { look, cards, flash: news.flash, total: overview.total, limit: overview.limit, next };
    Ok(page(StatusCode::OK, &list))
}

impl Card {
    fn new(item: Summary) -> Self {
        let Summary { webhook, log, held, oldest_held, failed } = item;
        let id = webhook.id();
        let view = match &webhook {
            Listed::Read(view) => Some(&**view),
            Listed::Unreadable { .. } => None,
        };
        Self {
            id,
            shown: view.map(Settings::new),
            last: log.first().map(Attempt::new),
            failing: log.iter().find(|entry| entry.last).and_then(Failing::new),
            strip: Strip::new(&log),
            held: (held > 0).then(|| Held {
                count: count(held, "event", "events"),
                is_one: held == 1,
                is_on_its_way: oldest_held.as_ref().zip(view).is_some_and(|(held, view)| *held <= view.updated_at),
                oldest: oldest_held.as_deref().map(Moment::new),
            }),
            failed: (failed > 0).then(|| count(failed, "failed delivery", "failed deliveries")),
            tested: None,
            is_saved: false,
        }
    }

    /// The address of one of its pages, such as `/logs`.
    fn path(&self, page: &str) -> String {
        format!("/webhooks/{}{page}", self.id)
    }

    fn name(&self) -> String {
        self.shown.as_ref().map_or_else(|| self.id.to_string(), |shown| shown.title.clone())
    }

    /// The failure that the card explains. The result of a test explains its own.
    fn news(&self) -> Option<&Failing> {
        self.failing.as_ref().filter(|_| self.tested.is_none())
    }

    /// Its state: the style, and the word.
    fn state(&self) -> (&'static str, &'static str) {
        let is_active = self.shown.as_ref().is_some_and(|shown| shown.is_active);
        match (&self.failing, &self.held, &self.last) {
            _ if !is_active => ("off", "Inactive"),
            (Some(_), ..) => ("bad", "Failing"),
            (None, Some(held), _) if !held.is_on_its_way => ("warn", "Slow"),
            (None, _, None) => ("info", "Not used yet"),
            (None, _, Some(_)) => ("good", "Working"),
        }
    }
}

impl Settings {
    fn new(view: &View) -> Self {
        let url = view.url.as_url();
        let host = match url.port() {
            Some(port) => format!("{}:{port}", view.url.host()),
            None => view.url.host().to_owned(),
        };
        let path = &url[url::Position::BeforePath..];
        Self {
            title: title(view),
            url: view.url.as_str().to_owned(),
            host: line(&host),
            path: path.to_owned(),
            events: view.events.iter().map(|event| line(event)).collect(),
            is_active: view.active,
        }
    }
}

impl Failing {
    fn new(entry: &LogEntry) -> Option<Self> {
        (entry.status == Status::Failed).then(|| Self {
            what: if entry.event == TEST_EVENT { "test" } else { "delivery" },
            error: entry.error.as_deref().map(line).unwrap_or_default(),
            advice: advice(entry),
            time: Moment::new(&entry.time),
        })
    }
}
