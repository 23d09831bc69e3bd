//! The platform: another site, whose page embeds the portal and whose backend asks the API for links.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use serde_json::{Value, json};

use crate::{
    site::{Reply, Site, answer},
    support::*,
    world::{Backend, World},
};

/// The path of the page that embeds the portal.
const SETTINGS: &str = "/settings";
/// The path at which the page asks for a link.
pub const LINK: &str = "/api/webhooks-link";

/// The look of the platform: light or dark, as the system is.
const STYLE: &str = "<style>:root { color-scheme: light dark; font: 16px sans-serif }</style>";

/// The platform and the installation behind it. The browser sees two sites: `localhost` and `127.0.0.1`.
pub struct Platform {
    pub world: World,
    pub site: Site,
    /// Whether the backend refuses to give links.
    pub refuses: Arc<AtomicBool>,
    /// While a test holds it, requests for links wait.
    pub gate: Arc<tokio::sync::Mutex<()>>,
}

impl Platform {
    /// A platform whose user belongs to this account. Links get `more` members beside access and origin, such as a
    /// theme.
    pub async fn start(receiver: &Receiver, account: &str, more: Value) -> Self {
        let backend: Arc<OnceLock<Backend>> = Arc::default();
        let (asks, account) = (Arc::clone(&backend), account.to_owned());
        let (refuses, gate) = (Arc::<AtomicBool>::default(), Arc::<tokio::sync::Mutex<()>>::default());
        let (is_closed, held) = (Arc::clone(&refuses), Arc::clone(&gate));
        let site = Site::start(move |asked| {
            let (asks, account, more) = (Arc::clone(&asks), account.clone(), more.clone());
            let (is_closed, held) = (Arc::clone(&is_closed), Arc::clone(&held));
            async move {
                let backend = asks.get().expect("the server has started");
                match (asked.method.as_str(), asked.path.as_str()) {
                    ("GET", SETTINGS) => settings(backend),
                    ("POST", LINK) if is_closed.load(Ordering::SeqCst) => answer(503, "text/plain", "", &[]),
                    ("POST", LINK) => {
                        let _open = held.lock().await;
                        let origin = format!("http://{}", asked.headers["host"].to_str().unwrap());
                        link(backend, &account, &origin, &more).await
                    }
                    _ => answer(404, "text/plain", "", &[]),
                }
            }
        })
        .await;
        let origin = site.other_url("");
        let here = Installation::new(receiver).await;
        let world = World::of(here, [("LYNKHOOK_PORTAL__EMBED_ORIGINS", &origin)]).await;
        assert!(backend.set(Backend::of(&world)).is_ok(), "it is set once");
        Self { world, site, refuses, gate }
    }

    /// The page that embeds the portal.
    pub fn settings(&self) -> String {
        self.site.other_url(SETTINGS)
    }
}

/// The platform's own page, as README tells the platform's developers to write it.
fn settings(backend: &Backend) -> Reply {
    let script = backend.address("/embed.js");
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <title>Settings</title>{STYLE}<main><h1>Settings</h1><script src='{script}'></script>\
         <lynkhook-webhooks link='{LINK}'></lynkhook-webhooks></main></html>"
    );
    answer(200, "text/html", &html, &[])
}

async fn link(backend: &Backend, account: &str, origin: &str, more: &Value) -> Reply {
    let mut link = json!({"access": "manage", "payloads": true, "embedOrigin": origin});
    link.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    let (status, made) = backend.link(account, link).await;
    answer(status, "application/json", &made.to_string(), &[])
}
