//! `lynkhook health`, the probe of platforms that run a command.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::support::*;

/// A program whose worker and server answer probes at these ports.
fn probed(program: &Program, worker: u16, server: u16) -> Program {
    let at = |port| format!("127.0.0.1:{port}");
    let program = program.clone().env("LYNKHOOK_WORKER__HEALTH_BIND", at(worker));
    program.env("LYNKHOOK_SERVER__HEALTH_BIND", at(server)).env("LYNKHOOK_SERVER__BIND", "127.0.0.1:0")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_process_ends_it_with_0_and_one_that_is_not_ready_or_gone_with_1() {
    let receiver = Receiver::start().await;
    let mut redis = RedisServer::start(AppendFsync::Always);
    let here = Installation::on(&redis, &receiver).await;
    let program = probed(&here.program, unused_port(), unused_port());
    for process in ["worker", "server"] {
        let running = program.start([process]);
        let asked = async |words: &[&str]| {
            let output = program.run([&["health", process], words].concat()).await;
            (output.code, output.stdout.trim().to_owned(), output.stderr)
        };
        let until = async |words: &[&str], code| {
            let what = format!("{process} {words:?} to end with {code}");
            eventually(SOON, &what, async || Some(asked(words).await).filter(|found| found.0 == Some(code))).await
        };
        assert_eq!(until(&["--ready"], 0).await.1, "ready");
        assert_eq!(until(&[], 0).await.1, "healthy");
        let json: serde_json::Value = serde_json::from_str(&asked(&["--ready", "--json"]).await.1).unwrap();
        assert!(json["checks"].as_array().unwrap().iter().any(|check| check["name"] == "redis"), "{json}");

        redis.kill9();
        let (_, _, said) = until(&["--ready"], 1).await;
        assert!(said.contains("answered 503; redis: "), "{said}");
        assert_eq!(asked(&[]).await.0, Some(0), "it is not to be restarted");
        redis.restart();
        until(&["--ready"], 0).await;
        drop(running);
        let (_, _, said) = until(&[], 1).await;
        assert!(said.contains("no answer from http://127.0.0.1:") && said.contains("/healthz within 2s"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_takes_the_question_and_does_not_answer_is_not_healthy_after_2_s() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let program = Program::new(RedisServer::shared(), "unused");
    let program = program.env("LYNKHOOK_WORKER__HEALTH_BIND", silent.local_addr().unwrap().to_string());
    let asked = Instant::now();
    let output = program.run(["health"]).await;
    assert_eq!(output.code, Some(1), "{output:#?}");
    assert!((Duration::from_secs(2)..Duration::from_secs(6)).contains(&asked.elapsed()), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_one_port_to_ask_it_ends_with_2_and_says_what_to_set() {
    let program = Program::new(RedisServer::shared(), "unused");
    let both = probed(&program, 8081, 8082);
    let chosen = probed(&program, 0, 0);
    for (program, words, says) in [
        (&program, &["health"][..], "LYNKHOOK_WORKER__HEALTH_BIND"),
        (&program, &["health", "worker", "--ready"], "LYNKHOOK_WORKER__HEALTH_BIND"),
        (&both, &["health"], "lynkhook health server"),
        (&chosen, &["health", "worker"], "set a fixed one"),
    ] {
        let output = program.run(words).await;
        assert_eq!(output.code, Some(2), "{words:?}: {output:#?}");
        assert!(output.stderr.starts_with("error: ") && output.stderr.contains(says), "{words:?}: {output:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_on_all_addresses_is_asked_on_loopback_and_a_server_without_a_port_for_probes_at_its_own() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let any = here.program.clone().env("LYNKHOOK_WORKER__HEALTH_BIND", format!("0.0.0.0:{}", unused_port()));
    let own = here.program.clone().env("LYNKHOOK_SERVER__BIND", format!("127.0.0.1:{}", unused_port()));
    // A proxy in the environment must not be asked.
    let (any, own) = [any, own].map(|program| program.env("http_proxy", "http://127.0.0.1:1")).into();
    let _running = [any.start(["worker"]), own.start(["server"])];
    for (program, words) in [(&any, &["health"][..]), (&own, &["health", "server"])] {
        eventually(SOON, "a healthy process", async || (program.run(words).await.code == Some(0)).then_some(())).await;
    }
}
