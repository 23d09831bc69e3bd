//! No label has a value that strangers choose.

use super::text::{Metrics, until};
use crate::{health::Probed, support::*};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_has_as_many_series_with_fifty_accounts_as_with_none() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    for number in 0..50 {
        here.add(&format!("account{number}"), &receiver.url(&format!("/hook?{number}"))).await;
    }
    let worker = Probed::start(&here.program, None).await;
    let before = Metrics::of(&worker).await;
    for number in 0..50 {
        here.push(&format!("account{number}"), TRANSCRIPT).await;
        here.push(&format!("account{number}"), format!(r#"{{"event":"made.up{number}"}}"#)).await;
    }
    here.drained().await;
    let after =
        until(&worker, "fifty deliveries", |metrics| metrics.get("lynkhook_settled_total{next=\"delivered\"}") == 50)
            .await;
    assert_eq!(after.series(), before.series());
    let told = worker.get("/metrics").await.1;
    for word in ["account", "localhost", "hook?", "made.up"] {
        assert!(!told.contains(word), "{word} in {told}");
    }
}
