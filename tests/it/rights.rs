//! Redis users with the rights that deploy/README.md names and no more, and what `lynkhook doctor --role` finds missing.

use redis::AsyncCommands;
use serde_json::Value;

use crate::support::*;
use lynkhook::{
    access::{ApiKeys, NewKey, NewLink, Portal, WhichSession},
    config::Settings,
    domain::api_key::Scope,
    store::Store,
};
use secrecy::ExposeSecret;

/// A server of its own, so that no other test uses its users.
struct Scene {
    redis: RedisServer,
    receiver: Receiver,
    here: Installation,
}

impl Scene {
    async fn set() -> Self {
        let (redis, receiver) = (RedisServer::start(AppendFsync::Always), Receiver::start().await);
        let here = Installation::on(&redis, &receiver).await;
        Self { redis, receiver, here }
    }

    /// Runs `ACL SETUSER` with these words, quoted as for a shell.
    async fn allow(&self, words: &str) {
        let mut allow = redis::cmd("ACL");
        allow.arg("SETUSER").arg(words.split(' ').map(|word| word.trim_matches('\'')).collect::<Vec<_>>());
        allow.query_async::<()>(&mut self.here.redis.clone()).await.unwrap();
    }

    /// Makes the user that deploy/README.md names for a role, for this installation's keys.
    async fn documented_user(&self, role: &str) -> Program {
        let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/README.md")).unwrap();
        let begins = format!("redis-cli ACL SETUSER lynkhook-{role} on ");
        let line = readme.lines().find_map(|line| line.strip_prefix(&begins)).expect("deploy/README.md has this role");
        let rights = line.replace("PASSWORD", "secret").replace("lynkhook:*", &format!("{}:*", self.here.prefix));
        self.allow(&format!("{role} on {rights}")).await;
        self.program_of(role)
    }

    fn program_of(&self, user: &str) -> Program {
        let url = format!("redis://{user}:secret@127.0.0.1:{}/", self.redis.port());
        self.here.program.clone().env("LYNKHOOK_REDIS__URL", url)
    }
}

/// The finding about a role's rights, and the exit code.
async fn rights(program: &Program, role: &str) -> (Value, Option<i32>) {
    let output = program.run(["doctor", "--json", "--role", role]).await;
    let findings: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:#?}"));
    let found = findings.as_array().unwrap().iter().find(|finding| finding["check"] == "rights");
    (found.unwrap_or_else(|| panic!("{findings}")).clone(), output.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_rights_that_readme_names_a_worker_delivers_a_producer_enqueues_and_an_operator_operates() {
    let scene = Scene::set().await;
    let Scene { receiver, here, .. } = &scene;
    receiver.plan("/flaky", [Answer::Status(503), Answer::Status(200)]);
    receiver.plan("/gone", [Answer::Status(404)]);
    let (worker, producer, operator) = (
        scene.documented_user("worker").await,
        scene.documented_user("producer").await,
        scene.documented_user("operator").await,
    );
    for (role, program) in [("worker", &worker), ("producer", &producer), ("operator", &operator)] {
        let (found, code) = rights(program, role).await;
        assert_eq!((&found["verdict"], code), (&Value::from("pass"), Some(0)), "{role}: {found}");
    }
    let operate = async |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        let output = operator.run(&words).await;
        assert_eq!(output.code, Some(0), "{words:?}: {output:#?}");
        output.stdout
    };
    let added = async |path| {
        let json = operate(&format!("webhook add --json --account acme --url {}", receiver.url(path))).await;
        serde_json::from_str::<Value>(&json).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let (flaky, gone) = (added("/flaky").await, added("/gone").await);
    let worker = worker.worker([("LYNKHOOK_DELIVERY__RETRY_DELAYS", "50ms,50ms")]);
    let push = async |input: &str| {
        let output = producer.run_with_input(["enqueue", "--account", "acme", "-"], input).await;
        assert_eq!(output.code, Some(0), "{output:#?}");
    };
    let event = TRANSCRIPT.replace('\n', "");
    push(&event).await;
    here.drained().await;
    let statuses = |log: Vec<Value>| log.iter().map(|entry| entry["httpStatus"].clone()).collect::<Vec<_>>();
    assert_eq!(statuses(here.log(flaky.parse().unwrap()).await), [200, 503]);
    assert_eq!(statuses(here.log(gone.parse().unwrap()).await), [404]);

    // Deliveries that are held while their webhook is off, set aside, failed, redelivered, and deleted.
    operate(&format!("webhook disable --account acme {flaky}")).await;
    push(&event).await;
    here.push("acme", "no event").await;
    here.drained().await;
    assert!(operate("queue status").await.contains("1 of 1 webhook"), "{}", operate("queue status").await);
    operate(&format!("webhook edit --account acme {flaky} --active --revision 2")).await;
    receiver.wait_for("/flaky", 3, SOON).await;
    assert!(operate("queue rejected list").await.contains("not JSON"));
    operate("queue rejected requeue --all").await;
    operate(&format!("webhook failed --account acme {gone}")).await;
    operate(&format!("webhook redeliver --account acme {gone} --all")).await;
    operate(&format!("webhook logs --account acme {gone}")).await;
    receiver.wait_for("/gone", 3, SOON).await;
    here.drained().await;
    operate(&format!("webhook enable --discard-held --account acme {gone}")).await;
    operate(&format!("webhook show --account acme {gone}")).await;
    operate(&format!("webhook delete --account acme {gone}")).await;
    operate("secrets rotate").await;
    operate("webhook list --account acme").await;
    operate("account purge --account acme --yes").await;
    let left: Vec<String> = here.redis.clone().keys(format!("{}*wh_*", here.prefix)).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    let said = worker.stderr();
    assert!(!said.contains("permission") && !said.contains("lacks a permission"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_rights_that_readme_names_a_server_judges_keys_and_opens_the_portal() {
    let scene = Scene::set().await;
    let server = scene.documented_user("server").await;
    let (found, code) = rights(&server, "server").await;
    assert_eq!((&found["verdict"], code), (&Value::from("pass"), Some(0)), "{found}");
    let url = format!("redis://server:secret@127.0.0.1:{}/", scene.redis.port());
    let variables = [("LYNKHOOK_REDIS__URL", url), ("LYNKHOOK_REDIS__PREFIX", scene.here.prefix.clone())];
    let settings = Settings::load(None, variables).unwrap();
    let store = Store::open(&settings).await.unwrap();
    let (keys, portal) = (ApiKeys::new(store.clone()), Portal::new(&settings.portal, store));
    let scopes = [Scope::Admin].into_iter().collect();
    let new = NewKey { name: "backend".to_owned(), scopes, account: None, expires: None };
    let caller = keys.authenticate(keys.add(new).await.unwrap().key.expose_secret()).await.unwrap();
    eventually(SOON, "the day of the last use", async || keys.list().await.unwrap()[0].last_used.clone()).await;
    let new: NewLink = serde_json::from_str(r#"{"access":"manage"}"#).unwrap();
    let link = portal.new_link(&caller, &account_id("acme"), new).await.unwrap();
    let entered = portal.enter(&account_id("acme"), link.token.expose_secret()).await.unwrap();
    assert!(entered.is_some() && portal.end(&account_id("acme"), WhichSession::All).await.unwrap() == 1);
    keys.rotate(&caller.id, SOON).await.unwrap();
    keys.revoke(&caller.id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_advice_of_doctor_gives_every_missing_right_at_once() {
    let scene = Scene::set().await;
    for role in ["worker", "producer", "operator", "server"] {
        let user = format!("bare-{role}");
        scene.allow(&format!("{user} on >secret +info +multi")).await;
        let program = scene.program_of(&user);
        let before: u64 = redis::cmd("DBSIZE").query_async(&mut scene.here.redis.clone()).await.unwrap();
        let (found, code) = rights(&program, role).await;
        assert_eq!((&found["verdict"], code), (&Value::from("fail"), Some(5)), "{role}: {found}");
        let advice = found["advice"].as_str().unwrap().strip_prefix("ACL SETUSER ").unwrap();
        let after: u64 = redis::cmd("DBSIZE").query_async(&mut scene.here.redis.clone()).await.unwrap();
        assert_eq!(before, after, "{role}: nothing was written");
        // If the user may not run commands on any key, doctor finds the missing keys in the next run.
        scene.allow(advice).await;
        let (found, _) = rights(&program, role).await;
        if found["verdict"] != "pass" {
            let one = if role == "operator" { "an operator".to_owned() } else { format!("a {role}") };
            assert_eq!(
                found["found"],
                format!("{user} lacks permissions that {one} needs: ~{}:*", scene.here.prefix),
                "{role}"
            );
            scene.allow(found["advice"].as_str().unwrap().strip_prefix("ACL SETUSER ").unwrap()).await;
        }
        let (found, code) = rights(&program, role).await;
        assert_eq!((&found["verdict"], code), (&Value::from("pass"), Some(0)), "{role}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_right_is_found_and_only_an_optional_one_is_a_warning() {
    let scene = Scene::set().await;
    for (takes, role, verdict, says) in [
        ("-lpushx", "worker", "fail", "lacks permissions that a worker needs: +lpushx"),
        ("-xgroup|delconsumer", "worker", "fail", "needs: +xgroup|delconsumer"),
        ("-xadd -zadd", "worker", "fail", "needs: +xadd +zadd"),
        ("-client", "worker", "warn", "with +client|id +client|unblock +client|tracking it would cost less"),
        ("-lpushx", "operator", "pass", "has all permissions"),
        ("-xadd", "producer", "fail", "needs: +xadd"),
        ("-pexpireat", "server", "fail", "lacks permissions that a server needs: +pexpireat"),
        ("-ping", "server", "warn", "with +ping it would cost less"),
        ("-multi", "worker", "warn", "could not try"),
        ("resetkeys %R~* +@all", "worker", "fail", "needs: ~"),
        ("resetkeys %W~* +@all", "producer", "fail", "needs: ~"),
    ] {
        scene.allow(&format!("someone reset on >secret ~* +@all {takes}")).await;
        let (found, code) = rights(&scene.program_of("someone"), role).await;
        let expected = if verdict == "fail" { 5 } else { 0 };
        assert_eq!((found["verdict"].as_str(), code), (Some(verdict), Some(expected)), "{takes}: {found}");
        assert!(found["found"].as_str().unwrap().contains(says), "{takes}: {found}");
    }
    let output = scene.here.program.run(["doctor", "--role", "nobody"]).await;
    assert_eq!(output.code, Some(2), "{output:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_use_the_keys_of_some_partitions_alone_fails_and_is_told_of_the_others() {
    let scene = Scene::set().await;
    let prefix = &scene.here.prefix;
    for (keys, role, of) in [
        (format!("~{prefix}:meta ~{prefix}:workers:* ~{prefix}:{{0}}:*"), "worker", " (keys of partition 1, 2)"),
        (
            format!("~{prefix}:meta ~{prefix}:apikeys* ~{prefix}:workers:* ~{prefix}:{{0}}:*"),
            "operator",
            " (keys of partition 1, 2)",
        ),
        (format!("~{prefix}:meta ~{prefix}:{{0}}:queue ~{prefix}:{{2}}:queue"), "producer", " (keys of partition 1)"),
        (format!("~{prefix}:meta"), "producer", ""),
    ] {
        scene.allow(&format!("someone reset on >secret +@all {keys}")).await;
        let program = scene.program_of("someone").env("LYNKHOOK_QUEUE__PARTITIONS", "3");
        let (found, code) = rights(&program, role).await;
        assert_eq!((&found["verdict"], code), (&Value::from("fail"), Some(5)), "{keys}: {found}");
        let article = if role == "operator" { "an" } else { "a" };
        assert_eq!(
            found["found"],
            format!("someone lacks permissions that {article} {role} needs: ~{prefix}:*{of}"),
            "{keys}"
        );
        scene.allow(found["advice"].as_str().unwrap().strip_prefix("ACL SETUSER ").unwrap()).await;
        assert_eq!(rights(&program, role).await.0["verdict"], "pass", "{keys}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_refused_fail_a_check_for_a_role_that_needs_them_and_not_for_a_producer() {
    let scene = Scene::set().await;
    let prefix = &scene.here.prefix;
    // The user may use every key that doctor tries, except the settings of one account.
    let nobody = "wh_00000000-0000-0000-0000-000000000000";
    let partition = format!("{prefix}:{{0}}");
    let mut keys: Vec<String> = ["logs", "held", "failed"].map(|kind| format!("~{partition}:{kind}:{nobody}")).into();
    let more = ["idempotency", "idempotency:before", "portal:"];
    let kinds = ["queue", "retries", "releases", "visits", "rejected", "counts", "audit", "held_bytes", "webhooks:"];
    for kind in kinds.into_iter().chain(more) {
        keys.push(format!("~{partition}:{kind}"));
    }
    scene
        .allow(&format!(
            "someone reset on >secret +@all ~{prefix}:meta ~{prefix}:apikeys* ~{prefix}:workers:* {}",
            keys.join(" ")
        ))
        .await;
    scene.here.add("acme", &scene.receiver.url("/hook")).await;
    for (role, verdict) in [("worker", "fail"), ("operator", "fail"), ("producer", "warn")] {
        let output = scene.program_of("someone").run(["doctor", "--json", "--role", role]).await;
        let findings: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:#?}"));
        let of = |check: &str| findings.as_array().unwrap().iter().find(|finding| finding["check"] == check).unwrap();
        assert_eq!(of("rights")["verdict"], "pass", "{role}: {findings}");
        assert_eq!(of("webhooks")["verdict"], verdict, "{role}: {findings}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_the_url_needs_the_right_to_select_and_doctor_names_it() {
    let scene = Scene::set().await;
    scene.documented_user("operator").await;
    let url = format!("redis://operator:secret@127.0.0.1:{}/3", scene.redis.port());
    let program = scene.here.program.clone().env("LYNKHOOK_REDIS__URL", url);
    let output = program.run(["doctor", "--role", "operator"]).await;
    assert_eq!(output.code, Some(5), "{output:#?}");
    assert!(output.stdout.contains("+select") && !output.stdout.contains("start Redis"), "{output:#?}");
    scene.allow("operator +select").await;
    let (found, code) = rights(&program, "operator").await;
    assert_eq!((&found["verdict"], code), (&Value::from("pass"), Some(0)), "{found}");
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/README.md")).unwrap();
    assert!(readme.contains("each needs `+select` as well"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_client_reads_delivers_says_so_once_and_stops_when_its_read_ends() {
    let scene = Scene::set().await;
    let Scene { receiver, here, .. } = &scene;
    receiver.plan("/hook", [Answer::Status(200)]);
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    scene.allow("deaf on >secret ~* +@all -client").await;
    let mut worker = scene.program_of("deaf").worker([]);
    for _ in 0..3 {
        here.push("acme", TRANSCRIPT).await;
    }
    here.drained().await;
    assert_eq!(here.log(webhook).await.len(), 3);
    // Opens a second connection of the reader.
    let mut destroy = redis::cmd("XGROUP");
    destroy.arg("DESTROY").arg(here.key("queue")).arg("workers");
    destroy.query_async::<()>(&mut here.redis.clone()).await.unwrap();
    worker.wait_for_line("is created again").await;
    here.push("acme", TRANSCRIPT).await;
    here.drained().await;
    worker.sigterm();
    assert_eq!(worker.wait().await, Some(0));
    worker.wait_for_line("worker stopped").await;
    let said = worker.stderr();
    assert_eq!(said.matches("reads cannot be ended early").count(), 1, "{said}");
    assert!(!said.contains("the grace is over"), "{said}");
}
