//! KEDA adds and removes workers by the length of the queue: the names that it knows, and the number that comes out.

use std::collections::BTreeSet;

use lynkhook::{config::Settings, store::keys::Keys};
use redis::{
    AsyncCommands, IntoConnectionInfo, RedisConnectionInfo, aio::MultiplexedConnection, streams::StreamMaxlen,
};
use serde_json::{Value, json};

use super::files::{FOR_A_CLUSTER, documents, manifest, text, with_examples};
use crate::{cluster::deployed::DeployedCluster, support::*};

/// The names that may stand at each place of a `ScaledObject` and a `TriggerAuthentication`: those that KEDA defines
/// (2.17 and newer), and for `metadata` those of its scalers `redis-streams` and `redis-cluster-streams`, which ignore
/// unknown ones.
///
/// `consumerGroup`, `pendingEntriesCount` and `lagCount` are missing on purpose: with a consumer group, KEDA counts
/// what is in flight. So are `pollingInterval`, `cooldownPeriod` and `idleReplicaCount`: above a floor of 1 they do
/// nothing.
const KNOWN: [(&str, &[&str]); 19] = [
    ("", &["apiVersion", "kind", "metadata", "spec"]),
    (".metadata", &["name", "labels", "annotations"]),
    (".spec", &SPEC),
    (".spec.scaleTargetRef", &["apiVersion", "kind", "name", "envSourceContainerName"]),
    (".spec.fallback", &["failureThreshold", "replicas", "behavior"]),
    (".spec.advanced", &["horizontalPodAutoscalerConfig", "restoreToOriginalReplicaCount", "scalingModifiers"]),
    (".spec.advanced.scalingModifiers", &["formula", "target", "activationTarget", "metricType"]),
    (".spec.advanced.horizontalPodAutoscalerConfig", &["name", "behavior"]),
    (".spec.advanced.horizontalPodAutoscalerConfig.behavior", &["scaleUp", "scaleDown"]),
    (".spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleUp", &SCALING),
    (".spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleDown", &SCALING),
    (".spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleUp.policies", &POLICY),
    (".spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleDown.policies", &POLICY),
    (".spec.triggers", &["type", "name", "metricType", "metadata", "authenticationRef", "useCachedMetrics"]),
    (".spec.triggers.authenticationRef", &["name", "kind"]),
    (
        ".spec.triggers.metadata",
        &["address", "addresses", "stream", "streamLength", "activationLagCount", "databaseIndex", "enableTLS"],
    ),
    (".spec.secretTargetRef", &["parameter", "name", "key"]),
    (".metadata.labels", &[]),
    (".metadata.annotations", &[]),
];
const SPEC: [&str; 7] =
    ["scaleTargetRef", "minReplicaCount", "maxReplicaCount", "fallback", "advanced", "triggers", "secretTargetRef"];
const SCALING: [&str; 4] = ["stabilizationWindowSeconds", "policies", "selectPolicy", "tolerance"];
const POLICY: [&str; 3] = ["type", "value", "periodSeconds"];

/// Each name in `value` that KEDA does not know, by its place.
fn unknown(value: &Value, place: &str) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(|item| unknown(item, place)).collect(),
        Value::Object(entries) => {
            let known = KNOWN.iter().find(|(at, _)| *at == place).map_or(&[][..], |(_, names)| names);
            let below = |(name, value): (&String, &Value)| {
                let at = format!("{place}.{name}");
                if known.contains(&name.as_str()) { unknown(value, &at) } else { vec![at] }
            };
            entries.iter().flat_map(below).collect()
        }
        _ => Vec::new(),
    }
}

/// The file's documents: as it is, with the examples for several partitions in force, and with the patch for a cluster.
fn all() -> [Vec<Value>; 3] {
    let file = text("kubernetes/scaledobject.yaml");
    let mut for_a_cluster = documents(&file);
    patch(&mut for_a_cluster[0], documents(&text(FOR_A_CLUSTER)).remove(0));
    [documents(&file), documents(&with_examples(&file)), for_a_cluster]
}

/// Patches as kustomize does an object whose definition it does not have: lists are replaced.
fn patch(value: &mut Value, by: Value) {
    match by {
        Value::Object(entries) => {
            for (name, by) in entries {
                patch(&mut value[name], by);
            }
        }
        by => *value = by,
    }
}

fn scaled_object() -> Value {
    manifest("ScaledObject", "lynkhook-worker")
}

#[test]
fn keda_knows_every_name_in_its_file_and_in_the_examples() {
    for documents in all() {
        let kinds: Vec<&Value> = documents.iter().map(|document| &document["kind"]).collect();
        assert_eq!(kinds, ["ScaledObject", "TriggerAuthentication"]);
        for document in documents {
            assert_eq!(document["apiVersion"], "keda.sh/v1alpha1");
            assert_eq!(unknown(&document, ""), Vec::<String>::new());
            for trigger in document["spec"]["triggers"].as_array().into_iter().flatten() {
                let metadata = trigger["metadata"].as_object().unwrap();
                assert!(metadata.values().all(Value::is_string), "KEDA takes only text: {metadata:?}");
            }
        }
    }
}

#[test]
fn a_misspelt_name_is_found_wherever_it_stands() {
    let misspelt = scaled_object().to_string();
    for (name, place) in [
        ("minReplicaCount", ".spec.minReplicaCountt"),
        ("streamLength", ".spec.triggers.metadata.streamLengtht"),
        ("authenticationRef", ".spec.triggers.authenticationReft"),
        ("behavior\":{", ".spec.advanced.horizontalPodAutoscalerConfig.behaviort"),
        ("failureThreshold", ".spec.fallback.failureThresholdt"),
    ] {
        let (key, rest) = name.split_once('"').map_or((name, String::new()), |(key, rest)| (key, format!("\"{rest}")));
        let document = misspelt.replacen(name, &format!("{key}t{rest}"), 1);
        assert_eq!(unknown(&serde_json::from_str(&document).unwrap(), ""), [place]);
    }
    let grouped = misspelt.replacen("\"streamLength\"", "\"consumerGroup\":\"workers\",\"streamLength\"", 1);
    assert_eq!(unknown(&serde_json::from_str(&grouped).unwrap(), ""), [".spec.triggers.metadata.consumerGroup"]);
}

#[test]
fn there_are_two_to_ten_workers_that_double_every_15_s_and_go_one_a_minute_after_five_minutes() {
    let object = scaled_object();
    let spec = &object["spec"];
    assert_eq!((&spec["minReplicaCount"], &spec["maxReplicaCount"]), (&json!(2), &json!(10)));
    assert_eq!(spec["scaleTargetRef"], json!({ "name": "lynkhook-worker" }));
    let deployment = manifest("Deployment", "lynkhook-worker");
    assert_eq!(deployment["spec"]["replicas"], Value::Null, "each `kubectl apply` would reset the number");
    let fallback = json!({ "failureThreshold": 3, "replicas": 2, "behavior": "currentReplicasIfHigher" });
    assert_eq!(spec["fallback"], fallback, "an outage of Redis removes no worker");
    let behavior = &spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"];
    let down = json!([{ "type": "Pods", "value": 1, "periodSeconds": 60 }]);
    assert_eq!(behavior["scaleDown"], json!({ "stabilizationWindowSeconds": 300, "policies": down }));
    let up = json!([{ "type": "Percent", "value": 100, "periodSeconds": 15 }]);
    assert_eq!(behavior["scaleUp"], json!({ "stabilizationWindowSeconds": 0, "policies": up }));
}

#[test]
fn a_worker_is_added_for_about_four_times_as_many_entries_as_it_has_in_flight() {
    let settings = Settings::load(None, [] as [(&str, &str); 0]).unwrap();
    let rule = 4.0 * f64::from(u32::try_from(settings.worker.concurrency).unwrap());
    for documents in all() {
        for trigger in triggers(&documents[0]) {
            let target: f64 = field(trigger, "streamLength").parse().unwrap();
            assert!((target / rule - 1.0).abs() <= 0.05, "{target}, and the rule says {rule}");
        }
    }
}

#[test]
fn each_trigger_asks_for_the_queue_of_its_partition_as_the_user_of_the_secret() {
    let settings = Settings::load(None, [] as [(&str, &str); 0]).unwrap();
    let namespace = documents(&text("kubernetes/kustomization.yaml"))[0]["namespace"].as_str().unwrap().to_owned();
    assert_eq!(manifest("Namespace", &namespace)["metadata"]["name"], namespace.as_str());
    for documents in all() {
        let triggers = triggers(&documents[0]);
        let keys = Keys::new(&settings.redis.prefix, u16::try_from(triggers.len()).unwrap());
        for (partition, trigger) in (0..).zip(triggers) {
            let address = match trigger["type"].as_str().unwrap() {
                "redis-streams" => "address",
                "redis-cluster-streams" => "addresses",
                other => panic!("{other}"),
            };
            assert_eq!(trigger["metricType"], "AverageValue");
            assert_eq!(field(trigger, "stream"), keys.queue(partition));
            // KEDA asks from another namespace.
            assert_eq!(field(trigger, address), format!("redis.{namespace}.svc:6379"));
            assert_eq!(trigger["authenticationRef"]["name"], documents[1]["metadata"]["name"]);
        }
        let from_secret = |name: &str| json!({ "parameter": name, "name": "lynkhook-keda", "key": name });
        assert_eq!(documents[1]["spec"]["secretTargetRef"], json!([from_secret("username"), from_secret("password")]));
    }
}

/// Without a formula, the longest queue alone decides.
#[test]
fn several_partitions_are_summed() {
    let [alone, several, cluster] = all().map(|mut documents| documents.remove(0));
    assert_eq!((triggers(&alone).len(), &alone["spec"]["advanced"]["scalingModifiers"]), (1, &Value::Null));
    for (object, partitions, kind) in [(several, 2, "redis-streams"), (cluster, 16, "redis-cluster-streams")] {
        assert!(triggers(&object).iter().all(|trigger| trigger["type"] == kind), "{object:#}");
        assert_eq!(triggers(&object).len(), partitions);
        let names: Vec<&str> = triggers(&object).iter().map(|trigger| trigger["name"].as_str().unwrap()).collect();
        let target = field(&triggers(&object)[0], "streamLength");
        let expected = json!({ "formula": names.join(" + "), "target": target });
        assert_eq!(object["spec"]["advanced"]["scalingModifiers"], expected);
    }
}

#[test]
fn the_base_has_the_patch_for_a_cluster_as_an_example() {
    let file = documents(&with_examples(&text("kubernetes/kustomization.yaml"))).remove(0);
    let name = FOR_A_CLUSTER.strip_prefix("kubernetes/").unwrap();
    assert_eq!(file["patches"], json!([{ "path": name }]));
    assert!(!file["resources"].as_array().unwrap().contains(&json!(name)));
}

fn triggers(scaled_object: &Value) -> &Vec<Value> {
    scaled_object["spec"]["triggers"].as_array().unwrap()
}

fn field<'a>(trigger: &'a Value, name: &str) -> &'a str {
    trigger["metadata"][name].as_str().unwrap_or_else(|| panic!("no {name} in {trigger}"))
}

/// The number of workers that Kubernetes's autoscaler wants for a value that is shared among them. It leaves the number
/// alone within 10 % of the target.
fn wanted(length: u64, current: u64, spec: &Value) -> u64 {
    let number = |value: &Value| value.as_u64().unwrap();
    let target: u64 = field(&spec["triggers"][0], "streamLength").parse().unwrap();
    let is_close = (length * 10).abs_diff(target * current * 10) <= target * current;
    let wanted = if is_close { current } else { length.div_ceil(target) };
    wanted.clamp(number(&spec["minReplicaCount"]), number(&spec["maxReplicaCount"]))
}

/// Logs in as KEDA does, with the rights that `deploy/redis/users.acl` gives to the user `keda`.
async fn as_keda(server: &RedisServer) -> MultiplexedConnection {
    let file = text("redis/users.acl");
    let line = file.lines().find_map(|line| line.strip_prefix("user keda ")).expect("users.acl has the user keda");
    let rights = line.split_whitespace().map(|word| if word.starts_with('#') { ">secret" } else { word });
    let mut allow = redis::cmd("ACL");
    allow.arg("SETUSER").arg("keda").arg(rights.collect::<Vec<_>>());
    allow.query_async::<()>(&mut server.connection().await).await.unwrap();
    let login = RedisConnectionInfo::default().set_username("keda").set_password("secret");
    // KEDA's client tells its name as well, and bears the refusal.
    let login = login.set_skip_set_lib_name();
    let info = server.url().into_connection_info().unwrap().set_redis_settings(login);
    redis::Client::open(info).unwrap().get_multiplexed_async_connection().await.unwrap()
}

#[tokio::test]
async fn the_user_keda_sees_the_length_of_a_real_queue_and_two_to_ten_workers_follow_from_it() {
    let object = scaled_object();
    let spec = &object["spec"];
    let stream = field(&triggers(&object)[0], "stream");
    let server = RedisServer::start(AppendFsync::No);
    let (mut producer, mut keda) = (server.connection().await, as_keda(&server).await);
    let mut length = 0;
    for (entries, workers) in [(0, 2), (2_000, 2), (2_300, 3), (5_000, 5), (50_000, 10)] {
        while length < entries {
            let mut batch = redis::pipe();
            for _ in 0..100 {
                batch.xadd(stream, "*", &[("account", "acme"), ("event", "{}")]).ignore();
            }
            batch.query_async::<()>(&mut producer).await.unwrap();
            length += 100;
        }
        assert_eq!(redis::cmd("PING").query_async::<String>(&mut keda).await.unwrap(), "PONG");
        let seen: u64 = keda.xlen(stream).await.unwrap();
        assert_eq!(seen, entries);
        for current in [2, 10] {
            assert_eq!(wanted(seen, current, spec), workers, "{entries} entries, {current} workers");
        }
    }
    // As after a backlog: the floor holds for a queue that was emptied.
    producer.xtrim::<_, ()>(stream, StreamMaxlen::Equals(0)).await.unwrap();
    assert_eq!(wanted(keda.xlen(stream).await.unwrap(), 10, spec), 2);
    let refused: Value = acl_log(&mut producer).await;
    assert_eq!(refused, json!([]), "KEDA asked for something that it may not");
}

/// The first and the last slot of a range, and its master: host, port, id, more.
type Slots = (u16, u16, (String, u16, String, Vec<String>));

/// As KEDA's client for clusters does: it asks a node for the masters, and each master for its queues.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a whole cluster: run alone, by `make test`"]
async fn serial_the_user_keda_sees_the_length_of_each_queue_at_its_master_and_workers_follow_from_the_sum() {
    let cluster = DeployedCluster::start(0).await;
    let [.., documents] = all();
    let spec = &documents[0]["spec"];
    let password = cluster.password_of("keda");
    let client = async |port: u16| {
        let client = redis::Client::open(format!("redis://keda:{password}@127.0.0.1:{port}/")).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    };
    let (mut sum, mut masters) = (0, BTreeSet::new());
    for trigger in triggers(&documents[0]) {
        let stream = field(trigger, "stream");
        let (master, _): (usize, u64) = cluster.ask_master(&format!("XLEN {stream}")).await;
        let mut batch = redis::pipe();
        for _ in 0..300 {
            batch.xadd(stream, "*", &[("account", "acme"), ("event", "{}")]).ignore();
        }
        batch.query_async::<()>(&mut cluster.nodes[master].connection().await).await.unwrap();

        let mut slots = redis::cmd("CLUSTER");
        slots.arg("SLOTS");
        let mut seed = client(cluster.nodes[0].port()).await;
        let slots: Vec<Slots> = slots.query_async(&mut seed).await.unwrap();
        let slot = slot_of(stream);
        let (.., (_, port, ..)) = slots.iter().find(|(first, last, _)| (first..=last).contains(&&slot)).unwrap();
        let mut keda = client(*port).await;
        for may in ["PING", "COMMAND", "ASKING"] {
            redis::cmd(may).query_async::<redis::Value>(&mut keda).await.unwrap();
        }
        sum += keda.xlen::<_, u64>(stream).await.unwrap();
        masters.insert(*port);
    }
    // The longest queue alone would be content with two workers.
    assert_eq!((sum, wanted(sum, 2, spec), masters.len()), (16 * 300, 5, 3));
    assert_eq!(cluster.refusals().await, [""; 0]);
}

/// The refused commands and keys, by name.
async fn acl_log(admin: &mut MultiplexedConnection) -> Value {
    let entries: Vec<std::collections::HashMap<String, redis::Value>> =
        redis::cmd("ACL").arg("LOG").query_async(admin).await.unwrap();
    entries.iter().map(|entry| format!("{:?}", entry["object"])).collect()
}
