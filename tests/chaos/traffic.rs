//! Producers and customers: events pushed with known ids; webhooks switched, edited, deleted and added again.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use lynkhook::webhooks::{Edit, WebhooksError};

use crate::{
    plan::{Deed, HOOKS, Plan},
    world::{Wire, World, envelope},
};

/// Every kind of change that customers make.
pub const DEEDS: [&str; 5] =
    ["switched on", "switched off", "edited", "deleted and added again", "switched on, held discarded"];

/// Does every planned action at its time, or later if Redis is down.
pub async fn run(world: &World, plan: &Plan) {
    let (started, mut wire) = (Instant::now(), world.wire());
    for (at, deed) in &plan.deeds {
        tokio::time::sleep(at.saturating_sub(started.elapsed())).await;
        // If Redis kept an action waiting too long, it is no longer part of this storm.
        if started.elapsed() > plan.length {
            return;
        }
        act(world, &mut wire, *deed).await;
    }
}

async fn act(world: &World, wire: &mut Wire, deed: Deed) {
    let name = match deed {
        Deed::Push { account, events } => return push(world, wire, account, events).await,
        Deed::Switch { hook, on } => {
            switch(world, hook, on).await;
            if on { "switched on" } else { "switched off" }
        }
        Deed::Edit { hook } => {
            let description = format!("edited {:?}", Instant::now());
            edit(world, hook, || Edit { description: Some(description.clone()), ..Edit::default() }).await;
            "edited"
        }
        Deed::Replace { hook, meanwhile } => {
            replace(world, wire, hook, meanwhile).await;
            "deleted and added again"
        }
        Deed::Discard { hook } => {
            discard(world, wire, hook).await;
            "switched on, held discarded"
        }
    };
    *world.notes.lock().unwrap().deeds.entry(name).or_default() += 1;
}

/// Pushes events, each in one transaction with a mark. If the answer is lost, the mark shows whether Redis has the
/// event.
pub async fn push(world: &World, wire: &mut Wire, account: usize, events: usize) {
    let (queue, marks) = (world.key(account, "queue"), format!("marks-{}", world.here.prefix));
    for _ in 0..events {
        let id = {
            let mut notes = world.notes.lock().unwrap();
            notes.next += 1;
            format!("e{}", notes.next)
        };
        let name = world.accounts[account].as_str();
        let mut transaction = redis::pipe();
        transaction.atomic().hset(&marks, &id, 1).ignore();
        transaction.xadd(&queue, "*", &[("account", name), ("envelope", &*envelope(&id)), ("id", &id)]).ignore();
        let pushed: redis::RedisResult<()> =
            wire.once(async |connection| transaction.query_async(connection).await).await;
        let accepted = match pushed {
            Ok(()) => true,
            Err(_) => wire.ask(redis::cmd("HEXISTS").arg(&marks).arg(&id)).await,
        };
        if accepted {
            let mut notes = world.notes.lock().unwrap();
            notes.accepted_at.insert(id.clone(), Instant::now());
            notes.accepted[account].push(id);
        } else {
            world.refused.fetch_add(1, Relaxed);
        }
    }
}

pub async fn switch(world: &World, hook: usize, on: bool) {
    let began = Instant::now();
    edit(world, hook, || Edit { active: Some(on), ..Edit::default() }).await;
    let webhook = world.webhook(hook).to_string();
    world.notes.lock().unwrap().switches.push((webhook, on, (began, Instant::now())));
}

async fn edit(world: &World, hook: usize, edit: impl Fn() -> Edit) {
    let (account, webhook) = (&world.accounts[HOOKS[hook].0], world.webhook(hook));
    repeat(async || world.here.webhooks.edit(account, webhook, edit()).await).await;
}

async fn discard(world: &World, wire: &mut Wire, hook: usize) {
    let (number, webhook) = (HOOKS[hook].0, world.webhook(hook));
    switch(world, hook, false).await;
    push(world, wire, number, 3).await;
    let (held, since) = (world.key(number, &format!("held:{webhook}")), Instant::now());
    while wire.ask::<u64>(redis::cmd("XLEN").arg(&held)).await == 0 && since.elapsed() < Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let account = &world.accounts[number];
    repeat(async || world.here.webhooks.enable(account, webhook, true, None).await).await;
}

async fn replace(world: &World, wire: &mut Wire, hook: usize, meanwhile: usize) {
    let (number, webhook) = (HOOKS[hook].0, world.webhook(hook));
    let account = &world.accounts[number];
    repeat(async || match world.here.webhooks.delete(account, webhook, None).await {
        // The answer to the deletion was lost.
        Err(WebhooksError::NotFound { .. }) => Ok(()),
        deleted => deleted.map(drop),
    })
    .await;
    world.notes.lock().unwrap().deletions.push((number, Instant::now()));
    push(world, wire, number, meanwhile).await;
    let webhook = world.add(hook, meanwhile != 1).await;
    world.webhooks.lock().unwrap()[hook] = webhook;
}

/// Repeats while Redis is down.
async fn repeat<T>(mut step: impl AsyncFnMut() -> Result<T, WebhooksError>) -> T {
    for _ in 0..600 {
        match step().await {
            Ok(done) => return done,
            Err(WebhooksError::Store(_) | WebhooksError::Conflict) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("Redis did not come back");
}
