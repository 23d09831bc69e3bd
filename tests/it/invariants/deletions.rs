//! Invariants 1 and 3 at random, in the hardest case: webhooks are switched, deleted and added again while workers are
//! killed. In the end each event is delivered, failed, or counted as dropped.

use std::collections::HashSet;

use lynkhook::webhooks::NewAuthentication;

use super::*;

/// The number of accounts with two webhooks each, which stay. The other accounts have one webhook each, which is
/// deleted and added again.
const STAYING: usize = 2;
const CHANGING: usize = 3;

struct Hook {
    account: String,
    path: String,
    webhook: WebhookId,
    answers: Vec<u16>,
}

struct Run {
    here: Installation,
    receiver: Receiver,
    dice: StdRng,
    staying: Vec<Hook>,
    changing: Vec<Hook>,
    pushed: HashMap<String, Vec<String>>,
}

impl Run {
    async fn new(mut dice: StdRng) -> Self {
        let receiver = Receiver::start().await;
        let here = Installation::new(&receiver).await.with("LYNKHOOK_FAILED__LIMIT", "1000000").await;
        let (mut staying, mut changing) = (Vec::new(), Vec::new());
        let accounts = (0..2 * STAYING).map(|hook| format!("staying-{}", hook / 2));
        for (number, account) in accounts.chain((0..CHANGING).map(|hook| format!("changing-{hook}"))).enumerate() {
            let (path, answers) = (format!("/hook-{number}"), answers(&mut dice));
            let planned = answers.iter().map(|&status| {
                let pause = Duration::from_millis(dice.random_range(0..20));
                Answer::Delay(pause, Box::new(Answer::Status(status)))
            });
            receiver.plan(&path, planned.collect::<Vec<_>>());
            let webhook = here.add(&account, &receiver.url(&path)).await;
            let hooks = if number < 2 * STAYING { &mut staying } else { &mut changing };
            hooks.push(Hook { account, path, webhook, answers });
        }
        Self { here, receiver, dice, staying, changing, pushed: HashMap::new() }
    }

    async fn push_some(&mut self) {
        for _ in 0..self.dice.random_range(1..8) {
            let hooks = if self.dice.random_bool(0.5) { &self.staying } else { &self.changing };
            let account = hooks[self.dice.random_range(0..hooks.len())].account.clone();
            let events = self.pushed.entry(account.clone()).or_default();
            let id = format!("{account}-{}", events.len());
            let fields = [("account", account.as_str()), ("envelope", TRANSCRIPT), ("id", &id)];
            let _: String = self.here.redis.clone().xadd(self.here.key("queue"), "*", &fields).await.unwrap();
            events.push(id);
        }
    }

    async fn switch(&self, hook: &Hook, active: bool) {
        let edit = Edit { active: Some(active), ..Edit::default() };
        self.here.webhooks.edit(&account_id(&hook.account), hook.webhook, edit).await.unwrap();
    }

    async fn switch_one(&mut self) {
        let (hooks, active) = (self.staying.len() + CHANGING, self.dice.random_bool(0.6));
        let number = self.dice.random_range(0..hooks);
        let hook = self.staying.iter().chain(&self.changing).nth(number).expect("one of them");
        self.switch(hook, active).await;
        assert_held_is_visited(&self.here, &hook.account, hook.webhook).await;
    }

    /// Deletes a webhook and adds another in its place; sometimes the account has none for a moment.
    async fn replace_one(&mut self) {
        let number = self.dice.random_range(0..CHANGING);
        let hook = &self.changing[number];
        let (account, url) = (hook.account.clone(), self.receiver.url(&hook.path));
        self.here.webhooks.delete(&account_id(&account), hook.webhook, None).await.unwrap();
        if self.dice.random_bool(0.5) {
            self.push_some().await;
        }
        let active = self.dice.random_bool(0.5);
        let webhook = self.here.add_with(&account, &url, NewAuthentication::None, active).await;
        self.changing[number].webhook = webhook;
    }

    /// Switches all on, and waits until no work is left.
    async fn finish(&self) {
        for hook in self.staying.iter().chain(&self.changing) {
            self.switch(hook, true).await;
        }
        for hook in self.staying.iter().chain(&self.changing) {
            let held = self.here.key(&format!("held:{}", hook.webhook));
            eventually(SOON, "nothing held", async || (length(&self.here, &held).await == 0).then_some(())).await;
        }
        self.here.drained().await;
    }

    /// The events that were delivered to a path, according to the receiver.
    fn delivered(&self, hook: &Hook) -> HashSet<String> {
        let heard = heard(&self.receiver, &hook.path, &hook.answers);
        heard.into_iter().filter(|(_, answers)| answers.contains(&200)).map(|(event, _)| event).collect()
    }

    /// The events whose deliveries to a webhook failed for good.
    async fn failed(&self, hook: &Hook) -> HashSet<String> {
        let range =
            redis::cmd("XRANGE").arg(self.here.key(&format!("failed:{}", hook.webhook))).arg("-").arg("+").to_owned();
        let entries: Vec<(String, HashMap<String, String>)> =
            range.query_async(&mut self.here.redis.clone()).await.unwrap();
        let event = |delivery: &str| -> String {
            let line: serde_json::Value = serde_json::from_str(delivery.lines().next().unwrap()).unwrap();
            line["event_id"].as_str().unwrap().to_owned()
        };
        entries.iter().map(|(_, fields)| event(&fields["delivery"])).collect()
    }

    fn events(&self, hook: &Hook) -> &[String] {
        self.pushed.get(&hook.account).map_or(&[], Vec::as_slice)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn switching_deleting_and_killing_at_random_leaves_each_event_delivered_failed_or_counted() {
    let (dice, duration) = dice();
    let mut run = Run::new(dice).await;
    let mut workers = [run.here.program.worker(SHORT_LEASE), run.here.program.worker(SHORT_LEASE)];
    let started = Instant::now();
    while started.elapsed() < duration {
        run.push_some().await;
        match run.dice.random_range(0..20) {
            0..12 => run.switch_one().await,
            12..16 => run.replace_one().await,
            16 => {
                let victim = run.dice.random_range(0..workers.len());
                workers[victim].kill9().await;
                workers[victim] = run.here.program.worker(SHORT_LEASE);
            }
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(run.dice.random_range(0..20))).await;
    }
    run.finish().await;

    for hook in &run.staying {
        let (delivered, failed) = (run.delivered(hook), run.failed(hook).await);
        for event in run.events(hook) {
            assert!(delivered.contains(event) || failed.contains(event), "{event} is lost for {}", hook.path);
        }
    }
    // For a deleted webhook, only the counts show the fate of its deliveries.
    let (mut pushed, mut known) = (0, 0);
    for hook in &run.changing {
        let ended = &run.delivered(hook) | &run.failed(hook).await;
        (pushed, known) = (pushed + run.events(hook).len(), known + ended.len());
    }
    let counts: HashMap<String, usize> = run.here.redis.clone().hgetall(run.here.key("counts")).await.unwrap();
    let causes = ["deliveries_of_deleted_webhook", "failed_of_deleted_webhook", "events_without_webhook"];
    let counted: usize = causes.iter().filter_map(|cause| counts.get(*cause)).sum();
    println!("{pushed} events, {known} delivered or failed, {counts:?}");
    assert!(known + counted >= pushed, "of {pushed} events {known} ended and {counts:?} were dropped");
}
