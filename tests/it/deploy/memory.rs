//! No platform gives a process less memory than `deploy/README.md` says that it may have.

use super::{
    files::{documents, manifest, text},
    units::{unit, values},
};

/// The limits that `deploy/README.md` names for a worker and for a server, in MiB.
fn named() -> [u64; 2] {
    let page = text("README.md").split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, worker) = page.split_once("A worker may have ").expect("the page names a worker's memory");
    let (worker, rest) = worker.split_once(" MiB ").unwrap();
    let (_, server) = rest.split_once(" a server ").expect("the page names a server's memory");
    [worker, server.split(' ').next().unwrap()].map(|number| number.parse().unwrap())
}

/// `256M`, `256Mi` or `256m`, each as its platform writes MiB.
fn mebibytes(limit: &str) -> u64 {
    let digits = limit.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match limit[digits.len()..].to_ascii_lowercase().trim_end_matches('i') {
        "m" => 1,
        "g" => 1024,
        other => panic!("{limit}: {other}"),
    };
    digits.parse::<u64>().unwrap() * factor
}

#[test]
fn units_pods_and_containers_may_take_the_memory_that_the_page_names() {
    let compose = documents(&text("compose.yaml")).remove(0);
    for ((component, file), needed) in
        [("worker", "lynkhook-worker@.service"), ("server", "lynkhook-server.service")].into_iter().zip(named())
    {
        let unit = unit(file);
        let deployment = manifest("Deployment", &format!("lynkhook-{component}"));
        let pod = &deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"];
        let container = &compose["services"][component]["mem_limit"];
        for (platform, limit) in [
            ("systemd", values(&unit, "MemoryMax")[0]),
            ("Kubernetes", pod.as_str().unwrap()),
            ("Compose", container.as_str().unwrap()),
        ] {
            assert!(mebibytes(limit) >= needed, "{platform}: a {component} has {limit}, and {needed} MiB are named");
        }
    }
}
