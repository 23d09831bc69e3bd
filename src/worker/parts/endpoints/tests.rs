use super::{super::no_room::NoRoom, *};
use crate::domain::{event::EventId, recent::ALONE_AFTER};

const ANSWERED: Outcome = Outcome::Response { status: 200 };

fn delivery() -> Delivery {
    let event: EventId = "e1".parse().unwrap();
    Delivery::first(&event, &"acme".parse().unwrap(), WebhookId::new(uuid::Uuid::now_v7()), None)
}

fn url() -> Url {
    "https://hooks.test/one".parse().unwrap()
}

/// A place for every 100 bytes.
fn endpoints(places: usize) -> Arc<Endpoints> {
    endpoints_at(places, Box::new(|_| usize::MAX))
}

/// The same, at a host that takes as many more requests as `host_room` says.
fn endpoints_at(places: usize, host_room: HostRoom) -> Arc<Endpoints> {
    let rule = Rule { places, timeout: Duration::from_secs(10), failing_every: Duration::from_millis(30) };
    Arc::new(Endpoints::new(rule, 100 * places, vec![Arc::default()], host_room))
}

fn in_flight(endpoints: &Endpoints) -> usize {
    endpoints.known().in_flight.iter().sum()
}

/// The limit that keeps this delivery from being attempted.
fn limit(endpoints: &Arc<Endpoints>, delivery: &Delivery) -> Option<Limit> {
    endpoints.enter(delivery, &url(), 0, false).err()?;
    endpoints.known().by_webhook[&delivery.webhook].limited.map(|(limit, _)| limit)
}

fn end_all(permits: Vec<Permit>) {
    for permit in permits {
        permit.end(&ANSWERED);
    }
}

/// Makes attempts that are answered after `took`, as many at a time as allowed, until the endpoint may use its whole
/// share.
async fn warm(endpoints: &Arc<Endpoints>, delivery: &Delivery, took: Duration) {
    for _ in 0..40 {
        let permits: Vec<Permit> = std::iter::from_fn(|| endpoints.enter(delivery, &url(), 0, false).ok()).collect();
        tokio::time::advance(took).await;
        end_all(permits);
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_alone_may_have_all_places_and_shares_them_as_soon_as_another_comes() {
    let (endpoints, slow, other) = (endpoints(64), delivery(), delivery());
    warm(&endpoints, &slow, Duration::from_secs(1)).await;
    let mut permits: Vec<Permit> = std::iter::from_fn(|| endpoints.enter(&slow, &url(), 0, false).ok()).collect();
    assert_eq!(permits.len(), 64);
    permits.truncate(33);
    permits.push(endpoints.enter(&other, &url(), 0, false).unwrap());
    assert_eq!(limit(&endpoints, &slow), Some(Limit::Share), "it has more than half");
    permits.pop();
    tokio::time::advance(ALONE_AFTER + Duration::from_millis(1)).await;
    assert!(endpoints.enter(&slow, &url(), 0, false).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_place_is_given_back_however_the_attempt_ends() {
    let (endpoints, one) = (endpoints(2), delivery());
    for _ in 0..10 {
        endpoints.enter(&one, &url(), 0, false).unwrap().end(&ANSWERED);
        drop(endpoints.enter(&one, &url(), 0, false).unwrap());
        drop(endpoints.enter_anyway(&one, 0));
    }
    let both = [endpoints.enter_anyway(&one, 0), endpoints.enter_anyway(&one, 0)];
    assert_eq!((in_flight(&endpoints), limit(&endpoints, &one)), (2, Some(Limit::Places)));
    drop(both);
    assert_eq!(in_flight(&endpoints), 0);
}

#[tokio::test(start_paused = true)]
async fn a_large_event_occupies_as_many_places_as_share_out_its_bytes() {
    let (endpoints, one) = (endpoints(16), delivery());
    for (bytes, places) in [(0, 1), (1, 1), (100, 1), (101, 2), (250, 3), (5000, 50)] {
        let permit = endpoints.enter(&one, &url(), bytes, false).unwrap();
        assert_eq!(in_flight(&endpoints), places, "{bytes}");
        permit.end(&ANSWERED);
        assert_eq!(in_flight(&endpoints), 0, "{bytes}");
    }
    let hog = delivery();
    warm(&endpoints, &hog, Duration::from_secs(1)).await;
    endpoints.known().saw(one.webhook, endpoints.began.elapsed());
    let permits: Vec<Permit> = std::iter::from_fn(|| endpoints.enter(&hog, &url(), 300, false).ok()).collect();
    assert_eq!((permits.len(), in_flight(&endpoints)), (3, 9), "half, passed by less than one more takes");
}

#[tokio::test(start_paused = true)]
async fn a_place_that_becomes_free_rings_for_held_deliveries_once_and_so_do_deliveries_held_meanwhile() {
    let (endpoints, one) = (endpoints(16), delivery());
    let next = || endpoints.next_rung(0).map(|(_, webhook)| webhook);
    endpoints.enter(&one, &url(), 0, false).unwrap().end(&ANSWERED);
    assert_eq!(next(), None, "nothing is held");
    let permits: Vec<Permit> = std::iter::from_fn(|| endpoints.enter(&one, &url(), 0, false).ok()).collect();
    endpoints.note_held(&one.account, one.webhook);
    assert_eq!(next(), None, "there is no room");
    end_all(permits);
    assert_eq!((next(), next()), (Some(one.webhook), None), "once for all three");
    endpoints.note_held(&one.account, one.webhook);
    assert_eq!(next(), Some(one.webhook), "places became free before the delivery was held");
    endpoints.note_none_held(one.webhook);
    endpoints.enter(&one, &url(), 0, false).unwrap().end(&ANSWERED);
    assert_eq!(next(), None);
    endpoints.enter(&one, &url(), 0, true).unwrap().end(&ANSWERED);
    assert_eq!(next(), Some(one.webhook), "it was held, so others may be");
}

#[tokio::test(start_paused = true)]
async fn deliveries_on_their_way_back_have_their_room_until_they_come_or_another_worker_has_them() {
    let (endpoints, one) = (endpoints(16), delivery());
    assert_eq!(endpoints.room(one.webhook, 16).0, 3);
    endpoints.note_held(&one.account, one.webhook);
    endpoints.expect(one.webhook, 3);
    assert!(endpoints.enter(&one, &url(), 0, false).is_err(), "no new delivery takes it");
    endpoints.expect(one.webhook, -1);
    assert_eq!(endpoints.room(one.webhook, 16).0, 1);
    let permit = endpoints.enter(&one, &url(), 0, true).unwrap();
    assert_eq!(endpoints.room(one.webhook, 16).0, 1, "one is in flight, and one still expected");
    tokio::time::advance(COMES).await;
    assert_eq!(endpoints.room(one.webhook, 16).0, 2);
    permit.end(&ANSWERED);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_told_of_as_limited_for_two_seconds_or_while_deliveries_are_held() {
    let (endpoints, one, other) = (endpoints(16), delivery(), delivery());
    let told = || endpoints.survey().2;
    let permits: Vec<Permit> = std::iter::from_fn(|| endpoints.enter(&one, &url(), 0, false).ok()).collect();
    endpoints.enter(&other, &url(), 0, false).unwrap().end(&ANSWERED);
    let limited = told();
    assert_eq!(limited.len(), 1);
    let expected = ("acme", one.webhook.to_string(), "has not answered well yet", 3, 3);
    let Limited { account, webhook, why, in_flight, limit } = &limited[0];
    assert_eq!((account.as_str(), webhook.clone(), why.as_str(), *in_flight, *limit), expected);
    tokio::time::advance(LIMITED).await;
    assert!(told().is_empty());
    endpoints.note_held(&one.account, one.webhook);
    assert_eq!(told().len(), 1);
    drop(permits);
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_always_fail_are_counted_at_once_and_again_when_they_are_surveyed() {
    let (endpoints, one) = (endpoints(16), delivery());
    for _ in 0..50 {
        assert_eq!(endpoints.known().failing, 0);
        endpoints.enter(&one, &url(), 0, false).unwrap().end(&Outcome::Response { status: 500 });
    }
    assert_eq!(endpoints.known().failing, 1);
    endpoints.survey();
    assert_eq!(endpoints.known().failing, 1);
    endpoints.enter(&one, &url(), 0, false).unwrap().end(&ANSWERED);
    endpoints.survey();
    assert_eq!(endpoints.known().failing, 0);
}

#[tokio::test(start_paused = true)]
async fn the_measure_of_quick_follows_the_quickest_answer_of_the_last_seconds() {
    let (endpoints, one, other) = (endpoints(8), delivery(), delivery());
    let answer = async |delivery: &Delivery, took_ms: u64| {
        let permit = endpoints.enter(delivery, &url(), 0, false).unwrap();
        tokio::time::advance(Duration::from_millis(took_ms)).await;
        permit.end(&ANSWERED);
    };
    let quickest = || endpoints.known().crowd(&endpoints, one.webhook, endpoints.began.elapsed()).quickest.as_millis();
    answer(&one, 40).await;
    answer(&other, 90).await;
    assert_eq!(quickest(), 40);
    tokio::time::advance(Duration::from_secs(1)).await;
    answer(&other, 90).await;
    assert_eq!(quickest(), 40);
    tokio::time::advance(Duration::from_secs(1)).await;
    answer(&other, 95).await;
    assert_eq!(quickest(), 90);
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_are_idle_are_forgotten_before_they_are_many() {
    let endpoints = endpoints(8);
    let kept = endpoints.enter(&delivery(), &url(), 0, false).unwrap();
    for _ in 0..REMEMBERED {
        endpoints.enter(&delivery(), &url(), 0, false).unwrap().end(&ANSWERED);
    }
    tokio::time::advance(Duration::from_secs(61)).await;
    for _ in 0..2 * REMEMBERED {
        endpoints.enter(&delivery(), &url(), 0, false).unwrap().end(&ANSWERED);
    }
    let remembered = endpoints.known().by_webhook.len();
    assert!(remembered < 5 * REMEMBERED / 2, "{remembered} of {}", 3 * REMEMBERED);
    kept.end(&ANSWERED);
}

#[test]
fn webhooks_at_a_host_that_allows_no_more_connections_take_turns() {
    let free = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let room = free.clone();
    let endpoints = endpoints_at(64, Box::new(move |_| room.load(Relaxed)));
    let (flooding, quiet) = (delivery(), delivery());
    let working = endpoints.enter(&flooding, &url(), 0, false).unwrap();
    for waiting in [&flooding, &flooding, &quiet] {
        endpoints.note_host_full(waiting, &url());
        endpoints.note_held(&waiting.account, waiting.webhook);
    }
    assert_eq!(endpoints.next_rung(0), None, "no connection is free");
    free.store(1, Relaxed);
    working.end(&ANSWERED);
    assert_eq!(endpoints.next_rung(0).map(|(_, webhook)| webhook), Some(flooding.webhook));
    // A new event of the flooding webhook does not overtake the waiting ones.
    assert_eq!(endpoints.enter(&flooding, &url(), 0, false).err(), Some(NoRoom::AT_HOST));
    endpoints.enter(&flooding, &url(), 0, true).unwrap().end(&ANSWERED);
    assert_eq!(endpoints.next_rung(0).map(|(_, webhook)| webhook), Some(quiet.webhook));
    // Once nothing is held, no webhook stands in line.
    let last = endpoints.enter(&quiet, &url(), 0, true).unwrap();
    for webhook in [flooding.webhook, quiet.webhook] {
        endpoints.note_none_held(webhook);
    }
    last.end(&ANSWERED);
    assert!(endpoints.enter(&flooding, &url(), 0, false).is_ok());
}

#[test]
fn a_webhook_that_is_edited_leaves_the_limit_of_its_old_host_behind() {
    let endpoints = endpoints_at(64, Box::new(|host| if host == "hooks.test" { 0 } else { usize::MAX }));
    let one = delivery();
    endpoints.note_host_full(&one, &url());
    assert_eq!(limit(&endpoints, &one), Some(Limit::Connections));
    assert!(endpoints.enter(&one, &"https://elsewhere.test/".parse().unwrap(), 0, false).is_ok());
}
