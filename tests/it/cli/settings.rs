//! The precedence of settings, seen from outside; and the password in `redis.url`, which is never shown.

use redis::AsyncCommands;
use tokio::process::Command;

use super::*;

/// The name of the case, its environment, its flags, and the prefix that prevails.
type Row<'a> = (&'a str, Vec<(&'a str, &'a str)>, Vec<&'a str>, &'a str);

/// A run with this environment and none of [`Program`]'s.
async fn run(environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lynkhook"));
    command.args(arguments).env_clear().envs(environment.iter().copied());
    Process::spawn(command, Vec::new()).output(SOON).await
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_go_over_the_environment_over_the_file_over_the_default() {
    let redis = RedisServer::shared();
    let (url, prefix) = (redis.url(), redis.unique_prefix());
    let (from_file, from_environment) = (format!("{prefix}-file"), format!("{prefix}-env"));
    let nowhere = format!("redis://127.0.0.1:{}/", refused_port());
    let right = file(&format!("[redis]\nurl = \"{url}\"\nprefix = \"{from_file}\"\n"));
    let wrong = file(&format!("[redis]\nurl = \"{nowhere}\"\nprefix = \"{from_file}\"\n"));
    let (right, wrong) = (path(&right), path(&wrong));
    // The prefix shows which layer prevailed: the webhook is stored under it.
    let rows: Vec<Row> = vec![
        ("the file", vec![], vec!["--config", right], &from_file),
        ("the file that a variable names", vec![("LYNKHOOK_CONFIG", right)], vec![], &from_file),
        (
            "a variable over the file",
            vec![("LYNKHOOK_REDIS__PREFIX", &from_environment)],
            vec!["--config", right],
            &from_environment,
        ),
        (
            "both from the environment over the file",
            vec![("LYNKHOOK_REDIS__PREFIX", &from_environment), ("LYNKHOOK_REDIS__URL", &url)],
            vec!["--config", wrong],
            &from_environment,
        ),
        (
            "a flag over all",
            vec![("LYNKHOOK_REDIS__URL", &nowhere), ("REDIS_URL", &nowhere)],
            vec!["--config", wrong, "--redis-url", &url],
            &from_file,
        ),
        ("REDIS_URL over the file", vec![("REDIS_URL", &url)], vec!["--config", wrong], &from_file),
        (
            "the own variable over REDIS_URL",
            vec![("REDIS_URL", &nowhere), ("LYNKHOOK_REDIS__URL", &url)],
            vec!["--config", wrong],
            &from_file,
        ),
        ("no setting: one underscore", vec![("LYNKHOOK_PORT", "tcp://10.0.0.1")], vec!["--config", right], &from_file),
    ];
    for (number, (name, environment, flags, expected)) in rows.into_iter().enumerate() {
        let account = format!("acme-{number}");
        let mut arguments = webhook(&account, &["add", "--url", "https://example.com/"]);
        arguments.extend(flags);
        let output = run(&environment, &arguments).await;
        assert_eq!(output.code, Some(0), "{name}: {output:#?}");
        let key = format!("{expected}:{{0}}:webhooks:{account}");
        let there: bool = redis.connection().await.exists(key).await.unwrap();
        assert!(there, "{name}: not under {expected}");
    }
    let output = run(&[], &["--config", wrong, "webhook", "list", "--account", "acme"]).await;
    assert_refused("the file alone", &output, 5, &["Redis is unreachable"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_redis_is_never_printed() {
    const PASSWORD: &str = "pa55w0rd-of-redis";
    let redis = RedisServer::shared();
    let prefix = redis.unique_prefix();
    let mut allow = redis::cmd("ACL");
    allow.arg("SETUSER").arg(&prefix).arg("on").arg(format!(">{PASSWORD}")).arg("~*").arg("&*").arg("+@all");
    let _: () = allow.query_async(&mut redis.connection().await).await.unwrap();
    let at = |place: &str| format!("redis://{prefix}:{PASSWORD}@{place}");
    let server = format!("127.0.0.1:{}", redis.port());
    let list = ["webhook", "list", "--account", "acme"];
    for (url, code) in [
        (at(&server), 0),
        (at(&server).replace("pa55", "pa5555"), 5),
        (at(&format!("127.0.0.1:{}", refused_port())), 5),
        (at("no.such.host.example"), 5),
        (at(&server).replace("redis://", "postgres://"), 2),
        (at(&server).replace("redis://", ""), 2),
        (at("host:port"), 2),
        (at(&server).replace("redis://", "redis+cluster://"), 5),
        (at(&server).replace("redis://", "redis+cluster://") + ",", 2),
    ] {
        let shown = |output: &Output| {
            let all = format!("{}{}", output.stdout, output.stderr);
            all.contains("pa55") || all.contains("w0rd-of-redis")
        };
        let common = [("LYNKHOOK_REDIS__PREFIX", prefix.as_str()), ("LYNKHOOK_LOG__FILTER", "trace")];
        let file = file(&format!("[redis]\nurl = \"{url}\"\n"));
        for (environment, flags) in [
            (vec![("LYNKHOOK_REDIS__URL", url.as_str())], vec![]),
            (vec![("REDIS_URL", url.as_str())], vec![]),
            (vec![], vec!["--redis-url", &url]),
            (vec![], vec!["--config", path(&file)]),
        ] {
            let environment: Vec<_> = common.into_iter().chain(environment).collect();
            let arguments: Vec<_> = list.into_iter().chain(flags).collect();
            let output = run(&environment, &arguments).await;
            assert_eq!(output.code, Some(code), "{url}: {output:#?}");
            assert!(!shown(&output), "{url}: {output:#?}");
        }
    }
    let broken = file(&format!("[redis]\nurl = \"redis://:{PASSWORD}@h/\nprefix = 1\n"));
    let output = run(&[], &["--config", path(&broken), "worker"]).await;
    assert_refused("a file that is not TOML", &output, 2, &["line 2"]);
    assert!(!output.stderr.contains(PASSWORD), "{output:#?}");

    let mut command = Command::new(env!("CARGO_BIN_EXE_lynkhook"));
    command.arg("worker").env_clear().env("LYNKHOOK_REDIS__URL", at(&server));
    command.env("LYNKHOOK_REDIS__PREFIX", &prefix).env("LYNKHOOK_LOG__FILTER", "trace");
    let worker = Process::spawn(command, Vec::new());
    worker.wait_for_line("worker started").await;
    worker.sigterm();
    let output = worker.output(SOON).await;
    assert_eq!(output.code, Some(0));
    assert!(!output.stderr.contains(PASSWORD), "{output:#?}");
}
