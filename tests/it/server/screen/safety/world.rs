//! Two accounts with webhooks, logs and deliveries, and the routes of the screen.

use std::collections::BTreeMap;

use lynkhook::domain::webhook::WebhookId;
use redis::AsyncCommands;
use serde_json::json;

use crate::{
    server::{screen::support::*, support::Api},
    support::*,
};

/// Words of the account `acme` that no other account may see.
pub(super) const OF_ACME: [&str; 4] = ["Acmes own words", "/acmes-own-path", "acmes-identifier", "acmes-payload"];

/// A running screen.
pub(super) struct World {
    /// The endpoint of all webhooks.
    pub(super) receiver: Receiver,
    pub(super) api: Api,
    /// The id of the webhook of `acme`.
    pub(super) hook: String,
    /// A failed delivery of it, which is also in its log.
    pub(super) delivery: String,
}

/// A route of the screen inside an account.
#[derive(Debug, Clone)]
pub(super) struct Route {
    /// The path below the account, such as `/webhooks/{id}/edit`.
    path: String,
    pub(super) is_read: bool,
    pub(super) is_form: bool,
}

impl World {
    pub(super) async fn new() -> Self {
        let receiver = Receiver::start().await;
        receiver.plan(OF_ACME[1], [Answer::Status(200)]);
        let api = serve_screen(&receiver).await;
        let new = json!({"url": receiver.url(OF_ACME[1]), "description": OF_ACME[0]});
        let added = api.post("/v1/accounts/acme/webhooks", &new).await;
        let hook = added.json["id"].as_str().unwrap().to_owned();
        let id: WebhookId = hook.parse().unwrap();
        let envelope = TRANSCRIPT.replace("6601abc123def4567890abcd", OF_ACME[3]);
        api.here.fail(id, "1774500000000-0", "f1", &envelope).await;
        let held = text(&first("acme", id, "h1"), &envelope);
        let _: String =
            api.here.redis.clone().xadd(api.here.key(&format!("held:{id}")), "*", &[("delivery", held)]).await.unwrap();
        let delivery = format!("f1.{hook}");
        let entry = json!({
            "status": "failed", "event": "transcript.created", "httpStatus": 503, "attempt": 1, "durationMs": 1,
            "error": "HTTP 503", "identifiers": {"messageId": OF_ACME[2]}, "deliveryId": delivery, "final": true,
            "time": api.here.store.now(0).await.unwrap().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        });
        let _: () = api.here.redis.clone().lpush(api.here.key(&format!("logs:{id}")), entry.to_string()).await.unwrap();
        Self { receiver, api, hook, delivery }
    }

    /// All that Redis has of this installation. Reading pages and refused forms leave it as it is.
    pub(super) async fn stored(&self) -> BTreeMap<String, Vec<u8>> {
        let mut redis = self.api.here.redis.clone();
        let names: Vec<String> = redis.keys(format!("{}:*", self.api.here.prefix)).await.unwrap();
        let mut all = BTreeMap::new();
        for name in names.into_iter().filter(|name| !name.ends_with(":apikeys}:used")) {
            let value = redis::cmd("DUMP").arg(&name).query_async(&mut redis).await.unwrap();
            all.insert(name, value);
        }
        all
    }

    /// Fields with which the form of every route changes something.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("to", "off".to_owned()),
            ("all", "true".to_owned()),
            ("url", self.receiver.url("/changed")),
            ("event", "transcript.created".to_owned()),
            ("authentication", "none".to_owned()),
            ("description", "Changed".to_owned()),
            ("active", "true".to_owned()),
            ("revision", "1".to_owned()),
        ]
    }
}

impl Route {
    /// All routes inside an account, read from the router's source, so that a new one is tried too. Editing comes first,
    /// because it needs the first revision, and deleting last.
    pub(super) fn all() -> Vec<Self> {
        let source = include_str!("../../../../../src/server/screen/mod.rs");
        let mut routes: Vec<Self> = source.split(".route(").skip(1).filter_map(Self::read).collect();
        routes.sort_by_key(|route| (route.path.ends_with("/delete"), !route.path.ends_with("/edit")));
        let forms = routes.iter().filter(|route| route.is_form).count();
        assert!(routes.len() > 4 && forms > 2, "the routes were not found: {routes:?}");
        routes
    }

    fn read(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once('"')?;
        let (path, methods) = rest.split_once('"')?;
        let path = path.strip_prefix("/accounts/{account}").filter(|path| *path != "/enter")?;
        let methods = methods.split(".layer(").next()?;
        let [is_read, is_form] = ["get(", "post("].map(|method| methods.contains(method));
        Some(Self { path: path.to_owned(), is_read, is_form })
    }

    /// The path of this webhook and delivery.
    pub(super) fn of(&self, hook: &str, delivery: &str) -> String {
        self.path.replace("{id}", hook).replace("{delivery}", delivery)
    }

    /// Whether it names a webhook.
    pub(super) fn has_id(&self) -> bool {
        self.path.contains("{id}")
    }

    /// Whether its form changes nothing at all.
    pub(super) fn only_judges(&self) -> bool {
        self.path.ends_with("/judge")
    }
}
