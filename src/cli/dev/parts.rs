//! The demonstration's parts: three webhooks, the outcome expected of each, and the check.

use std::time::Duration;

use http::header::AUTHORIZATION;
use secrecy::{ExposeSecret, SecretString};

use super::receiver::Received;
use crate::{
    domain::{
        account::AccountId,
        event::EventId,
        log_entry::{HttpStatus, LogEntry, Status},
    },
    webhooks::{NewAuthentication, NewWebhook, View, Webhooks},
};

/// The example event, as shown to customers.
pub(super) const TRANSCRIPT: &str = include_str!("../../../config/transcript.created.example.json").trim_ascii_end();

/// The header with which one of the webhooks authenticates.
const SECRET_HEADER: &str = "X-Webhook-Secret";

/// The tolerance for an attempt that seems early: Redis counts in whole milliseconds.
const CLOCK_STEP: Duration = Duration::from_millis(2);

/// One webhook of the demonstration, and the answers that its event gets.
pub(super) struct Part {
    account: &'static str,
    description: &'static str,
    path: &'static str,
    proof: Proof,
    /// The receiver's answers, one for each expected attempt.
    answers: &'static [u16],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    Bearer,
    Header,
    None,
}

/// Two webhooks of one account, one of which recovers, and one webhook of another account, whose endpoint is gone.
pub(super) const PARTS: [Part; 3] = [
    Part { account: "acme", description: "CRM sync", path: "/crm", proof: Proof::Bearer, answers: &[200] },
    Part {
        account: "acme",
        description: "Slack notifications",
        path: "/flaky",
        proof: Proof::Header,
        answers: &[503, 503, 200],
    },
    Part { account: "globex", description: "Old intranet", path: "/gone", proof: Proof::None, answers: &[404] },
];

/// A part's webhook, once added, and the requests that arrived for it.
pub(super) struct Subscription {
    part: &'static Part,
    pub(super) account: AccountId,
    pub(super) webhook: View,
    /// The event of its account.
    pub(super) event: EventId,
    secret: SecretString,
    /// The requests that the receiver got for it, in order.
    pub(super) arrived: Vec<Arrival>,
}

/// One attempt as the receiver saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrival {
    /// Since the event was pushed.
    pub(super) after: Duration,
    /// Whether it carried exactly the authentication that the webhook has.
    pub(super) authentic: bool,
    /// Whether the body was the envelope, byte for byte.
    pub(super) identical: bool,
    status: u16,
}

/// The accounts of the demonstration, each with the id of the event that happens to it.
pub(super) fn accounts() -> Vec<(AccountId, EventId)> {
    // Both ids share a suffix, so that they are easy to find. It is new in each run, so that no id of an earlier run
    // returns.
    let run = uuid::Uuid::new_v4().simple().to_string();
    ["acme", "globex"]
        .map(|name| {
            let id = format!("{name}-{}", &run[..8]);
            (name.parse().expect("an account"), id.parse().expect("an event id"))
        })
        .into()
}

/// Deletes the webhooks of an earlier run, and adds the parts' webhooks.
pub(super) async fn subscribe(
    webhooks: &Webhooks,
    accounts: &[(AccountId, EventId)],
    receiver_port: u16,
) -> anyhow::Result<Vec<Subscription>> {
    for (account, _) in accounts {
        for webhook in webhooks.list(account).await? {
            webhooks.delete(account, webhook.id, None).await?;
        }
    }
    let mut subscriptions = Vec::with_capacity(PARTS.len());
    for part in &PARTS {
        let (account, event) =
            accounts.iter().find(|(account, _)| account.as_str() == part.account).expect("every part's account");
        let secret = SecretString::from(format!("demo-{}", uuid::Uuid::new_v4().simple()));
        let authentication = match part.proof {
            Proof::Bearer => NewAuthentication::Bearer(secret.clone()),
            Proof::Header => NewAuthentication::Header { name: SECRET_HEADER.to_owned(), value: secret.clone() },
            Proof::None => NewAuthentication::None,
        };
        let url = format!("https://localhost:{receiver_port}{}", part.path);
        let description = part.description.to_owned();
        let new = NewWebhook { url, events: None, authentication, description, active: true };
        let webhook = webhooks.add(account, new).await?;
        let (account, event) = (account.clone(), event.clone());
        subscriptions.push(Subscription { part, account, webhook, event, secret, arrived: Vec::new() });
    }
    Ok(subscriptions)
}

impl Subscription {
    /// Whether this request is the demonstration's event on its way to this webhook.
    pub(super) fn is_of(&self, received: &Received) -> bool {
        received.path == self.part.path && received.webhook_id() == self.event.as_str()
    }

    /// Records a request for this webhook.
    pub(super) fn note(&mut self, received: &Received, after: Duration) -> Arrival {
        let arrival = Arrival {
            after,
            authentic: self.is_authentic(received),
            identical: received.body == TRANSCRIPT.as_bytes(),
            status: received.answer.status.as_u16(),
        };
        self.arrived.push(arrival.clone());
        arrival
    }

    fn is_authentic(&self, received: &Received) -> bool {
        let (bearer, header) = (received.header(AUTHORIZATION.as_str()), received.header(SECRET_HEADER));
        let secret = self.secret.expose_secret();
        match self.part.proof {
            Proof::Bearer => bearer.strip_prefix("Bearer ") == Some(secret) && header.is_empty(),
            Proof::Header => bearer.is_empty() && header == secret,
            Proof::None => bearer.is_empty() && header.is_empty(),
        }
    }

    /// The kind of its authentication, for people.
    pub(super) fn proof(&self) -> &'static str {
        match self.part.proof {
            Proof::Bearer => "bearer token",
            Proof::Header => "secret header",
            Proof::None => "no secret",
        }
    }

    /// The differences from the expected course; empty if there are none. `log` is newest first, `delays` are the waits
    /// before the second, third, … attempt.
    pub(super) fn differences(&self, log: &[LogEntry], delays: &[Duration]) -> Vec<String> {
        let mut differences = Vec::new();
        let mut check = |name: &str, found: String, expected: String| {
            if found != expected {
                differences.push(format!("{}: {name}: {found} (expected {expected})", self.part.path));
            }
        };
        let list = |statuses: Vec<String>| statuses.join(", ");
        let expected = list(self.part.answers.iter().map(u16::to_string).collect());
        let statuses = self.arrived.iter().map(|arrival| arrival.status.to_string()).collect();
        check("the receiver answered", list(statuses), expected.clone());
        let logged = log.iter().rev().map(|entry| entry.http_status.to_string()).collect();
        check("the log has the statuses", list(logged), expected);

        let attempts = self.part.answers.len();
        let numbers = log.iter().rev().map(|entry| entry.attempt.to_string()).collect();
        check("the log has the attempts", list(numbers), list((1..=attempts).map(|n| n.to_string()).collect()));
        let finals = log.iter().rev().map(|entry| entry.last.to_string()).collect();
        check("final", list(finals), list((1..=attempts).map(|n| (n == attempts).to_string()).collect()));
        for entry in log {
            let delivered = matches!(entry.http_status, HttpStatus::Code(200..=299));
            check("status success", (entry.status == Status::Success).to_string(), delivered.to_string());
        }
        for (number, arrival) in (1..).zip(&self.arrived) {
            check(
                &format!("authentication of attempt {number} right"),
                arrival.authentic.to_string(),
                true.to_string(),
            );
            check(&format!("body of attempt {number} identical"), arrival.identical.to_string(), true.to_string());
        }
        for ((number, pair), delay) in (2..).zip(self.arrived.windows(2)).zip(delays) {
            let waited = pair[1].after.saturating_sub(pair[0].after) + CLOCK_STEP;
            check(&format!("attempt {number} not too early"), (waited >= *delay).to_string(), true.to_string());
        }
        differences
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::{
        event::{Catalogue, EventType},
        url::EndpointUrl,
    };

    #[test]
    fn the_example_event_is_a_valid_envelope() {
        let of = EventType {
            description: String::new(),
            identifiers: BTreeMap::from([("messageId".to_owned(), "/messageId".to_owned())]),
            ..EventType::default()
        };
        let catalogue = Catalogue::new(BTreeMap::from([("transcript.created".to_owned(), of)]), 1 << 20);
        let facts = catalogue.judge(TRANSCRIPT.as_bytes()).unwrap();
        assert!(facts.identifiers.contains(&("messageId".to_owned(), "6601abc123def4567890abcd".into())));
    }

    fn flaky(waits_ms: [u64; 3], authentic: bool) -> Subscription {
        let arrivals = [503, 503, 200].into_iter().zip(waits_ms).map(|(status, ms)| Arrival {
            after: Duration::from_millis(ms),
            authentic,
            identical: true,
            status,
        });
        let account: AccountId = "acme".parse().unwrap();
        let webhook = View {
            id: "wh_019a1b2c-0000-7000-8000-000000000001".parse().unwrap(),
            account: account.clone(),
            url: EndpointUrl::from_saved("https://localhost/").unwrap(),
            events: Vec::new(),
            authentication: crate::webhooks::AuthenticationView::None,
            description: String::new(),
            active: true,
            revision: 1,
            created_at: String::new(),
            updated_at: String::new(),
        };
        let (event, secret) = ("acme-1".parse().unwrap(), SecretString::from("s"));
        Subscription { part: &PARTS[1], account, webhook, event, secret, arrived: arrivals.collect() }
    }

    fn log() -> Vec<LogEntry> {
        let entry = |attempt: u8, status: u16| {
            serde_json::from_value(serde_json::json!({
                "status": if status == 200 { "success" } else { "failed" }, "event": "transcript.created",
                "httpStatus": status, "attempt": attempt, "durationMs": 1, "error": null, "identifiers": {},
                "time": "2026-03-26T14:32:00.045Z", "deliveryId": "e1.w", "final": attempt == 3,
            }))
            .unwrap()
        };
        vec![entry(3, 200), entry(2, 503), entry(1, 503)]
    }

    #[test]
    fn the_expected_course_has_no_differences_and_each_deviation_is_named() {
        let delays = [Duration::from_secs(2), Duration::from_secs(4)];
        assert_eq!(flaky([10, 2020, 6050], true).differences(&log(), &delays), Vec::<String>::new());
        assert_eq!(
            flaky([10, 2020, 6000], true).differences(&log(), &delays),
            ["/flaky: attempt 3 not too early: false (expected true)"]
        );
        assert_eq!(flaky([10, 2020, 6050], false).differences(&log(), &delays).len(), 3);
        assert_eq!(
            flaky([10, 2020, 6050], true).differences(&log()[1..], &delays),
            [
                "/flaky: the log has the statuses: 503, 503 (expected 503, 503, 200)",
                "/flaky: the log has the attempts: 1, 2 (expected 1, 2, 3)",
                "/flaky: final: false, false (expected false, false, true)",
            ]
        );
    }
}
