//! Edits name the revision that they are based on, so that no editor overwrites another's change unseen.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use lynkhook::webhooks::{Edit, WebhooksError};
use redis::AsyncCommands;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_based_on_an_old_revision_changes_nothing_and_names_the_present_one() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let id = add(&here.program, "acme", &receiver.url("/hook")).await.to_string();
    let edit =
        async |words: &[&str]| here.program.run(webhook("acme", &[&["edit", &id], words, &["--json"]].concat())).await;
    // Two editors read revision 1.
    let first = edit(&["--description", "first", "--revision", "1"]).await;
    assert_eq!(first.code, Some(0), "{first:#?}");
    for (words, asked) in [
        (&["--description", "second", "--revision", "1"][..], 1),
        (&["--description", "first", "--revision", "1"], 1),
        (&["--inactive", "--revision", "1"], 1),
        (&["--description", "second", "--revision", "3"], 3),
    ] {
        let says = [
            &format!("{id} is at revision 2, but this change is based on revision {asked}; nothing was changed"),
            &format!("lynkhook webhook show --account acme {id}"),
            "--revision 2",
        ];
        assert_refused(&format!("{words:?}"), &edit(words).await, 4, &says);
    }
    let shown = here.program.json(webhook("acme", &["show", &id])).await;
    assert_eq!(
        json!([shown["description"], shown["active"], shown["revision"], shown["updatedAt"]]),
        json!(["first", true, 2, serde_json::from_str::<Value>(&first.stdout).unwrap()["updatedAt"]])
    );
    // After reading again, the editor may edit. An edit that names no revision still takes the newest.
    for (words, revision) in
        [(&["--description", "second", "--revision", "2"][..], 3), (&["--description", "third"], 4)]
    {
        let edited: Value = serde_json::from_str(&edit(words).await.stdout).unwrap();
        assert_eq!((&edited["description"], &edited["revision"]), (&json!(words[1]), &json!(revision)));
    }
    assert_refused("alone", &edit(&["--revision", "4"]).await, 2, &["nothing to change"]);
    assert_refused("no revision", &edit(&["--active", "--revision", "0"]).await, 2, &["--revision"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn switching_from_an_old_revision_changes_and_drops_nothing_and_from_the_present_one_it_does() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let id = here.add("acme", &receiver.url("/hook")).await;
    let held = |number: usize| [("delivery", format!("{number}"))];
    for number in 0..3 {
        let _: String = here.redis.clone().xadd(here.key(&format!("held:{id}")), "*", &held(number)).await.unwrap();
    }
    let id = id.to_string();
    let run = async |words: &[&str]| here.program.run(webhook("acme", &[&[words[0], &id], &words[1..]].concat())).await;
    assert_eq!(run(&["disable", "--revision", "1"]).await.code, Some(0));
    for (words, asked) in [
        (&["disable", "--revision", "1"][..], 1),
        (&["enable", "--revision", "1"], 1),
        (&["delete", "--revision", "1"], 1),
        (&["enable", "--discard-held", "--revision", "1"], 1),
        (&["enable", "--discard-held", "--revision", "3"], 3),
    ] {
        let says = [&format!("{id} is at revision 2, but this change is based on revision {asked}"), "--revision 2"];
        assert_refused(&format!("{words:?}"), &run(words).await, 4, &says);
        let shown = here.program.json(webhook("acme", &["show", &id])).await;
        assert_eq!(json!([shown["active"], shown["revision"]]), json!([false, 2]), "{words:?}");
        let held: usize = here.redis.clone().xlen(here.key(&format!("held:{id}"))).await.unwrap();
        assert_eq!(held, 3, "{words:?}");
    }
    let words = ["enable", &id, "--discard-held", "--revision", "2"];
    let enabled = here.program.json(webhook("acme", &words)).await;
    assert_eq!(
        json!([enabled["active"], enabled["revision"], enabled["heldDiscarded"]]),
        json!([true, 3, 3]),
        "{enabled}"
    );
    let left: bool = here.redis.clone().exists(here.key(&format!("held:{id}"))).await.unwrap();
    assert!(!left);
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_one_of_many_simultaneous_edits_of_one_revision_is_made() {
    let receiver = Receiver::start().await;
    let here = Arc::new(Installation::new(&receiver).await);
    let webhook = here.add("acme", &receiver.url("/hook")).await;
    let edits = (0..10).map(|number| {
        let here = here.clone();
        tokio::spawn(async move {
            let description = Some(format!("number {number}"));
            let edit = Edit { description, revision: Some(1), ..Edit::default() };
            here.webhooks.edit(&account_id("acme"), webhook, edit).await
        })
    });
    let mut made = Vec::new();
    for edit in edits.collect::<Vec<_>>() {
        match edit.await.unwrap() {
            Ok(view) => made.push(view.description),
            Err(WebhooksError::Stale { asked: 1, present: 2, .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let view = here.webhooks.show(&account_id("acme"), webhook).await.unwrap();
    assert_eq!((made, view.revision), (vec![view.description], 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_whose_answer_was_lost_does_not_conflict_with_itself() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let id = add(&here.program, "acme", &receiver.url("/hook")).await.to_string();
    let (url, swallowed) = swallowing(RedisServer::shared().port(), r#""revision":2"#).await;
    let through = here.program.clone().env("LYNKHOOK_REDIS__URL", url);
    let edited = through.json(webhook("acme", &["edit", &id, "--description", "x", "--revision", "1"])).await;
    assert_eq!(json!([edited["description"], edited["revision"]]), json!(["x", 2]));
    assert_eq!(swallowed.load(Relaxed), 1, "the first put was not answered");
    assert_eq!(here.program.json(webhook("acme", &["show", &id])).await, edited);
}

/// A proxy to Redis that loses the answer to the first command with this text, and then the connection.
async fn swallowing(port: u16, text: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}/", listener.local_addr().unwrap());
    let swallowed = Arc::new(AtomicUsize::new(0));
    let count = swallowed.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::spawn(pass(client, server, text, count.clone()));
        }
    });
    (url, swallowed)
}

async fn pass(client: TcpStream, server: TcpStream, text: &str, swallowed: Arc<AtomicUsize>) -> std::io::Result<()> {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let answers = tokio::spawn(async move {
        tokio::select! {
            _ = copy(&mut from_server, &mut to_client) => None,
            _ = stopped => Some((from_server, to_client)),
        }
    });
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = from_client.read(&mut bytes).await?;
        if read == 0 {
            return Ok(());
        }
        let meant = bytes[..read].windows(text.len()).any(|window| window == text.as_bytes());
        if meant && swallowed.load(Relaxed) == 0 {
            let _ = stop.send(());
            let Some((mut from_server, _to_client)) = answers.await.unwrap() else { return Ok(()) };
            to_server.write_all(&bytes[..read]).await?;
            let answer = from_server.read(&mut bytes).await?;
            assert!(bytes[..answer].starts_with(b"*2\r\n$3\r\nPUT"), "the edit was made");
            swallowed.fetch_add(1, Relaxed);
            return Ok(());
        }
        to_server.write_all(&bytes[..read]).await?;
    }
}
