//! A worker on a machine whose clock is an hour off: only Redis's clock counts. And steps of Redis's own clock.

mod steps;

use std::{process::Command, time::Duration};

use chrono::{DateTime, Utc};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_an_hour_off_makes_no_retry_early_nor_late_and_no_time_in_the_log_wrong() {
    let receiver = Receiver::start().await;
    let library = faketime_library();
    for shift in ["+1h", "-1h"] {
        let here = Installation::new(&receiver).await.with("LYNKHOOK_DELIVERY__RETRY_DELAYS", "1s,1s").await;
        let path = format!("/{}", shift.replace(['+', '-'], if shift.starts_with('+') { "ahead" } else { "behind" }));
        receiver.plan(&path, [Answer::Status(503), Answer::Status(503), Answer::Status(200)]);
        let webhook = here.add("acme", &receiver.url(&path)).await;
        // The monotonic clock stays correct, as on a machine whose time of day is wrong.
        let shifted = [("LD_PRELOAD", &*library), ("FAKETIME", shift), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
        let date = Command::new("date").args(["-u", "+%s"]).envs(shifted).output().unwrap();
        let shifted_s: i64 = String::from_utf8(date.stdout).unwrap().trim().parse().unwrap();
        assert!((shifted_s - Utc::now().timestamp()).abs() > 3500, "the clock is shifted");
        let _worker = here.program.worker(shifted);

        let before = here.store.now(0).await.unwrap();
        here.push("acme", TRANSCRIPT).await;
        let log = here.finished(webhook).await;
        let after = here.store.now(0).await.unwrap();
        assert_eq!(log.len(), 3, "{shift}: {log:#?}");
        assert!(after - before < chrono::Duration::seconds(30), "{shift}: none was stuck");
        for entry in &log {
            let time: DateTime<Utc> = entry["time"].as_str().unwrap().parse().unwrap();
            let slack = chrono::Duration::seconds(1);
            assert!(time >= before - slack && time <= after + slack, "{shift}: {time} is not by Redis's clock");
        }
        let requests = receiver.requests(&path);
        for pair in requests.windows(2) {
            assert!(pair[1].arrived - pair[0].ended.unwrap() >= Duration::from_secs(1), "{shift}: a retry came early");
        }
        for request in &requests {
            let sent: i64 = request.header("webhook-timestamp").unwrap().parse().unwrap();
            assert!((before.timestamp() - 1..=after.timestamp() + 1).contains(&sent), "{shift}: {sent}");
        }
    }
}
