//! Webhooks whose host allows no more connections than are open. They take turns: a connection that becomes free goes
//! to the webhook that has waited longest. Otherwise a webhook with many events would leave none to the others at its
//! host.

use std::collections::{HashMap, VecDeque};

use url::Url;

use crate::{domain::webhook::WebhookId, sender};

/// The number of further requests that a host would take now, as far as its limit on connections is known.
pub(crate) type HostRoom = Box<dyn Fn(&str) -> usize + Send + Sync>;

/// One worker's knowledge of such hosts.
pub(crate) struct Hosts {
    room: HostRoom,
    of: HashMap<WebhookId, Box<str>>,
    /// Webhooks with held deliveries, in the order of their turns.
    lines: HashMap<Box<str>, VecDeque<WebhookId>>,
}

impl Default for Hosts {
    /// No host has a limit.
    fn default() -> Self {
        Self::new(Box::new(|_| usize::MAX))
    }
}

impl Hosts {
    pub(crate) fn new(room: HostRoom) -> Self {
        Self { room, of: HashMap::new(), lines: HashMap::new() }
    }

    /// Notes that the host of a webhook's URL did not accept a connection.
    pub(crate) fn note_full(&mut self, webhook: WebhookId, url: &Url) {
        self.of.insert(webhook, sender::host(url).into());
    }

    /// Notes a webhook's present URL. Forgets its old host if the URL leads to another.
    pub(crate) fn note_url(&mut self, webhook: WebhookId, url: &Url) {
        if self.of.get(&webhook).is_some_and(|host| **host != *sender::host(url)) {
            self.of.remove(&webhook);
        }
    }

    /// The number of further requests that a webhook's host takes.
    pub(crate) fn room(&self, webhook: WebhookId) -> usize {
        self.of.get(&webhook).map_or(usize::MAX, |host| (self.room)(host))
    }

    /// Whether a new delivery has to wait because others already wait in line at its host.
    pub(crate) fn is_awaited(&self, webhook: WebhookId) -> bool {
        let line = self.of.get(&webhook).and_then(|host| self.lines.get(host));
        line.is_some_and(|line| !line.is_empty()) && self.room(webhook) < usize::MAX
    }

    /// Puts a webhook whose deliveries wait in its host's line.
    pub(crate) fn wait(&mut self, webhook: WebhookId) {
        let Some(host) = self.of.get(&webhook) else { return };
        let line = self.lines.entry(host.clone()).or_default();
        if !line.contains(&webhook) {
            line.push_back(webhook);
        }
    }

    /// The webhook whose turn it is after an attempt of `webhook`: the first in its line that still waits, or `webhook`
    /// itself.
    pub(crate) fn next(&mut self, webhook: WebhookId, waits: impl Fn(WebhookId) -> bool) -> WebhookId {
        let Some(host) = self.of.get(&webhook) else { return webhook };
        let Some(line) = self.lines.get_mut(host) else { return webhook };
        line.retain(|one| waits(*one) && self.of.get(one) == Some(host));
        let Some(next) = line.pop_front() else {
            self.lines.remove(host);
            return webhook;
        };
        line.push_back(next);
        next
    }

    /// Forgets webhooks that are not `known`, and hosts at which no webhook waits.
    pub(crate) fn forget(&mut self, known: impl Fn(&WebhookId) -> bool) {
        self.of.retain(|webhook, _| known(webhook));
        self.lines.retain(|_, line| line.iter().any(|webhook| self.of.contains_key(webhook)));
    }
}
