//! The test of a webhook: one click, and the result where one clicked.

use axum::{extract::State, response::Response};

use super::{
    curl,
    form::Form,
    list::{News, list},
    notice::Notice,
    visitor::{Hook, Managing},
    words::{Attempt, advice, line, lines, milliseconds},
};
use crate::{
    domain::log_entry::{HttpStatus, PhasesMs},
    server::Shared,
    webhooks::{AuthenticationView, ReceivedResponse, SentRequest, Tested},
};

/// The width of the bar of phases, in units of its drawing.
const WIDTH: u64 = 1000;
/// A phase is drawn at least this wide.
const WIDTH_LEAST: u64 = 8;

/// The result of a test, as the list shows it.
pub(super) struct Shown {
    pub(super) attempt: Attempt,
    pub(super) advice: Option<&'static str>,
    pub(super) phases: Vec<Phase>,
    /// The request: its first line, headers and body.
    pub(super) request: String,
    pub(super) curl: String,
    pub(super) has_secret: bool,
    pub(super) answer: Option<Answer>,
}

/// One part of the response time.
pub(super) struct Phase {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    pub(super) duration: String,
    pub(super) x: u64,
    pub(super) width: u64,
}

/// The receiver's answer.
pub(super) struct Answer {
    /// Its first line, headers and body.
    pub(super) text: String,
    pub(super) is_cut: bool,
}

/// Sends the test event, and answers with the list, which has the result.
pub(super) async fn test(
    State(app): State<Shared>,
    Managing(visitor): Managing,
    Hook(id): Hook,
    _: Form,
) -> Result<Response, Notice> {
    // Tests are counted of webhooks that exist, so that made-up ids take no memory.
    let view = app.webhooks.show(&visitor.account, id).await?;
    app.rates.take_test(&visitor.account, id)?;
    let tested = app.webhooks.test(&app.sender, &visitor.account, id).await?;
    visitor.log("webhook tested", id, "");
    let shown = Shown::new(&tested, &view.authentication);
    list(&app, &visitor, None, News { tested: Some((id, shown)), ..News::default() }).await
}

impl Shown {
    fn new(tested: &Tested, authentication: &AuthenticationView) -> Self {
        let Tested { entry, request, response } = tested;
        Self {
            attempt: Attempt::new(entry),
            advice: advice(entry),
            phases: entry.phases_ms.as_ref().map(phases).unwrap_or_default(),
            request: sent(request),
            curl: curl::command(request, authentication),
            has_secret: !matches!(authentication, AuthenticationView::None),
            answer: response.as_ref().map(|response| Answer::new(response, entry.http_status)),
        }
    }
}

impl Answer {
    fn new(response: &ReceivedResponse, status: HttpStatus) -> Self {
        let headers = response.headers.iter().map(|(name, value)| (name, value));
        let text = message(&format!("HTTP/1.1 {status}"), headers, &response.excerpt);
        Self { text, is_cut: response.truncated }
    }
}

/// A request as people read it: its secret is masked.
pub(super) fn sent(request: &SentRequest) -> String {
    message(&format!("{} {}", request.method, request.url.as_str()), &request.headers, &request.body)
}

fn message<'a>(first: &str, headers: impl IntoIterator<Item = (&'a String, &'a String)>, body: &str) -> String {
    let headers = headers.into_iter().map(|(name, value)| format!("{}: {}\n", line(name), line(value)));
    format!("{first}\n{}\n{}", headers.collect::<String>(), lines(body))
}

/// The phases that happened, each with its place on the bar.
fn phases(ms: &PhasesMs) -> Vec<Phase> {
    let all = [
        ("DNS", "dns", ms.dns),
        ("Connect", "connect", ms.connect),
        ("TLS", "tls", ms.tls),
        ("Waiting", "waiting", ms.first_byte),
    ];
    let happened: Vec<_> = all.into_iter().filter_map(|(name, class, ms)| Some((name, class, ms?))).collect();
    let total: u64 = happened.iter().map(|(.., ms)| ms).sum::<u64>().max(1);
    let room = WIDTH - WIDTH_LEAST * happened.len() as u64;
    let mut x = 0;
    happened
        .into_iter()
        .map(|(name, class, ms)| {
            let width = WIDTH_LEAST + room * ms / total;
            x += width;
            Phase { name, class, duration: milliseconds(ms), x: x - width, width }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_stand_one_after_another_and_fit_their_bar() {
        let ms = PhasesMs { dns: Some(2), connect: None, tls: Some(0), first_byte: Some(98) };
        let drawn = phases(&ms);
        let names: Vec<_> = drawn.iter().map(|phase| phase.name).collect();
        assert_eq!(names, ["DNS", "TLS", "Waiting"]);
        let mut x = 0;
        for phase in &drawn {
            assert_eq!(phase.x, x);
            assert!(phase.width >= WIDTH_LEAST);
            x += phase.width;
        }
        assert!(x <= WIDTH && drawn[2].width > 9 * drawn[0].width);
        assert!(phases(&PhasesMs::default()).is_empty());
    }
}
