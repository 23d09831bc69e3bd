//! How often: requests of a key, tests of a webhook, and entries to the portal with unknown links. All are counted in this
//! process alone.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
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

/// Entries with unknown links that one address may try in a minute, all at once if need be. People open old links a few
/// times; nobody guesses 256 bits, so the limit keeps a flood from the log and from Redis, and need not be narrow.
const ENTRIES_PER_MINUTE: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// The time after which an address at its limit may try once more, in seconds.
const ENTRY_EVERY_S: u32 = 60 / ENTRIES_PER_MINUTE.get();
/// Addresses whose tries are remembered. While there are more, all others share one limit.
const ADDRESSES_REMEMBERED: usize = 10_000;

/// The limits of this process.
pub(super) struct Rates {
    requests: RateLimiter<String, HashMapStateStore<String>, DefaultClock, StateInformationMiddleware>,
    per_second: NonZeroU32,
    /// The times of each webhook's latest tests, oldest first.
    tests: Mutex<HashMap<(AccountId, WebhookId), VecDeque<Instant>>>,
    tests_per_10s: usize,
    entries: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>,
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
            entries: RateLimiter::hashmap(Quota::per_minute(ENTRIES_PER_MINUTE)),
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

    /// Counts an entry to the portal with an unknown link, from this address. An entry with a valid link is not counted,
    /// so that nobody can use up the entries of others.
    ///
    /// # Errors
    /// `rate-limited` if the address tried too many.
    pub(super) fn take_entry(&self, client: IpAddr) -> Result<(), Problem> {
        if self.entries.len() >= ADDRESSES_REMEMBERED {
            self.entries.retain_recent();
        }
        let is_full = self.entries.len() >= ADDRESSES_REMEMBERED;
        let key = if is_full { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { network(client) };
        let detail = || format!("an address may try {ENTRIES_PER_MINUTE} unknown links in a minute");
        let refused = |_| Problem::new(&RATE_LIMITED, detail()).retry_after(ENTRY_EVERY_S.into());
        self.entries.check_key(&key).map_err(refused)
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

/// The addresses that count as one: a client with IPv6 usually has a whole /64.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
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
    #[test]
    fn an_address_tries_ten_unknown_links_and_another_address_is_not_refused_for_it() {
        let rates = Rates::new(1, 1);
        let may = |address: &str| rates.take_entry(address.parse().unwrap()).is_ok();
        for (one, same, other) in
            [("9.9.9.9", "::ffff:9.9.9.9", "9.9.9.8"), ("2001:db8::1", "2001:db8::ffff:0:0:2", "2001:db8:0:1::1")]
        {
            assert_eq!((0..11).filter(|_| may(one)).count(), 10, "{one}");
            assert!(!may(same) && may(other), "{same} {other}");
        }
        let refused = rates.take_entry("9.9.9.9".parse().unwrap()).unwrap_err();
        assert_eq!(refused.kind, &RATE_LIMITED);
    }

    #[test]
    fn a_flood_from_many_addresses_is_remembered_within_bounds_and_shares_one_limit() {
        let rates = Rates::new(1, 1);
        let address = |number: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(number));
        let most = u32::try_from(ADDRESSES_REMEMBERED).unwrap();
        let taken = (0..most + 100).filter(|number| rates.take_entry(address(*number)).is_ok()).count();
        assert!(rates.entries.len() <= ADDRESSES_REMEMBERED + 1, "{}", rates.entries.len());
        assert!((ADDRESSES_REMEMBERED..ADDRESSES_REMEMBERED + 100).contains(&taken), "{taken}");
    }
}
