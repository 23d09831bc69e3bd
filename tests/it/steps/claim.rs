//! Claiming: entries whose worker was not heard of for a whole lease change hands, as far as there is room.

use super::*;

const LEASE: Duration = Duration::from_secs(30);

/// `a` takes `count` new entries; each then has `deliveries` deliveries and has been idle for `idle_ms`.
async fn abandoned(bench: &Bench, count: usize, deliveries: u32, idle_ms: u64) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        bench.push("acme", TRANSCRIPT).await;
    }
    let queue = bench.key("queue");
    for held in bench.take("a").await {
        let id = held.entry.0;
        let age = format!("XCLAIM {queue} workers a 0 {id} IDLE {idle_ms} RETRYCOUNT {deliveries} JUSTID");
        bench.cli::<redis::Value>(&age).await;
        ids.push(id);
    }
    assert_eq!(ids.len(), count);
    ids
}

/// The entries that `b` claims: entry and delivery count.
async fn claim(bench: &Bench, room: usize, suspects: usize) -> Vec<(String, u32)> {
    let claimed = bench.store.claim(0, "b", LEASE, (room, suspects)).await.unwrap();
    claimed.entries.into_iter().map(|entry| (entry.id.0, entry.deliveries)).collect()
}

/// The number of entries that a consumer holds.
async fn held_by(bench: &Bench, consumer: &str) -> usize {
    let held: Vec<redis::Value> =
        bench.cli(&format!("XPENDING {} workers - + 1000 {consumer}", bench.key("queue"))).await;
    held.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn suspects_without_room_for_them_do_not_hide_the_entry_behind_them() {
    let bench = Bench::new().await;
    let suspects = abandoned(&bench, 150, 2, 60_000).await;
    let fresh = abandoned(&bench, 1, 1, 60_000).await;
    assert_eq!(claim(&bench, 10, 0).await, [(fresh[0].clone(), 2)]);
    assert_eq!(claim(&bench, 10, 0).await, [], "it is no longer idle, and the others are suspects");
    assert_eq!(claim(&bench, 10, 1).await, [(suspects[0].clone(), 3)], "exactly one suspect");
    assert_eq!((held_by(&bench, "a").await, held_by(&bench, "b").await), (149, 2));
}

/// Gives a dead consumer a suspect: a delivery for this webhook.
async fn suspect_delivery(bench: &Bench, webhook: WebhookId) -> String {
    let id = bench.queue(&first("acme", webhook, "e1")).await;
    bench.take("a").await;
    let queue = bench.key("queue");
    bench.cli::<redis::Value>(&format!("XCLAIM {queue} workers a 0 {id} IDLE 60000 RETRYCOUNT 2 JUSTID")).await;
    id
}

/// The entries that `b` claims if suspects of these webhooks go last.
async fn claim_last(bench: &Bench, entries: usize, slow: &[String]) -> Vec<String> {
    let mut room = MayTake { last: slow.to_vec(), ..MayTake::from((entries, 1)) };
    look_on(bench, &mut room).await
}

/// The entries that `b` claims, continuing where the last claim stopped.
async fn look_on(bench: &Bench, room: &mut MayTake) -> Vec<String> {
    let claimed = bench.store.claim(0, "b", LEASE, room.clone()).await.unwrap();
    room.from = claimed.next;
    claimed.entries.into_iter().map(|entry| entry.id.0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_webhooks_suspect_goes_after_others_and_first_if_there_are_none() {
    let bench = Bench::new().await;
    let [slow, quick] = [bench.webhook("acme", true).await, bench.webhook("acme", true).await];
    let events = abandoned(&bench, 3, 2, 60_000).await;
    let mut of_slow = Vec::new();
    for _ in 0..3 {
        of_slow.push(suspect_delivery(&bench, slow).await);
    }
    let of_quick = suspect_delivery(&bench, quick).await;
    let last = ["acme".to_owned(), slow.to_string()];
    let before = bench.state().await;
    assert_eq!(claim_last(&bench, 0, &last).await, [""; 0]);
    assert_eq!(changed(&before, &bench.state().await), [""; 0]);
    assert_eq!(claim_last(&bench, 1, &last).await, [of_quick]);
    let turned = [last[1].clone(), last[0].clone()];
    assert_eq!(claim_last(&bench, 1, &turned).await, [of_slow[0].clone()], "in the order of their names");
    assert_eq!(claim_last(&bench, 1, &last[1..]).await, [events[0].clone()]);
    assert_eq!(claim_last(&bench, 1, &last).await, [events[1].clone()], "only their suspects are left");
    let fresh = abandoned(&bench, 3, 1, 60_000).await;
    let taken = claim_last(&bench, 3, &last).await;
    assert_eq!(taken, [events[2].clone(), fresh[0].clone(), fresh[1].clone()], "a place is kept for the suspect");
    let mut room = MayTake { not: last.to_vec(), ..MayTake::from((3, 1)) };
    assert_eq!(
        look_on(&bench, &mut room).await,
        [fresh[2].clone()],
        "two entries of the slow webhook stay where they are"
    );
    assert_eq!((room.from, held_by(&bench, "a").await), (None, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_through_many_suspects_takes_several_claims_with_short_scripts() {
    let bench = Bench::new().await;
    let events = abandoned(&bench, 201, 2, 60_000).await;
    let quick = bench.webhook("acme", true).await;
    let of_quick = suspect_delivery(&bench, quick).await;
    let fresh = abandoned(&bench, 2, 1, 60_000).await;
    let mut room = MayTake { last: vec!["acme".to_owned()], ..MayTake::from((1, 1)) };
    assert_eq!(look_on(&bench, &mut room).await, [events[0].clone()], "the first hundred are slow");
    room.not = std::mem::take(&mut room.last);
    for (number, entry) in fresh.iter().enumerate() {
        assert_eq!(room.from.as_deref(), Some(&*format!("({}", events[99])), "the place where the look stopped");
        assert_eq!(
            look_on(&bench, &mut room).await[0],
            *entry,
            "entries that are no suspects do not wait for the look"
        );
        room.from = Some(format!("({}", events[99 + 100 * number]));
    }
    assert_eq!(look_on(&bench, &mut room).await, [of_quick]);
    assert_eq!((room.from.take(), look_on(&bench, &mut room).await), (None, Vec::new()));
    assert_eq!(room.from.unwrap(), format!("({}", events[100]), "and it begins again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_through_suspects_of_a_mebibyte_reads_four_of_them() {
    let bench = Bench::new().await;
    let envelope = format!("\"{}\"", " ".repeat(1 << 20));
    for _ in 0..6 {
        bench.append("queue", &[("account", "acme"), ("envelope", &envelope)]).await;
    }
    bench.take("a").await;
    for (id, ..) in bench.entries("queue").await {
        let age = format!("XCLAIM {} workers a 0 {id} IDLE 60000 RETRYCOUNT 2 JUSTID", bench.key("queue"));
        bench.cli::<redis::Value>(&age).await;
    }
    let all = bench.entries("queue").await;
    let mut room = MayTake { not: vec!["acme".to_owned()], ..MayTake::from((1, 1)) };
    assert_eq!(look_on(&bench, &mut room).await, [""; 0]);
    assert_eq!(room.from.as_deref(), Some(&*format!("({}", all[3].0)));
    assert_eq!((look_on(&bench, &mut room).await.len(), room.from), (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_claimed_by_a_clock_that_is_impossibly_far_ahead() {
    let bench = Bench::new().await;
    let ids = abandoned(&bench, 1, 1, 60_000).await;
    let now = bench.store.now(0).await.unwrap();
    let at = async |latest| {
        let room = MayTake { latest: Some(latest), ..MayTake::from((1, 1)) };
        bench.store.claim(0, "b", LEASE, room).await.unwrap().entries.len()
    };
    assert_eq!(at(now - chrono::Duration::milliseconds(1)).await, 0);
    assert_eq!(at(now + chrono::Duration::minutes(1)).await, 1, "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_takes_as_many_as_there_is_room_for() {
    let bench = Bench::new().await;
    let ids = abandoned(&bench, 5, 1, 60_000).await;
    assert_eq!(claim(&bench, 0, 1).await, []);
    let claimed: Vec<String> = claim(&bench, 3, 0).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(claimed, ids[..3]);
    assert_eq!((held_by(&bench, "a").await, held_by(&bench, "b").await), (2, 3));
    assert_eq!(claim(&bench, 10, 0).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_takes_about_4_mib_and_at_least_one_entry() {
    let bench = Bench::new().await;
    let envelope = " ".repeat(1_500_000);
    for _ in 0..5 {
        bench.append("queue", &[("account", "acme"), ("envelope", &envelope)]).await;
    }
    bench.take("a").await;
    for (id, ..) in bench.entries("queue").await {
        bench
            .cli::<redis::Value>(&format!("XCLAIM {} workers a 0 {id} IDLE 60000 RETRYCOUNT 1", bench.key("queue")))
            .await;
    }
    assert_eq!(claim(&bench, 10, 0).await.len(), 3, "the third exceeds 4 MiB");
    assert_eq!(claim(&bench, 10, 0).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_within_its_lease_is_left_to_its_holder() {
    let bench = Bench::new().await;
    abandoned(&bench, 1, 1, 0).await;
    let before = bench.state().await;
    assert_eq!(claim(&bench, 10, 1).await, []);
    assert_eq!(changed(&before, &bench.state().await), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_was_deleted_is_forgotten_and_takes_no_room() {
    let bench = Bench::new().await;
    let ids = abandoned(&bench, 2, 1, 60_000).await;
    bench.cli::<()>(&format!("XDEL {} {}", bench.key("queue"), ids[0])).await;
    assert_eq!(claim(&bench, 1, 1).await, [(ids[1].clone(), 2)]);
    assert_eq!(bench.pending().await, 1);
}
