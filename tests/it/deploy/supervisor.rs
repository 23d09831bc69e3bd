//! The signs of life that a service manager hears: the tests listen on its socket.

use std::{path::PathBuf, time::Duration};

use tokio::{
    net::UnixDatagram,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    health::{Probed, QUICK},
    support::*,
};

/// The time after which the service manager takes a silent process for wedged.
pub(super) const WATCHDOG: Duration = Duration::from_secs(2);

/// The service manager's end of the socket.
pub(super) struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Manager {
    pub(super) fn listen() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        Self { socket: UnixDatagram::bind(&path).unwrap(), path, _directory: directory }
    }

    /// The program as this service manager starts it.
    pub(super) fn starts(&self, program: &Program) -> Program {
        let program = program.clone().env("NOTIFY_SOCKET", &self.path);
        program.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
    }

    /// The next message.
    async fn heard(&self) -> String {
        let mut message = vec![0; 4096];
        let length = timeout(SOON, self.socket.recv(&mut message)).await.expect("a message comes").unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// Waits for a message with this text.
    pub(super) async fn hears(&self, text: &str) -> String {
        loop {
            let message = self.heard().await;
            if message.contains(text) {
                return message;
            }
        }
    }

    /// Drops the messages that have come up to now.
    fn forget(&self) {
        while self.socket.try_recv(&mut [0; 4096]).is_ok() {}
    }

    /// The signs of life within a time.
    async fn signs_of_life_within(&self, time: Duration) -> usize {
        let (end, mut signs, mut message) = (Instant::now() + time, 0, vec![0; 4096]);
        while let Ok(length) = timeout_at(end, self.socket.recv(&mut message)).await {
            signs += usize::from(message[..length.unwrap()].starts_with(b"WATCHDOG=1"));
        }
        signs
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_says_that_it_has_started_lives_and_stops() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    receiver.plan("/hook", [Answer::Silence]);
    here.add("acme", &receiver.url("/hook")).await;
    let manager = Manager::listen();
    let program = manager.starts(&here.program).env("LYNKHOOK_DELIVERY__TIMEOUT", "8s");
    let mut worker = program.worker([("LYNKHOOK_WORKER__THREADS", "2")]);
    assert!(manager.hears("READY=1").await.contains("STATUS=working"));
    let since = Instant::now();
    for _ in 0..4 {
        manager.hears("WATCHDOG=1").await;
    }
    assert!(since.elapsed() < WATCHDOG * 3, "it speaks well within the time: {:?}", since.elapsed());
    here.push("acme", TRANSCRIPT).await;
    receiver.wait_for("/hook", 1, SOON).await;
    worker.sigterm();
    manager.hears("STOPPING=1").await;
    assert!(manager.signs_of_life_within(WATCHDOG).await >= 2, "it lives while it finishes an attempt");
    assert_eq!(worker.wait().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_has_not_reached_redis_does_not_say_that_it_has_started() {
    let manager = Manager::listen();
    let program = manager.starts(&Program::new(RedisServer::shared(), "unused"));
    let program = program.env("LYNKHOOK_REDIS__URL", format!("redis://127.0.0.1:{}", refused_port()));
    assert_eq!(program.run(["worker"]).await.code, Some(5));
    assert!(timeout(Duration::from_millis(100), manager.heard()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_falls_silent_when_any_of_its_loops_is_wedged_and_names_it() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let probed = Probed::start(&here.program, None).await;
    let mut loops =
        eventually(SOON, "the loops", async || Some(probed.loops().await).filter(|loops| !loops.is_empty())).await;
    loops.push("none".to_owned());
    let mut all = JoinSet::new();
    for wedged in loops {
        let manager = Manager::listen();
        let program =
            QUICK.iter().fold(manager.starts(&here.program), |program, (name, value)| program.env(name, value));
        let worker = program.worker([("LYNKHOOK_WEDGE", &wedged)]);
        all.spawn(async move {
            manager.hears("READY=1").await;
            if wedged == "none" {
                // As old as the others are when they fall silent.
                assert!(manager.signs_of_life_within(WATCHDOG * 8).await > 16, "none of its loops is wedged");
            } else {
                manager.hears(&format!("STATUS={wedged}: this loop has not run for")).await;
                assert_eq!(manager.signs_of_life_within(WATCHDOG * 2).await, 0, "{wedged}");
            }
            drop(worker);
        });
    }
    all.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_lives_until_it_accepts_no_more_connections() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let program = here.program.clone().env("LYNKHOOK_SERVER__BIND", "127.0.0.1:0");
    let (sound, wedged) = (Manager::listen(), Manager::listen());
    let mut server = sound.starts(&program).start(["server"]);
    let probes = format!("127.0.0.1:{}", unused_port());
    let program = program.env("LYNKHOOK_SERVER__HEALTH_BIND", probes);
    let _wedged = wedged.starts(&program).env("LYNKHOOK_WEDGE", "accepting").start(["server"]);
    for manager in [&sound, &wedged] {
        manager.hears("READY=1").await;
        manager.hears("WATCHDOG=1").await;
    }
    wedged.hears("STATUS=the loop that accepts connections has not run").await;
    let health = program.run(["health"]).await;
    assert!(health.code == Some(1) && health.stderr.contains("; accepting: the loop"), "{health:#?}");
    assert_eq!(wedged.signs_of_life_within(WATCHDOG * 2).await, 0);
    sound.forget();
    assert!(sound.signs_of_life_within(WATCHDOG * 2).await >= 4, "it is as old, and accepts connections");
    server.sigterm();
    sound.hears("STOPPING=1").await;
    assert_eq!(server.wait().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stands_still_falls_silent() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let manager = Manager::listen();
    let worker = manager.starts(&here.program).worker([]);
    manager.hears("WATCHDOG=1").await;
    worker.sigstop();
    manager.forget();
    assert_eq!(manager.signs_of_life_within(WATCHDOG * 2).await, 0);
    worker.sigcont();
    manager.hears("WATCHDOG=1").await;
}
