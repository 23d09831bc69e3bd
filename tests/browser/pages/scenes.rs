//! The list of all pages and states, and how each comes about.

use std::time::Duration;

use lynkhook::webhooks::{Edit, NewAuthentication};
use redis::AsyncCommands;
use serde_json::json;

use super::seeds::{Attempt, PLATFORM};
use crate::{chromium::Page, support::*, world::World};

/// All pages in all states, by the names of their screenshots. Each has an account of this name.
pub const GROUPS: [&[&str]; 3] = [
    &[
        "enter",
        "enter-spent",
        "list-empty",
        "list",
        "list-failing",
        "list-held",
        "list-slow",
        "list-unreadable",
        "list-read-only",
        "list-saved",
        "test-success",
        "test-failure",
    ],
    &["form-add", "form-faults", "form-edit", "form-conflict", "switch-on", "delete"],
    &[
        "logs",
        "logs-filtered-to-nothing",
        "logs-empty",
        "delivery",
        "delivery-without-payload",
        "held",
        "failed",
        "events",
        "session-ended",
        "forbidden",
        "not-found",
        // The last one: it ends the stage's Redis.
        "redis-away",
    ],
];

/// An installation on a Redis of its own.
pub struct Stage {
    redis: RedisServer,
    pub receiver: Receiver,
    pub world: World,
}

impl Stage {
    pub async fn start() -> Self {
        Self::with([]).await
    }

    /// A stage with more settings.
    pub async fn with<const N: usize>(settings: [(&str, &str); N]) -> Self {
        let redis = RedisServer::start(AppendFsync::No);
        let receiver = Receiver::start().await;
        let mut here = Installation::on(&redis, &receiver).await;
        here.program = here.program.env("LYNKHOOK_PORTAL__EMBED_ORIGINS", PLATFORM);
        let world = World::of(here, settings).await;
        Self { redis, receiver, world }
    }

    /// Opens a page in a state.
    pub async fn show(&mut self, page: &Page, scene: &str) {
        match scene.split('-').next() {
            Some("enter") => self.enter(page, scene).await,
            Some("list") => self.list(page, scene).await,
            Some("test") => self.tested(page, scene).await,
            Some("form" | "switch" | "delete") => self.form(page, scene).await,
            Some("logs" | "delivery" | "held" | "failed" | "events") => self.logs(page, scene).await,
            _ => self.refused(page, scene).await,
        }
    }

    async fn enter(&self, page: &Page, scene: &str) {
        let link = self.world.way_in(scene, json!({})).await;
        page.goto(&link).await;
        if scene == "enter" {
            page.find("button", "Open webhooks").await;
            return;
        }
        page.click("button", "Open webhooks").await;
        page.find("heading", "Webhooks").await;
        page.devtools("Network.clearBrowserCookies", json!({})).await;
        page.announce("/enter answered 410");
        page.goto(&link).await;
        page.sees("This link was used or has expired").await;
    }

    async fn list(&self, page: &Page, scene: &str) {
        let world = &self.world;
        let mut more = json!({});
        let mut path = "/webhooks".to_owned();
        match scene {
            "list" => {
                world.busy_crm(scene).await;
                let bare = "https://events.acme-recruiting.com/in";
                let quiet = world.add_with(scene, "Data warehouse", bare, NewAuthentication::None).await;
                for number in (0..12).rev() {
                    world.write(scene, quiet, Attempt { minutes_ago: 5 + number * 113, ..Attempt::good(number) }).await;
                }
            }
            "list-failing" => drop(world.failing(scene).await),
            "list-held" => {
                let id = world.busy_crm(scene).await;
                world.here.webhooks.disable(&account_id(scene), id, None).await.unwrap();
                world.hold(scene, id, 12).await;
            }
            "list-slow" => {
                let id = world.busy_crm(scene).await;
                world.hold(scene, id, 214).await;
            }
            "list-unreadable" => {
                world.busy_crm(scene).await;
                let id = world.add_guarded(scene, "", "https://events.acme-recruiting.com/in").await;
                let key = world.here.key(&format!("webhooks:{scene}"));
                let _: () = world.here.redis.clone().hset(key, id.to_string(), "{").await.unwrap();
            }
            "list-read-only" => {
                world.busy_crm(scene).await;
                more = json!({"access": "read", "payloads": false});
            }
            "list-saved" => path = format!("/webhooks?saved={}", world.crm(scene).await),
            _ => {}
        }
        world.open_with(page, scene, more, &path).await;
        let seen = match scene {
            "list" => "You can currently add a maximum of 2 webhook subscriptions per account.",
            "list-empty" => "No webhooks yet",
            "list-failing" => "3 failed deliveries can be sent again.",
            "list-held" => "12 events wait. Switch on to send them.",
            "list-slow" => "214 events wait because the endpoint is slower than they come.",
            "list-unreadable" => "The settings of this webhook cannot be read.",
            "list-read-only" => "You can view webhooks but not change them.",
            _ => "Test it now",
        };
        page.sees(seen).await;
    }

    async fn tested(&self, page: &Page, scene: &str) {
        let (path, answer) = match scene {
            "test-success" => ("/talentlynk/transcripts", Answer::StatusWithBody(200, "{\"received\":true}".into())),
            _ => ("/talentlynk/transcript", Answer::StatusWithBody(404, "{\"error\":\"no such route\"}".into())),
        };
        self.receiver.plan(path, [Answer::Delay(Duration::from_millis(80), answer.into())]);
        self.world.add_guarded(scene, "CRM sync", &self.receiver.url(path)).await;
        self.world.open(page, scene, "/webhooks").await;
        page.click("button", "Test: CRM sync").await;
        page.find("heading", if scene == "test-success" { "Test result Success" } else { "Test result Failure" }).await;
    }

    async fn form(&self, page: &Page, scene: &str) {
        let world = &self.world;
        let account = account_id(scene);
        match scene {
            "form-add" => world.open(page, scene, "/webhooks/new").await,
            "form-faults" => {
                world.open(page, scene, "/webhooks/new").await;
                page.announce("/webhooks/new answered 422");
                page.fill("URL", "http://10.0.0.7/hook").await;
                page.click("checkbox", "transcript.created").await;
                page.click("radio", "Custom Header").await;
                page.fill("Header name", "Content-Length").await;
                page.click("button", "Save").await;
                page.sees("The webhook was not saved").await;
            }
            "form-edit" => {
                let id = world.crm(scene).await;
                world.open(page, scene, &format!("/webhooks/{id}/edit")).await;
            }
            "form-conflict" => {
                let id = world.crm(scene).await;
                world.open(page, scene, &format!("/webhooks/{id}/edit")).await;
                let url = Some("https://hooks.acme-recruiting.com/v2/transcripts".to_owned());
                world.here.webhooks.edit(&account, id, Edit { url, ..Edit::default() }).await.unwrap();
                page.announce("/edit answered 409");
                page.fill("Description optional", "CRM sync, Berlin").await;
                page.click("button", "Save").await;
                page.sees("Somebody else changed this webhook").await;
            }
            _ => {
                let id = world.busy_crm(scene).await;
                world.hold(scene, id, 12).await;
                let question = if scene == "delete" { "delete" } else { "switch" };
                if question == "switch" {
                    world.here.webhooks.disable(&account, id, None).await.unwrap();
                } else {
                    world.fail(scene, id, 9).await;
                }
                world.open(page, scene, &format!("/webhooks/{id}/{question}")).await;
            }
        }
    }

    async fn logs(&self, page: &Page, scene: &str) {
        let world = &self.world;
        let id = match scene {
            "logs-empty" | "events" => world.crm(scene).await,
            "held" => {
                let id = world.crm(scene).await;
                world.here.webhooks.disable(&account_id(scene), id, None).await.unwrap();
                world.hold(scene, id, 6).await;
                id
            }
            _ => world.failing(scene).await,
        };
        let hook = format!("/webhooks/{id}");
        let newest = Attempt::good(0).event;
        let (path, seen) = match scene {
            "logs" => (format!("{hook}/logs"), "13 attempts"),
            "logs-filtered-to-nothing" => (format!("{hook}/logs?identifier=6601abc"), "No attempt matches the filter"),
            "logs-empty" => (format!("{hook}/logs"), "Nothing was sent yet"),
            "held" => (format!("{hook}/held"), "6 events wait because"),
            "failed" => (format!("{hook}/failed"), "3 deliveries failed and can be sent again"),
            "events" => ("/events".to_owned(), "Sent when a call transcript is completed"),
            _ => (format!("{hook}/deliveries/{newest}.{id}"), "It failed, and can be sent again."),
        };
        let payloads = scene != "delivery-without-payload";
        world.open_with(page, scene, json!({"payloads": payloads}), &path).await;
        page.sees(seen).await;
    }

    async fn refused(&mut self, page: &Page, scene: &str) {
        let world = &self.world;
        let seen = match scene {
            "session-ended" => {
                page.announce("/webhooks answered 401");
                world.goto(page, scene, "/webhooks").await;
                "Your session has ended"
            }
            "forbidden" => {
                page.announce("/new answered 403");
                world.open_with(page, scene, json!({"access": "read"}), "/webhooks/new").await;
                "You may look at webhooks, and not change them"
            }
            "not-found" => {
                page.announce("/edit answered 404");
                world.open(page, scene, "/webhooks/wh_00000000000000000000000000000000/edit").await;
                "There is no such webhook"
            }
            _ => {
                world.open(page, scene, "/webhooks").await;
                self.redis.kill9();
                page.announce("/webhooks answered 503");
                page.reload().await;
                "Webhooks cannot be shown or changed right now"
            }
        };
        page.sees(seen).await;
    }
}
