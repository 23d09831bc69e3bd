//! Attacks by strangers: endpoints with forbidden addresses, and endpoints with harmful answers.
//!
//! In these tests 127.0.0.2 stands for the public internet; it is the only network in `egress.allow`. On every other
//! address of this machine, at the same port, a tripwire listens. A connection to it fails the test, whatever the
//! delivery log says.

mod addresses;
mod detours;
mod hostile;
mod memory;
mod responses;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use redis::AsyncCommands;
use serde_json::Value;

use crate::support::*;

/// The only address that may be dialled.
const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const PRIVATE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PRIVATE_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// An installation that may dial only 127.0.0.2, a receiver there, and tripwires around it.
struct Site {
    here: Installation,
    program: Program,
    dns: DnsServer,
    receiver: Receiver,
    tripwires: Vec<Tripwire>,
}

impl Site {
    /// Starts a site whose webhooks may have these host names in their URLs.
    async fn new(names: &[&str]) -> Self {
        let (receiver, tripwires) = receiver_and_tripwires().await;
        let here = Installation::new(&receiver).await;
        let here = names.iter().fold(here, |here, name| here.allowing(&format!("https://{name}/")));
        let dns = DnsServer::start().await;
        let program = here.program.clone().env("LYNKHOOK_EGRESS__ALLOW", format!("{PUBLIC}/32")).resolving_with(&dns);
        Self { here, program, dns, receiver, tripwires }
    }

    /// Presses the test button of this webhook. Answers the log entry.
    async fn pressed(&self, account: &str, webhook: lynkhook::domain::webhook::WebhookId) -> Value {
        let id = webhook.to_string();
        let output = self.program.run(["webhook", "test", "--account", account, &id, "--json"]).await;
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:#?}"))
    }

    async fn assert_tripwires_untouched(&mut self) {
        for tripwire in &mut self.tripwires {
            tripwire.assert_untouched().await;
        }
    }

    /// Writes a webhook's settings past every check, as anyone with access to Redis can.
    async fn forge(&self, account: &str, webhook: lynkhook::domain::webhook::WebhookId, url: &str) {
        let (key, id) = (self.here.key(&format!("webhooks:{account}")), webhook.to_string());
        let saved: String = self.here.redis.clone().hget(&key, &id).await.unwrap();
        let mut settings: Value = serde_json::from_str(&saved).unwrap();
        settings["url"] = url.into();
        let _: () = self.here.redis.clone().hset(&key, &id, settings.to_string()).await.unwrap();
    }
}

/// A receiver on 127.0.0.2 and, at its port, a tripwire on each other address of this machine that tests can use.
async fn receiver_and_tripwires() -> (Receiver, Vec<Tripwire>) {
    for _ in 0..100 {
        let receiver = Receiver::at(PUBLIC).await;
        let port = receiver.address().port();
        let v4 = Tripwire::on(SocketAddr::new(PRIVATE, port)).await;
        let v6 = Tripwire::on(SocketAddr::new(PRIVATE_V6, port)).await;
        if let (Ok(v4), Ok(v6)) = (v4, v6) {
            return (receiver, vec![v4, v6]);
        }
    }
    panic!("no port was free on 127.0.0.1, 127.0.0.2 and ::1 alike in 100 tries");
}
