//! How often: requests of a key, and tests of a webhook. Both are counted in this process alone.

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroU32,
    time::Duration,
};

use axum::response::Response;
use governor::{
    Quota, RateLimiter, clock::DefaultClock, middleware::StateInformationMiddleware, state::keyed::HashMapStateStore,
};
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::problem::{Problem, RATE_LIMITED};
use crate::domain::{account::AccountId, webhook::WebhookId};

/// The time over which tests are counted.
const TESTS_OVER: Duration = Duration::from_secs(10);
/// Webhooks of which tests are remembered, before those that were not tested of late are forgotten.
const TESTS_REMEMBERED: usize = 10_000;

/// The limits of this process.
pub(super) struct Rates {
    requests: RateLimiter<String, HashMapStateStore<String>, DefaultClock, StateInformationMiddleware>,
    per_second: NonZeroU32,
    /// The times of each webhook's latest tests, oldest first.
    tests: Mutex<HashMap<(AccountId, WebhookId), VecDeque<Instant>>>,
    tests_per_10s: usize,
}

/// A request that was counted.
pub(super) struct Taken {
    policy: HeaderValue,
    left: HeaderValue,
}

impl Rates {
    pub(super) fn new(requests_per_second: u32, tests_per_10s: u32) -> Self {
        let per_second = NonZeroU32::new(requests_per_second).unwrap_or(NonZeroU32::MIN);
        Self {
            requests: RateLimiter::hashmap(Quota::per_second(per_second)).with_middleware(),
            per_second,
            tests: Mutex::default(),
            tests_per_10s: tests_per_10s as usize,
        }
    }

    /// Counts a request of this key.
    ///
    /// # Errors
    /// `rate-limited` if the key made too many.
    pub(super) fn take(&self, key: &str) -> Result<Taken, Problem> {
        if let Ok(state) = self.requests.check_key(&key.to_owned()) {
            return Ok(self.taken(state.remaining_burst_capacity()));
        }
        let detail = format!("a key may make {} requests a second at this server", self.per_second);
        let [policy, left] = self.fields(0);
        Err(Problem::new(&RATE_LIMITED, detail).retry_after(1).with(POLICY, policy).with(LEFT, left))
    }

    /// Counts a test of an account's webhook. A key of another account that knows the webhook's id takes none of its
    /// tests.
    ///
    /// # Errors
    /// `rate-limited` if it was tested too often.
    pub(super) fn take_test(&self, account: &AccountId, webhook: WebhookId) -> Result<(), Problem> {
        let now = Instant::now();
        let mut tests = self.tests.lock();
        if tests.len() > TESTS_REMEMBERED {
            tests.retain(|_, times| times.back().is_some_and(|last| now.duration_since(*last) < TESTS_OVER));
        }
        let times = tests.entry((account.clone(), webhook)).or_default();
        if times.len() < self.tests_per_10s {
            times.push_back(now);
            return Ok(());
        }
        let since_oldest = times.front().map_or(TESTS_OVER, |oldest| now.duration_since(*oldest));
        if since_oldest >= TESTS_OVER {
            times.pop_front();
            times.push_back(now);
            return Ok(());
        }
        let detail = format!("a webhook may be tested {} times in 10 s", self.tests_per_10s);
        Err(Problem::new(&RATE_LIMITED, detail).retry_after(TESTS_OVER.saturating_sub(since_oldest).as_secs() + 1))
    }

    fn taken(&self, left: u32) -> Taken {
        let [policy, left] = self.fields(left).map(|text| HeaderValue::from_str(&text).expect("a header's text"));
        Taken { policy, left }
    }

    /// The texts of `RateLimit-Policy` and `RateLimit`.
    fn fields(&self, left: u32) -> [String; 2] {
        [format!("\"requests\";q={};w=1", self.per_second), format!("\"requests\";r={left};t=1")]
    }
}

const POLICY: http::HeaderName = http::HeaderName::from_static("ratelimit-policy");
const LEFT: http::HeaderName = http::HeaderName::from_static("ratelimit");

impl Taken {
    /// The answer with the fields that tell how many requests are left.
    pub(super) fn on(self, mut response: Response) -> Response {
        response.headers_mut().insert(POLICY, self.policy);
        response.headers_mut().insert(LEFT, self.left);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_webhook_gets_its_tests_in_any_ten_seconds_and_no_more() {
        let rates = Rates::new(1, 2);
        let [one, other] = [1, 2].map(|id| WebhookId::new(uuid::Uuid::from_u128(id)));
        let [acme, globex]: [AccountId; 2] = ["acme", "globex"].map(|account| account.parse().unwrap());
        let wait = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        assert!(rates.take_test(&acme, one).is_ok());
        wait(6).await;
        assert!(rates.take_test(&acme, one).is_ok());
        assert_eq!(rates.take_test(&acme, one).unwrap_err().kind, &RATE_LIMITED);
        assert!(rates.take_test(&acme, other).is_ok(), "another webhook has its own");
        assert!(rates.take_test(&globex, one).is_ok(), "another account takes none of them");
        wait(4).await;
        assert!(rates.take_test(&acme, one).is_ok(), "the first test is ten seconds ago");
        assert!(rates.take_test(&acme, one).is_err());
        wait(6).await;
        assert!(rates.take_test(&acme, one).is_ok());
    }
}
