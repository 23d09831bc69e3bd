//! The pods of the Kubernetes base are restricted, are probed at the ports that they open, and have settings that the
//! program takes.

use std::path::Path;

use lynkhook::config::Settings;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::process::Command;

use super::files::{FOR_A_CLUSTER, documents, folder, manifest, manifests, text, with_examples};
use crate::support::*;

const COMPONENTS: [&str; 2] = ["server", "worker"];
/// The placeholder of `lynkhook.toml`.
const PLACEHOLDER: &str = "REPLACE-WITH-YOUR-HOST";

/// Every pod has these values at these places. `null`: the place must be empty.
fn restricted() -> Vec<(&'static str, Value)> {
    vec![
        ("/securityContext/runAsNonRoot", json!(true)),
        ("/securityContext/runAsUser", json!(65532)),
        ("/securityContext/runAsGroup", json!(65532)),
        ("/securityContext/fsGroup", json!(65532)),
        ("/securityContext/seccompProfile", json!({ "type": "RuntimeDefault" })),
        ("/securityContext/sysctls", json!(null)),
        ("/automountServiceAccountToken", json!(false)),
        ("/enableServiceLinks", json!(false)),
        ("/hostNetwork", json!(null)),
        ("/hostPID", json!(null)),
        ("/hostIPC", json!(null)),
        ("/initContainers", json!(null)),
        ("/ephemeralContainers", json!(null)),
    ]
}

/// The same of every container.
fn restricted_container() -> Vec<(&'static str, Value)> {
    let security = json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": { "drop": ["ALL"] },
    });
    vec![
        ("/image", json!("lynkhook")),
        ("/securityContext", security),
        ("/resources/limits/cpu", json!(null)),
        ("/command", json!(null)),
        ("/terminationMessagePolicy", json!("FallbackToLogsOnError")),
    ]
}

fn deployment(component: &str) -> Value {
    manifest("Deployment", &format!("lynkhook-{component}"))
}

fn pod(component: &str) -> Value {
    deployment(component)["spec"]["template"]["spec"].clone()
}

/// The settings file of the base, with the host filled in.
fn filled() -> String {
    let file = text("kubernetes/lynkhook.toml");
    assert!(file.contains(PLACEHOLDER));
    file.replace(PLACEHOLDER, "webhooks.example.com")
}

fn load(file: &str) -> Result<Settings, lynkhook::config::ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lynkhook.toml");
    std::fs::write(&path, file).unwrap();
    Settings::load(Some(&path), [] as [(&str, &str); 0])
}

#[test]
fn every_container_of_every_deployment_is_restricted() {
    let mut deployments = manifests();
    deployments.retain(|it| it["kind"] == "Deployment");
    assert_eq!(deployments.len(), COMPONENTS.len());
    for deployment in deployments {
        let (name, pod) = (&deployment["metadata"]["name"], &deployment["spec"]["template"]["spec"]);
        let value = |of: &Value, place: &str| of.pointer(place).cloned().unwrap_or_default();
        for (place, expected) in restricted() {
            assert_eq!(value(pod, place), expected, "{name}: {place}");
        }
        for container in pod["containers"].as_array().unwrap() {
            for (place, expected) in restricted_container() {
                assert_eq!(value(container, place), expected, "{name}: {place} of {}", container["name"]);
            }
            assert!(container["resources"]["limits"]["memory"].is_string(), "{name} has no limit of memory");
            let mounts = container["volumeMounts"].as_array().unwrap();
            assert!(mounts.iter().all(|mount| mount["readOnly"] == true), "{name}: {mounts:?}");
        }
        for volume in pod["volumes"].as_array().unwrap() {
            assert!(volume["configMap"].is_object() || volume["secret"].is_object(), "{name}: {volume}");
        }
    }
    let namespace = manifest("Namespace", "lynkhook");
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
}

#[test]
fn probes_service_and_network_policy_name_the_ports_that_the_settings_open() {
    let settings = load(&filled()).unwrap();
    let open = |address: std::net::SocketAddr| {
        assert!(address.ip().is_unspecified(), "{address}: a pod is reached from other machines");
        address.port()
    };
    let health = |component| match component {
        "worker" => open(settings.worker.health_bind.unwrap()),
        _ => open(settings.server.health_bind.unwrap()),
    };
    for component in COMPONENTS {
        let container = &pod(component)["containers"][0];
        let mut ports = vec![json!({ "name": "health", "containerPort": health(component) })];
        if component == "server" {
            ports.insert(0, json!({ "name": "http", "containerPort": open(settings.server.bind) }));
        }
        assert_eq!(container["ports"], json!(ports), "{component}");
        let scraped = json!({
            "prometheus.io/scrape": "true",
            "prometheus.io/port": health(component).to_string(),
            "prometheus.io/path": "/metrics",
        });
        assert_eq!(deployment(component)["spec"]["template"]["metadata"]["annotations"], scraped);
        for (probe, path) in [("startup", "/healthz"), ("liveness", "/healthz"), ("readiness", "/readyz")] {
            let its = &container[format!("{probe}Probe")]["httpGet"];
            assert_eq!(its, &json!({ "path": path, "port": "health" }), "{component}: {probe}");
        }
    }
    let service = manifest("Service", "lynkhook-server");
    let api = json!({ "name": "http", "port": settings.server.bind.port(), "targetPort": "http" });
    assert_eq!(service["spec"]["ports"], json!([api]));
    let policy = manifest("NetworkPolicy", "lynkhook-server");
    assert_eq!(policy["spec"]["ingress"][0]["ports"][0]["port"], settings.server.bind.port());
}

#[test]
fn one_lost_probe_ends_no_pod_and_a_start_may_take_half_a_minute() {
    for component in COMPONENTS {
        let container = &pod(component)["containers"][0];
        for (probe, times) in [
            ("startupProbe", json!({ "periodSeconds": 1, "failureThreshold": 30 })),
            ("livenessProbe", json!({ "periodSeconds": 10, "timeoutSeconds": 2, "failureThreshold": 3 })),
            ("readinessProbe", json!({ "periodSeconds": 5, "timeoutSeconds": 2, "failureThreshold": 3 })),
        ] {
            let mut its = container[probe].clone();
            its.as_object_mut().unwrap().remove("httpGet");
            assert_eq!(its, times, "{component}: {probe}");
        }
    }
}

#[test]
fn the_settings_of_the_base_are_taken_with_its_examples_and_refused_with_its_placeholder() {
    let settings = load(&filled()).unwrap();
    assert_eq!(settings.server.public_url.as_deref(), Some("https://webhooks.example.com"));
    assert!(settings.server.trusted_proxies.is_empty());
    let settings = load(&with_examples(&filled())).unwrap();
    assert_eq!(settings.server.trusted_proxies.len(), 1);

    let refusal = load(&text("kubernetes/lynkhook.toml")).expect_err("the placeholder is not filled").to_string();
    assert!(refusal.contains(PLACEHOLDER) && refusal.contains("server.public_url"), "{refusal}");
}

#[test]
fn everything_that_chooses_pods_chooses_those_of_its_component() {
    for component in COMPONENTS {
        let labels = json!({ "app.kubernetes.io/name": "lynkhook", "app.kubernetes.io/component": component });
        let selector = json!({ "matchLabels": labels });
        let deployment = deployment(component);
        let template = &deployment["spec"]["template"];
        assert_eq!((&template["metadata"]["labels"], &deployment["spec"]["selector"]), (&labels, &selector));
        let spread = &template["spec"]["topologySpreadConstraints"][0];
        assert_eq!((&spread["labelSelector"], &spread["topologyKey"]), (&selector, &json!("kubernetes.io/hostname")));
        let budget = manifest("PodDisruptionBudget", &format!("lynkhook-{component}"));
        let expected =
            json!({ "maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow", "selector": selector });
        assert_eq!(budget["spec"], expected);
        assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"], json!({ "maxSurge": 1, "maxUnavailable": 0 }));
        if component == "server" {
            assert_eq!(manifest("Service", "lynkhook-server")["spec"]["selector"], labels);
            assert_eq!(manifest("NetworkPolicy", "lynkhook-server")["spec"]["podSelector"], selector);
        }
    }
    assert_eq!(deployment("server")["spec"]["replicas"], 2);
}

#[test]
fn the_base_lists_each_of_its_files_and_the_pods_mount_what_it_makes() {
    let kustomization = documents(&text("kubernetes/kustomization.yaml")).remove(0);
    let config = &kustomization["configMapGenerator"][0];
    let others = json!(["kustomization.yaml", FOR_A_CLUSTER.strip_prefix("kubernetes/")]);
    let listed = [&kustomization["resources"], &config["files"], &others];
    let mut listed: Vec<String> = listed
        .into_iter()
        .flat_map(|list| list.as_array().unwrap())
        .map(|name| format!("kubernetes/{}", name.as_str().unwrap()))
        .collect();
    listed.sort();
    assert_eq!(listed, folder("kubernetes"));
    for component in COMPONENTS {
        let pod = pod(component);
        let volumes = json!([
            { "name": "config", "configMap": { "name": config["name"] } },
            { "name": "key", "secret": { "secretName": "lynkhook-key", "defaultMode": 0o440 } },
        ]);
        assert_eq!(pod["volumes"], volumes, "{component}");
        let container = &pod["containers"][0];
        let mounted = |volume: &str, file: &str| {
            let mounts = container["volumeMounts"].as_array().unwrap();
            let mount = mounts.iter().find(|mount| mount["name"] == volume).unwrap();
            format!("{}/{file}", mount["mountPath"].as_str().unwrap())
        };
        let environment = json!([
            { "name": "LYNKHOOK_CONFIG", "value": mounted("config", config["files"][0].as_str().unwrap()) },
            { "name": "LYNKHOOK_SECRETS__KEY_FILE", "value": mounted("key", "secrets.key") },
        ]);
        assert_eq!(container["env"], environment, "{component}");
        let from = json!([{ "secretRef": { "name": format!("lynkhook-{component}") } }]);
        assert_eq!(container["envFrom"], from, "{component}");
        assert_eq!(kustomization["images"][0]["name"], container["image"]);
    }
}

/// The container's arguments, environment and settings file, with folders and ports of the test's own.
async fn started(component: &str, server: &RedisServer, folder: &Path) -> (Process, String) {
    let port = unused_port();
    let own_port =
        filled().replace("0.0.0.0:8081", &format!("127.0.0.1:{port}")).replace("0.0.0.0:8080", "127.0.0.1:0");
    let file = own_port.replace("0.0.0.0:8082", &format!("127.0.0.1:{port}"));
    std::fs::write(folder.join("lynkhook.toml"), file).unwrap();
    std::fs::write(folder.join("secrets.key"), SECRETS_KEY).unwrap();
    let container = pod(component)["containers"][0].clone();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lynkhook"));
    command.env_clear().env("LYNKHOOK_REDIS__URL", server.url());
    for variable in container["env"].as_array().unwrap() {
        let file = Path::new(variable["value"].as_str().unwrap()).file_name().unwrap();
        command.env(variable["name"].as_str().unwrap(), folder.join(file));
    }
    command.args(container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()));
    let process = Process::spawn(command, Vec::new());
    process.wait_for_line(if component == "worker" { "probes are answered" } else { "the API is served" }).await;
    (process, format!("http://127.0.0.1:{port}"))
}

#[tokio::test]
async fn each_process_starts_as_its_container_does_answers_its_probes_and_stops() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let server = RedisServer::start(AppendFsync::No);
    for component in COMPONENTS {
        let folder = tempfile::tempdir().unwrap();
        let (mut process, address) = started(component, &server, folder.path()).await;
        let container = &pod(component)["containers"][0];
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let path = container[probe]["httpGet"]["path"].as_str().unwrap();
            eventually(SOON, &format!("the {probe} of a {component} succeeds"), async || {
                let answer = reqwest::get(format!("{address}{path}")).await.ok()?;
                (answer.status() == StatusCode::OK).then_some(())
            })
            .await;
        }
        process.sigterm();
        assert_eq!(process.wait().await, Some(0), "{component}");
    }
}
