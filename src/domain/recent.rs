//! A worker's recent view of its endpoints: whether one has the worker to itself, and the time of the quickest answer.

use std::time::Duration;

use super::webhook::WebhookId;

/// The time without any other endpoint after which an endpoint counts as alone.
pub const ALONE_AFTER: Duration = Duration::from_secs(2);

/// The recent view. Times count from the start of the worker.
#[derive(Debug, Default)]
pub struct Recent {
    /// The webhook that was last seen, and the time at which any other was last seen.
    last: Option<WebhookId>,
    another: Option<Duration>,
    last_seen: Duration,
    /// The second in which an answer last came, and the time of the quickest answer in it and in the second before.
    second: u64,
    quickest: [Option<Duration>; 2],
}

impl Recent {
    /// Notes that a delivery for this webhook came.
    pub fn saw(&mut self, webhook: WebhookId, now: Duration) {
        if self.last != Some(webhook) {
            self.another = self.last.map(|_| self.last_seen);
            self.last = Some(webhook);
        }
        self.last_seen = now;
    }

    /// Whether no delivery came for any other webhook within [`ALONE_AFTER`].
    pub fn is_alone(&self, webhook: WebhookId, now: Duration) -> bool {
        let another = if self.last == Some(webhook) { self.another } else { self.last.map(|_| self.last_seen) };
        another.is_none_or(|seen| now.saturating_sub(seen) > ALONE_AFTER)
    }

    /// Notes the time that an answer took.
    pub fn note_answer(&mut self, took: Duration, now: Duration) {
        if now.as_secs() > self.second {
            let is_next = now.as_secs() == self.second + 1;
            self.quickest = [None, self.quickest[0].filter(|_| is_next)];
            self.second = now.as_secs();
        }
        self.quickest[0] = Some(self.quickest[0].map_or(took, |quickest| quickest.min(took)));
    }

    /// The time of the quickest recent answer; zero if there was none.
    pub fn quickest(&self) -> Duration {
        self.quickest.into_iter().flatten().min().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_alone_until_another_is_seen_and_again_two_seconds_later() {
        let ([one, other], mut recent) = ([(); 2].map(|()| WebhookId::new(uuid::Uuid::now_v7())), Recent::default());
        let ms = Duration::from_millis;
        recent.saw(one, ms(0));
        assert!(recent.is_alone(one, ms(10)) && !recent.is_alone(other, ms(10)));
        recent.saw(other, ms(20));
        recent.saw(one, ms(30));
        assert!(!recent.is_alone(one, ms(2020)));
        assert!(recent.is_alone(one, ms(2021)));
    }

    #[test]
    fn the_quickest_answer_counts_for_its_second_and_the_next() {
        let (mut recent, ms) = (Recent::default(), Duration::from_millis);
        recent.note_answer(ms(5), ms(100));
        recent.note_answer(ms(9), ms(1100));
        assert_eq!(recent.quickest(), ms(5));
        recent.note_answer(ms(9), ms(2100));
        assert_eq!(recent.quickest(), ms(9));
        recent.note_answer(ms(7), ms(9000));
        assert_eq!(recent.quickest(), ms(7), "what is older than a second is forgotten");
    }
}
