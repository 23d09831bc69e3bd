//! `deploy/compose.yaml`: what it publishes, what its containers may do, and whether its processes find one another. No
//! container engine takes part: the processes run on this machine with exactly the file's commands and environments, but
//! with this machine's paths and ports in the place of the containers'.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::files::{documents, path_of, text};
use crate::support::{Answer, Process, Receiver, SOON, TRANSCRIPT, eventually, unused_port};

/// The parsed file.
fn compose() -> Value {
    documents(&text("compose.yaml")).remove(0)
}

/// The texts of a list.
fn texts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap_or_else(|| panic!("{list} is no list")).iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn ports_are_published_on_loopback_alone() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    let mut ports: Vec<&str> = services.values().filter_map(|service| service.get("ports")).flat_map(texts).collect();
    ports.sort_unstable();
    assert_eq!(ports, ["127.0.0.1:3000:3000", "127.0.0.1:8080:8080", "127.0.0.1:9090:9090"]);
    for service in services.values() {
        assert!(service.get("network_mode").is_none(), "{service}");
    }
}

#[test]
fn each_service_reaches_what_it_needs_and_starts_after_it_and_redis_has_no_way_out() {
    let services = &compose()["services"];
    let redis = json!({ "condition": "service_healthy" });
    for (name, networks, after) in [
        ("redis", json!(["data"]), Value::Null),
        ("server", json!(["data", "outside"]), json!({ "redis": redis })),
        ("worker", json!(["data", "outside"]), json!({ "redis": redis, "server": { "condition": "service_started" } })),
        ("prometheus", json!(["outside"]), Value::Null),
        ("grafana", json!(["outside"]), json!({ "prometheus": { "condition": "service_started" } })),
    ] {
        assert_eq!((&services[name]["networks"], &services[name]["depends_on"]), (&networks, &after), "{name}");
    }
    assert_eq!(services["redis"]["user"], "redis", "as root, the image wants rights that it does not have");
    assert_eq!(compose()["networks"], json!({ "data": { "internal": true }, "outside": {} }));
}

/// Newer versions of Compose build all services at once, and older ones in the order of `depends_on`.
#[test]
fn the_server_alone_builds_the_image_and_the_workers_wait_for_it_and_do_not_ask_a_registry() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    let built: Vec<&String> = services.keys().filter(|name| services[*name].get("build").is_some()).collect();
    assert_eq!(built, ["server"]);
    let context = path_of(services["server"]["build"]["context"].as_str().unwrap()).canonicalize().unwrap();
    assert_eq!(context, Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().unwrap());
    let file = context.join(services["server"]["build"]["dockerfile"].as_str().unwrap());
    assert_eq!(file.canonicalize().unwrap(), path_of("Dockerfile").canonicalize().unwrap());
    let (server, worker) = (&services["server"], &services["worker"]);
    assert_eq!((&worker["image"], &server["image"]), (&json!("lynkhook:local"), &json!("lynkhook:local")));
    assert_eq!(worker["pull_policy"], "never");
    assert!(worker["depends_on"]["server"].is_object());
}

#[test]
fn each_container_is_confined() {
    let compose = compose();
    for (name, service) in compose["services"].as_object().unwrap() {
        for (key, value) in [
            ("read_only", json!(true)),
            ("cap_drop", json!(["ALL"])),
            ("security_opt", json!(["no-new-privileges:true"])),
            ("restart", json!("unless-stopped")),
        ] {
            assert_eq!(service[key], value, "{name}: {key}");
        }
        assert!(service["mem_limit"].is_string(), "{name} has no limit for its memory");
        assert!(service["healthcheck"]["test"].is_array(), "{name} has no health check");
        for key in ["cap_add", "privileged", "devices", "pid", "ipc"] {
            assert!(service.get(key).is_none(), "{name}: {key}");
        }
        let mounts = service.get("volumes").map(texts).unwrap_or_default();
        assert!(!mounts.iter().any(|mount| mount.contains("docker.sock")), "{name}: {mounts:?}");
    }
}

#[test]
fn no_secret_is_in_the_file() {
    let compose = compose();
    for (name, service) in compose["services"].as_object().unwrap() {
        let environment = service.get("environment").and_then(Value::as_object).cloned().unwrap_or_default();
        for secret in ["LYNKHOOK_REDIS__URL", "REDIS_URL", "LYNKHOOK_SECRETS__KEY", "REDISCLI_AUTH"] {
            assert!(!environment.contains_key(secret), "{name} has {secret} in the file");
        }
        let command = service["command"].to_string() + &service["healthcheck"].to_string();
        for word in ["requirepass", "masterauth", "--pass", "\"-a\"", " -a ", "--user"] {
            assert!(!command.contains(word), "{name} has {word} in its command");
        }
    }
    for secret in compose["secrets"].as_object().unwrap().values() {
        assert!(secret["file"].as_str().unwrap().starts_with("secrets/"), "{secret}");
    }
}

/// Services that are found by Prometheus, and files that are found by it and by Grafana.
#[test]
fn prometheus_asks_server_and_workers_where_they_answer_and_both_find_the_files_that_they_are_given() {
    let compose = compose();
    let services = &compose["services"];
    let settings = documents(&text("prometheus/prometheus.yaml")).remove(0);
    for (service, key) in [("worker", "LYNKHOOK_WORKER__HEALTH_BIND"), ("server", "LYNKHOOK_SERVER__HEALTH_BIND")] {
        let jobs = settings["scrape_configs"].as_array().unwrap().iter();
        let found: Vec<&Value> = jobs.filter(|job| job["job_name"] == format!("lynkhook-{service}")).collect();
        let [job] = found[..] else { panic!("{service}: {found:?}") };
        let names = &job["dns_sd_configs"][0];
        assert_eq!((&names["names"], &names["type"]), (&json!([service]), &json!("A")), "{service}");
        let bind = services[service]["environment"][key].as_str().unwrap();
        assert_eq!(bind, format!("0.0.0.0:{}", names["port"]), "{service}");
    }
    for service in ["prometheus", "grafana"] {
        for mount in texts(&services[service]["volumes"]) {
            let [from, to] = [0, 1].map(|part| mount.split(':').nth(part).unwrap());
            if from.starts_with('.') {
                assert!(mount.ends_with(":ro") && path_of(from).exists(), "{mount}");
            } else {
                assert!(compose["volumes"].get(from).is_some(), "{mount}");
            }
            let is_used = services[service].to_string().matches(to).count() > 1;
            let is_known = to.starts_with("/etc/grafana/provisioning/") || to == "/var/lib/grafana";
            assert!(is_used || is_known || to == "/etc/prometheus/alerts.yaml", "nothing reads {to}");
        }
    }
    assert_eq!(settings["rule_files"], json!(["alerts.yaml"]));
    let source = documents(&text("grafana/provisioning/datasources/prometheus.yaml")).remove(0);
    assert_eq!(source["datasources"][0]["url"], "http://prometheus:9090");
    let provider = documents(&text("grafana/provisioning/dashboards/lynkhook.yaml")).remove(0);
    let folder = provider["providers"][0]["options"]["path"].as_str().unwrap();
    let home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].as_str().unwrap();
    assert!(home.starts_with(folder), "{home} is not in {folder}");
}

#[test]
fn people_may_look_at_grafana_and_change_nothing_and_it_fetches_nothing_by_itself() {
    let compose = compose();
    let environment = &compose["services"]["grafana"]["environment"];
    for (setting, value) in [
        ("GF_AUTH_ANONYMOUS_ORG_ROLE", "Viewer"),
        ("GF_AUTH_DISABLE_LOGIN_FORM", "true"),
        ("GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION", "true"),
        ("GF_ANALYTICS_REPORTING_ENABLED", "false"),
        ("GF_ANALYTICS_CHECK_FOR_UPDATES", "false"),
        ("GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES", "false"),
        ("GF_PLUGINS_PREINSTALL_DISABLED", "true"),
        ("GF_NEWS_NEWS_FEED_ENABLED", "false"),
    ] {
        assert_eq!(environment[setting], value, "{setting}");
    }
}

/// The file's installation on this machine.
struct Composed {
    compose: Value,
    /// A copy of `deploy`, with secrets of its own.
    folder: TempDir,
    redis_port: u16,
    /// Settings that a test needs beside those of the file.
    extra: Vec<(&'static str, String)>,
}

impl Composed {
    fn new(receiver: &Receiver) -> Self {
        let copy = tempfile::Builder::new().prefix("lynkhook-compose-").tempdir().unwrap();
        fs::create_dir(copy.path().join("redis")).unwrap();
        for file in ["secrets.sh", "redis/redis.conf", "redis/users.acl", "redis/cluster.conf"] {
            fs::copy(path_of(file), copy.path().join(file)).unwrap();
        }
        let made = std::process::Command::new("sh").arg(copy.path().join("secrets.sh")).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let extra = vec![
            ("LYNKHOOK_EGRESS__ALLOW", "127.0.0.0/8,localhost".to_owned()),
            ("LYNKHOOK_EGRESS__EXTRA_CA", receiver.ca_file().display().to_string()),
        ];
        Self { compose: compose(), folder: copy, redis_port: unused_port(), extra }
    }

    fn service(&self, name: &str) -> &Value {
        &self.compose["services"][name]
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// The variables of an `env_file`.
    fn file_variables(&self, file: &str) -> HashMap<String, String> {
        let text = fs::read_to_string(self.path(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(|line| line.split_once('=').unwrap()).map(|(name, value)| (name.into(), value.into())).collect()
    }

    /// The environment of a new container of this service, with this machine's address of Redis, paths and ports.
    fn environment(&self, service: &str) -> HashMap<String, String> {
        let service = self.service(service);
        let mut variables = self.file_variables(service["env_file"].as_str().unwrap());
        for (name, value) in service["environment"].as_object().unwrap() {
            variables.insert(name.clone(), value.as_str().unwrap().to_owned());
        }
        let secrets = texts(&service["secrets"]);
        for value in variables.values_mut() {
            if let Some(name) = value.strip_prefix("/run/secrets/") {
                assert!(secrets.contains(&name), "{value} is not given to the service");
                *value = self.path(self.compose["secrets"][name]["file"].as_str().unwrap()).display().to_string();
            } else if value.starts_with("0.0.0.0:") {
                *value = format!("127.0.0.1:{}", unused_port());
            }
            *value = self.with_redis(value);
        }
        variables
    }

    fn with_redis(&self, value: &str) -> String {
        value.replace("@redis:6379/", &format!("@127.0.0.1:{}/", self.redis_port))
    }

    /// Starts Redis with the file's command, in the image's working directory. Mounts are this machine's own paths, in the
    /// command and in the configuration.
    async fn start_redis(&self) -> Process {
        let service = self.service("redis");
        let mut command = texts(&service["command"]).join("\n");
        let configuration = self.path("redis/redis.conf");
        let mut configured = text("redis/redis.conf");
        let mut data = None;
        for mount in texts(&service["volumes"]) {
            let [from, to] = [0, 1].map(|part| mount.split(':').nth(part).unwrap());
            let is_volume = !from.starts_with('.');
            let from = self.path(&if is_volume { format!("volumes/{from}") } else { from.to_owned() });
            if is_volume {
                fs::create_dir_all(&from).unwrap();
                data = (to == "/data").then(|| from.clone());
            } else {
                assert!(command.contains(to) || configured.contains(to), "{mount} is not used");
            }
            command = command.replace(to, from.to_str().unwrap());
            configured = configured.replace(to, from.to_str().unwrap());
        }
        fs::write(configuration, configured).unwrap();
        let mut words = command.lines();
        let mut redis = Command::new(words.next().unwrap());
        redis.args(words).args(["--port", &self.redis_port.to_string(), "--bind", "127.0.0.1"]);
        redis.current_dir(data.expect("data is kept in a volume"));
        let redis = Process::spawn(redis, Vec::new());
        redis.wait_for_line("Ready to accept connections").await;
        redis
    }

    /// Runs the program with an environment.
    fn start(&self, environment: &HashMap<String, String>, args: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lynkhook"));
        command.args(args).env_clear().envs(environment).envs(self.extra.iter().cloned());
        Process::spawn(command, Vec::new())
    }

    async fn run(&self, environment: &HashMap<String, String>, args: &[&str]) {
        let output = self.start(environment, args).output(SOON).await;
        assert_eq!(output.code, Some(0), "{args:?}: {output:?}");
    }

    /// Starts a container's process, and waits until its health check passes.
    async fn start_service(&self, name: &str) -> (HashMap<String, String>, Process) {
        let (environment, service) = (self.environment(name), self.service(name));
        let process = self.start(&environment, &texts(&service["command"]));
        let check = texts(&service["healthcheck"]["test"]);
        assert_eq!(check[..2], ["CMD", "/lynkhook"]);
        eventually(SOON, &format!("a healthy {name}"), async || {
            (self.start(&environment, &check[2..]).output(SOON).await.code == Some(0)).then_some(())
        })
        .await;
        (environment, process)
    }
}

#[tokio::test]
async fn the_processes_of_the_file_find_one_another_and_deliver() {
    let receiver = Receiver::start().await;
    receiver.plan("/hook", [Answer::Status(200)]);
    let composed = Composed::new(&receiver);
    let _redis = composed.start_redis().await;
    let (server, mut server_process) = composed.start_service("server").await;
    assert_eq!(composed.service("worker")["scale"], 2);
    let (_, mut first) = composed.start_service("worker").await;
    let (_, mut second) = composed.start_service("worker").await;

    composed.run(&server, &["webhook", "add", "--account", "acme", "--url", &receiver.url("/hook")]).await;
    let producer = composed.file_variables("secrets/producer.env");
    let producer = producer.into_iter().map(|(name, value)| (name, composed.with_redis(&value))).collect();
    let event = composed.path("event.json");
    fs::write(&event, TRANSCRIPT).unwrap();
    let event = event.to_str().unwrap();
    composed.run(&producer, &["enqueue", "--account", "acme", "--file", event]).await;
    receiver.wait_for("/hook", 1, SOON).await;

    // The other worker does all that the first one did.
    first.kill9().await;
    composed.run(&producer, &["enqueue", "--account", "acme", "--file", event]).await;
    receiver.wait_for("/hook", 2, SOON).await;

    for process in [&mut server_process, &mut second] {
        process.sigterm();
        assert_eq!(process.wait().await, Some(0));
    }
}

#[tokio::test]
async fn redis_is_healthy_only_while_it_lets_nobody_in_without_a_password() {
    let receiver = Receiver::start().await;
    let composed = Composed::new(&receiver);
    let check = texts(&composed.service("redis")["healthcheck"]["test"])[1];
    let asked = check.replace("redis-cli", &format!("redis-cli -p {}", composed.redis_port));
    let is_healthy = async || Command::new("sh").args(["-c", &asked]).status().await.unwrap().success();
    assert!(!is_healthy().await, "nothing runs yet");
    let redis = composed.start_redis().await;
    assert!(is_healthy().await);
    drop(redis);
    let list = Path::new("secrets/users.acl");
    fs::write(composed.folder.path().join(list), "user default on nopass ~* +@all\n").unwrap();
    let _redis = composed.start_redis().await;
    assert!(!is_healthy().await, "the default user is on");
}
