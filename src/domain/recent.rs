//! What a worker saw of endpoints a moment ago: whether one has the worker for itself, and how quick the quickest is.

use std::time::Duration;

use super::webhook::WebhookId;

/// An endpoint is alone when no other was seen for this long.
pub const ALONE_AFTER: Duration = Duration::from_secs(2);

/// Times are counted from when the worker started.
#[derive(Debug, Default)]
pub struct Recent {
    /// The webhook that was seen last, and when the last of all others was.
    last: Option<WebhookId>,
    another: Option<Duration>,
    last_seen: Duration,
    /// The second in which an answer came last, and how long the quickest took in it and in the one before.
    second: u64,
    quickest: [Option<Duration>; 2],
}

impl Recent {
    /// A delivery for this webhook came.
    pub fn saw(&mut self, webhook: WebhookId, now: Duration) {
        if self.last != Some(webhook) {
            self.another = self.last.map(|_| self.last_seen);
            self.last = Some(webhook);
        }
        self.last_seen = now;
    }

    /// Whether nothing came for any other webhook lately.
    pub fn is_alone(&self, webhook: WebhookId, now: Duration) -> bool {
        let another = if self.last == Some(webhook) { self.another } else { self.last.map(|_| self.last_seen) };
        another.is_none_or(|seen| now.saturating_sub(seen) > ALONE_AFTER)
    }

    /// An answer took this long.
    pub fn note_answer(&mut self, took: Duration, now: Duration) {
        if now.as_secs() > self.second {
            let is_next = now.as_secs() == self.second + 1;
            self.quickest = [None, self.quickest[0].filter(|_| is_next)];
            self.second = now.as_secs();
        }
        self.quickest[0] = Some(self.quickest[0].map_or(took, |quickest| quickest.min(took)));
    }

    /// How long the quickest of the latest answers took; zero if there was none.
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
