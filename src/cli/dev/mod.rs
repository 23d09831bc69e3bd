//! `lynkhook dev`: everything in one process, to try Lynkhook and to develop an endpoint against it.
//!
//! [`run`] starts a private Redis, a receiver, a worker and the server (the API and the settings screen). [`Story::tell`]
//! then prints the story on the terminal, in the order in which it reads. With `--once` the program ends there, and the
//! exit code says whether everything arrived as expected.
//!
//! * `home.rs`: the folder `.lynkhook`, the lock, the settings for commands in another terminal;
//! * `embedded.rs`: the embedded Redis, which never outlives this process;
//! * `receiver.rs`: the HTTPS endpoint, which fails on demand;
//! * `api.rs`: the server, a key for it, and a link to the screen;
//! * `parts.rs`: the demonstration's webhooks, the outcome expected of each, and the check;
//! * `attempt.rs`, `screen.rs`: the output.
//!
//! The worker and the webhook operations are the same as in production. Nothing else here is meant for production.

mod api;
mod attempt;
mod embedded;
mod home;
mod parts;
mod receiver;
mod screen;

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;

use self::{
    api::{Api, KEY_FILE},
    attempt::Rules,
    embedded::Redis,
    home::{FOLDER, Home},
    parts::{Subscription, TRANSCRIPT},
    receiver::{PATHS, Received, Receiver},
    screen::{Screen, program, quoted},
};
use super::{Exit, output, signal::on_signal, webhook::tables};
use crate::{
    config::Settings,
    domain::{
        account::AccountId,
        event::EventId,
        log_entry::{LOG_LIMIT, LogEntry},
        retry::Schedule,
    },
    producer::{NewEvent, Producer},
    secrets::Vault,
    store::Store,
    telemetry,
    webhooks::{AuthenticationView, LogFilter, Webhooks},
    worker,
};

/// Three attempts and their waits take 7 s. After this time the demonstration shows the state so far.
const FINAL_WITHIN: Duration = Duration::from_secs(30);
/// The interval between two reads of the logs while nothing arrives.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Flags of `lynkhook dev`.
#[derive(Debug, clap::Args)]
pub(super) struct Flags {
    /// End after the demonstration: exit code 0 if everything arrived as expected, otherwise 1.
    #[arg(long)]
    once: bool,
}

/// Runs everything until a signal, or until the end of the demonstration. `config` is a settings file to build on.
/// `overrides` by flags are refused, because `lynkhook dev` starts its own Redis.
pub(super) async fn run(flags: &Flags, config: Option<&Path>, overrides: &[(&str, String)]) -> anyhow::Result<Exit> {
    if !overrides.is_empty() {
        output::say(format_args!("error: `lynkhook dev` starts its own Redis: leave out --redis-url"));
        return Ok(Exit::Usage);
    }
    let stop = on_signal()?;
    let home = Home::open().await?;
    let mut redis = tokio::select! {
        started = Redis::start(&home) => started?,
        () = stop.cancelled() => return Ok(interrupted(flags)),
    };
    let exit = beside_redis(flags, config, &home, &mut redis, &stop).await;
    let stopped = redis.stop().await;
    let exit = exit?;
    stopped.map(|()| exit)
}

/// Runs everything that needs Redis, and returns when nothing uses Redis any longer.
async fn beside_redis(
    flags: &Flags,
    config: Option<&Path>,
    home: &Home,
    redis: &mut Redis,
    stop: &CancellationToken,
) -> anyhow::Result<Exit> {
    let receiver = Receiver::start(home)?;
    let settings = home.settings(config, redis.port())?;
    telemetry::init(&settings.log)?;
    let store = Store::open(&settings).await?;
    let vault = || Vault::new(settings.secrets.key.as_ref());
    let webhooks = Webhooks::new(&settings, store.clone(), vault()?)?;
    home.write("transcript.json", TRANSCRIPT)?;

    let leave = CancellationToken::new();
    let mut working = tokio::spawn({
        let (settings, store, vault, leave) = (settings.clone(), store.clone(), vault()?, leave.clone());
        async move { worker::run(&settings, store, vault, leave).await }
    });
    let accounts = parts::accounts();
    let api = Api::start(home, &accounts[0].0, &settings, store.clone(), vault()?, leave.clone()).await?;
    let schedule = Schedule::new(settings.delivery.retry_delays.clone());
    let rules = Rules { schedule, timeout: settings.delivery.timeout };
    let narrator = Story {
        screen: Screen::new(),
        redis_port: redis.port(),
        pushed: Instant::now(),
        producer: Producer::new(store.clone(), settings.catalogue()),
        settings,
        store,
        webhooks,
        receiver,
        rules,
        accounts,
        api: (api.address, api.key),
        link: api.link,
    };

    let exit = tokio::select! {
        exit = narrator.tell(flags.once) => exit,
        () = stop.cancelled() => Ok(interrupted(flags)),
        ended = redis.ended() => Err(ended),
        ended = &mut working => return Err(match ended {
            Ok(Err(error)) => error.into(),
            _ => anyhow!("the worker ended by itself"),
        }),
    };
    if stop.is_cancelled() {
        Screen::new()
            .heading("Stopping: attempts in flight are finished; waiting deliveries stay in Redis for the next run.")?;
    }
    leave.cancel();
    api.serving.await?;
    working.await??;
    exit
}

fn interrupted(flags: &Flags) -> Exit {
    // A signal is the normal end, except with `--once`, which promises an exit code about the demonstration.
    if flags.once { Exit::Other } else { Exit::Success }
}

/// The story that is told on the terminal.
struct Story {
    screen: Screen,
    settings: Settings,
    producer: Producer,
    store: Store,
    webhooks: Webhooks,
    receiver: Receiver,
    rules: Rules,
    /// The accounts, each with its event.
    accounts: Vec<(AccountId, EventId)>,
    /// The API's address, and a key for it.
    api: (SocketAddr, SecretString),
    /// A link to the settings screen of the first account.
    link: String,
    redis_port: u16,
    /// The time at which the events were pushed: the zero of all times in the output.
    pushed: Instant,
}

impl Story {
    /// Tells the story. Returns only with `once`.
    async fn tell(mut self, once: bool) -> anyhow::Result<Exit> {
        self.tell_what_runs()?;
        let mut subscriptions = parts::subscribe(&self.webhooks, &self.accounts, self.receiver.port).await?;
        self.tell_webhooks(&subscriptions)?;
        self.push().await?;
        let logs = self.follow(&mut subscriptions).await?;
        self.tell_logs(&subscriptions, &logs)?;
        self.tell_where_to_look(&subscriptions)?;
        let exit = self.tell_differences(&subscriptions, &logs)?;
        if once {
            return Ok(exit);
        }
        self.invite()?;
        while let Some(received) = self.receiver.received.recv().await {
            self.tell_attempt(&mut subscriptions, &received)?;
        }
        Err(anyhow!("the receiver ended by itself"))
    }

    fn tell_what_runs(&self) -> std::io::Result<()> {
        let Self { screen, redis_port, receiver, .. } = self;
        screen.heading("Running, in one process")?;
        screen.indented(&format!("Redis      127.0.0.1:{redis_port}; its data is kept in {FOLDER}/redis"))?;
        screen.indented(&format!("receiver   https://localhost:{} answers {PATHS}", receiver.port))?;
        screen.indented(&format!("API        http://{}/docs; its key is in {FOLDER}/{KEY_FILE}", self.api.0))?;
        screen.indented(&format!("screen     {} (opens once, within 5 minutes)", self.link))?;
        screen.indented(&format!("worker     up to {} attempts at once", self.settings.worker.concurrency))
    }

    fn tell_webhooks(&self, subscriptions: &[Subscription]) -> std::io::Result<()> {
        self.screen.heading("Webhooks added")?;
        for Subscription { account, webhook, .. } in subscriptions {
            let secret = match &webhook.authentication {
                AuthenticationView::None => "no authentication".to_owned(),
                AuthenticationView::Bearer { token } => format!("Authorization: Bearer {token}"),
                AuthenticationView::Header { name, value } => format!("{name}: {value}"),
            };
            let description = &webhook.description;
            self.screen.indented(&format!(
                "{:<8} {description:<20} {:<30} {secret}",
                account.as_str(),
                webhook.url.as_str()
            ))?;
        }
        Ok(())
    }

    /// Pushes one event for each account, as any producer does.
    async fn push(&mut self) -> anyhow::Result<()> {
        let accounts = &self.accounts;
        self.screen.heading("A transcript was created: this envelope is pushed for both accounts")?;
        self.screen.indented(TRANSCRIPT)?;
        for (account, event) in accounts {
            let queue = self.store.keys().queue(self.store.keys().partition(account));
            self.screen.indented(&format!("XADD {} '*' account {account} id {event} envelope …", quoted(&queue)))?;
        }
        self.screen.heading("Attempts, as the receiver sees them (time since the push)")?;
        self.pushed = Instant::now();
        for (account, event) in accounts {
            self.producer.enqueue(account, &NewEvent::from_envelope(TRANSCRIPT).with_id(event.clone())).await?;
        }
        Ok(())
    }

    /// Prints attempts until every log has its final entry. Returns the logs.
    async fn follow(&mut self, subscriptions: &mut [Subscription]) -> anyhow::Result<Vec<Vec<LogEntry>>> {
        let deadline = self.pushed + FINAL_WITHIN;
        loop {
            let mut logs = Vec::with_capacity(subscriptions.len());
            for Subscription { account, webhook, .. } in &*subscriptions {
                logs.push(self.webhooks.logs(account, webhook.id, &LogFilter::default(), None, LOG_LIMIT).await?.items);
            }
            let all_final = logs.iter().all(|log| log.first().is_some_and(|entry| entry.last));
            if all_final || Instant::now() > deadline {
                // A request is received before its attempt is logged, so it may still wait in the channel.
                while let Ok(received) = self.receiver.received.try_recv() {
                    self.tell_attempt(subscriptions, &received)?;
                }
                return Ok(logs);
            }
            tokio::select! {
                received = self.receiver.received.recv() => {
                    self.tell_attempt(subscriptions, &received.context("the receiver ended by itself")?)?;
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    fn tell_attempt(&self, subscriptions: &mut [Subscription], received: &Received) -> std::io::Result<()> {
        let after = received.at.saturating_duration_since(self.pushed);
        let line = match subscriptions.iter_mut().find(|subscription| subscription.is_of(received)) {
            Some(subscription) => {
                let arrival = subscription.note(received, after);
                attempt::of_demonstration(received, &arrival, subscription.proof(), &self.rules)
            }
            None => attempt::of_others(received, after, &self.rules),
        };
        self.screen.indented(&line)
    }

    fn tell_logs(&self, subscriptions: &[Subscription], logs: &[Vec<LogEntry>]) -> std::io::Result<()> {
        for (Subscription { account, webhook, .. }, log) in subscriptions.iter().zip(logs) {
            self.screen.heading(&format!("Delivery log of {} ({account}, {})", webhook.description, webhook.id))?;
            self.screen.indented(&tables::log(log, output::width().map(|columns| columns.saturating_sub(2))))?;
        }
        Ok(())
    }

    fn tell_where_to_look(&self, subscriptions: &[Subscription]) -> std::io::Result<()> {
        self.screen.heading("Look inside Redis: everything is readable text")?;
        let keys = self.store.keys();
        let (first, gone) = (&subscriptions[0], &subscriptions[subscriptions.len() - 1]);
        let [of_first, of_gone] = [first, gone].map(|subscription| keys.partition(&subscription.account));
        let redis = |command: &str, key: String, rest: &str| {
            let key = quoted(&key);
            self.screen.indented(&format!("redis-cli -p {} {command} {key}{rest}", self.redis_port))
        };
        redis("XLEN", keys.queue(of_first), "")?;
        redis("XRANGE", keys.queue(of_first), " - + COUNT 10")?;
        redis("HGETALL", keys.webhooks(&first.account), "")?;
        redis("LRANGE", keys.logs(of_first, first.webhook.id), " 0 -1")?;
        redis("ZRANGE", keys.retries(of_first), " 0 -1 WITHSCORES")?;
        redis("XRANGE", keys.failed(of_gone, gone.webhook.id), " - +")
    }

    fn tell_differences(&self, subscriptions: &[Subscription], logs: &[Vec<LogEntry>]) -> std::io::Result<Exit> {
        let delays = &self.settings.delivery.retry_delays;
        let of_one = |(subscription, log): (&Subscription, &Vec<LogEntry>)| subscription.differences(log, delays);
        let differences: Vec<String> = subscriptions.iter().zip(logs).flat_map(of_one).collect();
        if differences.is_empty() {
            self.screen.heading("Everything arrived as expected.")?;
            return Ok(Exit::Success);
        }
        self.screen.heading("Not everything arrived as expected:")?;
        differences.iter().try_for_each(|difference| self.screen.indented(difference))?;
        Ok(Exit::Other)
    }

    fn invite(&self) -> std::io::Result<()> {
        let (program, port) = (program(), self.receiver.port);
        let command = format!("{program} --config {FOLDER}/dev.toml");
        self.screen.heading("Your turn: try this in another terminal in this folder (attempts still appear here)")?;
        self.screen.indented(&format!(
            "printf my-own-token | {command} webhook add --account mine \\\n    \
             --url https://localhost:{port}/flaky --bearer-token-file -\n\
             {command} enqueue --account mine --file {FOLDER}/transcript.json\n\
             {command} webhook list --account mine"
        ))?;
        self.screen.heading("The same over HTTP, with the key that may do everything")?;
        let (address, key) = &self.api;
        self.screen.indented(&format!(
            "export LYNKHOOK_API=http://{address} LYNKHOOK_KEY={}\n\
             curl -H \"Authorization: Bearer $LYNKHOOK_KEY\" -H 'Content-Type: application/json' \\\n    \
             $LYNKHOOK_API/v1/accounts/mine/events --data-binary @{FOLDER}/transcript.json\n\
             curl -H \"Authorization: Bearer $LYNKHOOK_KEY\" $LYNKHOOK_API/v1/accounts/mine/webhooks",
            key.expose_secret()
        ))?;
        self.screen.heading("Another link to the settings screen: open its \"url\" in a browser")?;
        self.screen.indented(&format!(
            "curl -H \"Authorization: Bearer $(cat {FOLDER}/{KEY_FILE})\" -H 'Content-Type: application/json' \\\n    \
             http://{address}/v1/accounts/{}/portal-links -d '{{\"access\": \"manage\", \"payloads\": true}}'",
            self.accounts[0].0
        ))?;
        let prevailing = home::prevailing_variables();
        if !prevailing.is_empty() {
            let names = prevailing.join(" ");
            self.screen
                .indented(&format!("These variables are set and would override {FOLDER}/dev.toml: unset {names}"))?;
        }
        self.screen.heading("Press Ctrl-C to end.")
    }
}
