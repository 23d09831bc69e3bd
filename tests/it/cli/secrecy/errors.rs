//! No error shows a secret, however wrong the input, and neither does the log.

use redis::AsyncCommands;

use super::{
    canary::{CAPABILITY, PASSWORD, QUERY, Seen, TOKEN, VALUE, assert_hidden},
    *,
};

/// Inputs into which a secret may be pasted by mistake, or that are not allowed.
#[tokio::test(flavor = "multi_thread")]
async fn no_refusal_shows_what_it_refuses() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let program = here.program.clone().env("LYNKHOOK_LOG__FILTER", LOUDEST);
    let url = receiver.url(CAPABILITY);
    let long = format!("{VALUE}{}", "x".repeat(16 * 1024));
    let mut seen = Seen::default();
    for (flag, input) in [
        ("--header-file", format!("X-Key: {VALUE}\u{7}")),
        ("--header-file", format!("X-Key: {VALUE}\u{fc}")),
        ("--header-file", format!("X {VALUE}: x")),
        ("--header-file", format!("{VALUE}\u{e4}: x")),
        ("--header-file", format!("Content-Length: {VALUE}")),
        ("--header-file", format!("Webhook-{VALUE}: x")),
        ("--header-file", VALUE.to_owned()),
        ("--header-file", format!("X-Key: {VALUE}\nX-Other: {VALUE}")),
        ("--header-file", format!("X-Key: {long}")),
        ("--bearer-token-file", format!("{TOKEN}\n{TOKEN}\n")),
        ("--bearer-token-file", format!("{TOKEN} \u{7}")),
        ("--bearer-token-file", format!("{TOKEN}\u{fc}")),
        ("--bearer-token-file", format!("{TOKEN}{}", "x".repeat(9000))),
        ("--bearer-token-file", format!("{TOKEN}{}", "x".repeat(17_000))),
    ] {
        let words = webhook("acme", &["add", "--url", &url, flag, "-"]);
        let output = program.run_with_input(words, input.clone()).await;
        assert!(matches!(output.code, Some(2 | 4)), "{input}: {output:#?}");
        seen.take(&output);
        // Here the name is the question, so the answer repeats it, but never the value.
        let is_in_name = input.split(':').next().is_some_and(|name| name.contains(VALUE));
        for words in [&["egress", "check-header"][..], &["egress", "check-header", "--json"]] {
            if !is_in_name || !input.contains(':') {
                seen.take(&program.run_with_input(words, input.clone()).await);
            }
        }
    }
    for url in [
        format!("http://example.com{CAPABILITY}?key={QUERY}"),
        format!("https://127.0.0.1{CAPABILITY}?key={QUERY}"),
        format!("https://user:{PASSWORD}@example.com{CAPABILITY}?key={QUERY}"),
        format!("https://example.com:0{CAPABILITY}?key={QUERY}"),
        format!("https://example.com{CAPABILITY}?key={QUERY}<"),
        format!("https://example.com{CAPABILITY}%zz?key={QUERY}"),
        format!("https://example.com{CAPABILITY}?key={QUERY}{}", "x".repeat(3000)),
        format!("https://printer{CAPABILITY}?key={QUERY}"),
        TOKEN.to_owned(),
    ] {
        let output = program.run(webhook("acme", &["add", "--url", &url])).await;
        assert_eq!(seen.take(&output), Some(4), "{url}");
    }
    for (place, text) in [("an answer", &seen.printed), ("an error", &seen.logged)] {
        assert_hidden(place, text, [TOKEN, VALUE, CAPABILITY, QUERY, PASSWORD]);
    }
}

/// A webhook whose secret cannot be opened, and one whose settings cannot be read.
#[tokio::test(flavor = "multi_thread")]
async fn no_error_about_a_webhook_in_redis_shows_its_contents() {
    let receiver = Receiver::start().await;
    receiver.plan(CAPABILITY, [Answer::Status(200)]);
    let here = Installation::new(&receiver).await;
    let program = here.program.clone().env("LYNKHOOK_LOG__FILTER", LOUDEST);
    let url = receiver.url(&format!("{CAPABILITY}?key={QUERY}"));
    let words = webhook("acme", &["add", "--url", &url, "--bearer-token-file", "-"]);
    let added = program.json_with_input(words, TOKEN).await;
    let target = id(&added).to_string();
    let key = here.key("webhooks:acme");
    let good: String = here.redis.clone().hget(&key, &target).await.unwrap();
    let other_key = Vault::new_key().to_string();
    let stranger = program.clone().env("LYNKHOOK_SECRETS__KEY", &other_key);
    let mut seen = Seen::default();

    let worker = stranger.worker([("LYNKHOOK_DELIVERY__RETRY_DELAYS", "")]);
    here.push("acme", TRANSCRIPT).await;
    here.finished(id(&added)).await;
    assert_eq!(seen.take(&stranger.run(webhook("acme", &["test", &target])).await), Some(4));
    assert_eq!(seen.take(&stranger.run(["secrets", "rotate"]).await), Some(1));
    seen.answer(&stranger.run(webhook("acme", &["show", &target])).await);

    let mut sealed: Value = serde_json::from_str(&good).unwrap();
    let mut clear = sealed.clone();
    // As an uninformed person might write it: the plain secret, or a secret in place of the key's id.
    sealed["authentication"]["token"] = format!("v1.{TOKEN}.{VALUE}").into();
    clear["authentication"]["token"] = TOKEN.into();
    let odd = good.replacen("\"active\":true", &format!("\"active\":\"{VALUE}\""), 1);
    assert_ne!(odd, good);
    for stored in [sealed.to_string(), clear.to_string(), odd, good[..good.len() / 2].to_owned(), TOKEN.to_owned()] {
        let _: () = here.redis.clone().hset(&key, &target, &stored).await.unwrap();
        here.push("acme", TRANSCRIPT).await;
        for words in [vec!["list"], vec!["show", &target], vec!["test", &target], vec!["disable", &target]] {
            seen.answer(&program.run(webhook("acme", &words)).await);
        }
        assert_eq!(seen.take(&program.run(["secrets", "rotate", "--json"]).await), Some(1), "{stored}");
        let _: () = here.redis.clone().hset(&key, &target, &good).await.unwrap();
    }
    here.drained().await;
    worker.sigterm();
    seen.take(&worker.output(SOON).await);
    assert!(seen.logged.contains("credentials cannot be used") && seen.logged.contains("not what Lynkhook writes"));
    for (place, text) in [("settings", &seen.answered), ("an answer", &seen.printed), ("an error", &seen.logged)] {
        assert_hidden(place, text, [TOKEN, VALUE, SECRETS_KEY, &other_key]);
    }
    for (place, text) in [("an answer", &seen.printed), ("an error", &seen.logged)] {
        assert_hidden(place, text, [CAPABILITY, QUERY]);
    }
}

/// Settings with a secret in the wrong form or place.
#[tokio::test(flavor = "multi_thread")]
async fn no_error_about_settings_or_the_connection_shows_a_key_or_the_password_of_redis() {
    let redis = RedisServer::start(AppendFsync::No);
    let set = redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("another").clone();
    let _: () = set.query_async(&mut redis.connection().await).await.unwrap();
    let (port, refused) = (redis.port(), refused_port());
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().port();
    let program = Program::new(&redis, "unused").env("LYNKHOOK_LOG__FILTER", LOUDEST);
    let program = program.env("LYNKHOOK_REDIS__CONNECT_TIMEOUT", "200ms");
    let mut seen = Seen::default();
    for (code, url) in [
        (5, format!("redis://:{PASSWORD}@127.0.0.1:{port}/")),
        (5, format!("redis://nobody:{PASSWORD}@127.0.0.1:{port}/")),
        (5, format!("redis://:{PASSWORD}@127.0.0.1:{refused}/")),
        (5, format!("redis://:{PASSWORD}@127.0.0.1:{silent}/")),
        (5, format!("rediss://:{PASSWORD}@127.0.0.1:{port}/")),
        (5, format!("redis://:{PASSWORD}@no-such-host.invalid/")),
        (5, format!("redis://:{PASSWORD}@127.0.0.1:{port}/99")),
        (2, format!("redis://:{PASSWORD}@127.0.0.1:{port}/no-number")),
        (5, "redis+unix:///no/such/socket".to_owned()),
        (2, format!("redis+unix:///no/such/socket?pass={PASSWORD}")),
        (2, format!("redis://127.0.0.1/?password={PASSWORD}")),
        (2, format!("redis://:{PASSWORD}#@127.0.0.1/")),
        (5, format!("redis+cluster://:{PASSWORD}@127.0.0.1:{refused},127.0.0.1:{port}")),
        (2, format!("redis+cluster://:{PASSWORD}@127.0.0.1:{port},/")),
        (2, format!("redis+cluster://:{PASSWORD}@127.0.0.1:{port}/7")),
        (2, format!("redis+sentinel://:{PASSWORD}@127.0.0.1/")),
        (2, format!("http://:{PASSWORD}@127.0.0.1/")),
        (2, PASSWORD.to_owned()),
    ] {
        let output = program.clone().env("LYNKHOOK_REDIS__URL", &url).run(["queue", "status"]).await;
        assert_eq!(seen.take(&output), Some(code), "{url}");
        let output = program.run(["--redis-url", &url, "worker"]).await;
        assert_eq!(seen.take(&output), Some(code), "{url}");
        seen.take(&program.run(["--redis-url", &url, "worker", "--loud"]).await);
    }
    let names = ["LYNKHOOK_SECRETS__KEY", "LYNKHOOK_SECRETS__KEY_FILE"];
    let nine = [SECRETS_KEY; 9].join("\n");
    for value in [TOKEN, VALUE, &nine, &format!("{SECRETS_KEY} {TOKEN}"), &format!("{TOKEN},{SECRETS_KEY}")] {
        let blank = program.clone().env(names[0], "");
        let keys = file(value);
        for (name, value) in [(names[0], value), (names[1], value), (names[1], path(&keys))] {
            let output = blank.clone().env(name, value).run(["secrets", "rotate"]).await;
            assert_eq!(seen.take(&output), Some(2), "{name}={value}");
        }
    }
    for (place, text) in [("an answer", &seen.printed), ("an error", &seen.logged)] {
        assert_hidden(place, text, [PASSWORD, SECRETS_KEY, TOKEN, VALUE]);
    }
}
