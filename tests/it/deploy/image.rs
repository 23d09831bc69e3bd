//! The image, as far as it can be built and run without a container engine: buildah builds the last stage of
//! `deploy/Dockerfile`, and the tree that comes out of it runs as the image's user. `make check-image` runs this.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::files::{files, path_of};
use crate::support::{Answer, Output, SECRETS_KEY, unused_port};
use crate::support::{DnsServer, Installation, Process, Receiver, RedisServer, SOON, TRANSCRIPT, eventually};

/// The largest size of the program, which is all that the image holds.
const SIZE_MAX: u64 = 20_000_000;

/// The image's user and group.
const USER: &str = "65532:65532";

/// Runs the tree `$1` as the image's user, mounted read-only in a namespace of its own, so that no mount is left behind.
/// `/dev` and `/proc` are this machine's: an engine gives them to every container, and the program gets its first random
/// numbers from `/dev/urandom`.
const CONTAIN: &str = r#"
    tree=$1; shift
    mount --bind "$tree" "$tree" && mount -o remount,bind,ro "$tree" || exit 70
    mount --rbind /dev "$tree/dev" && mount --rbind /proc "$tree/proc" || exit 70
    touch "$tree/written" 2>/dev/null && exit 71
    exec chroot --userspec="$USER" "$tree" /lynkhook "$@"
"#;

/// The static program, which `make check-image` builds.
fn program() -> PathBuf {
    std::env::var_os("LYNKHOOK_TEST_STATIC").expect("`make check-image` names the static program").into()
}

/// Runs a program to its end and answers what it printed. Panics if it fails.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).expect("text")
}

/// Images and containers of one test.
struct Buildah {
    storage: TempDir,
}

impl Buildah {
    fn new() -> Self {
        Self { storage: tempfile::Builder::new().prefix("lynkhook-image-").tempdir().unwrap() }
    }

    fn run(&self, args: &[&str]) -> String {
        let mut command = Command::new("buildah");
        for (flag, folder) in [("--root", "root"), ("--runroot", "run")] {
            command.arg(flag).arg(self.storage.path().join(folder));
        }
        output(command.args(["--storage-driver", "vfs"]).args(args)).trim().to_owned()
    }

    /// Builds the last stage of the Dockerfile, with the static program in place of the stage that compiles it.
    fn build(&self) {
        let stage = self.storage.path().join("built");
        fs::create_dir(&stage).unwrap();
        fs::copy(program(), stage.join("lynkhook")).unwrap();
        let (context, file) = (format!("build={}", stage.display()), path_of("Dockerfile"));
        let build = ["bud", "--isolation", "chroot", "--format", "docker", "--build-context", &context];
        self.run(&[&build, &["--tag", "lynkhook:local", "--file", file.to_str().unwrap(), "."][..]].concat());
    }

    /// The settings that a container starts with.
    fn config(&self) -> Value {
        let inspected = self.run(&["inspect", "--type", "image", "lynkhook:local"]);
        serde_json::from_str::<Value>(&inspected).unwrap()["Docker"]["config"].clone()
    }

    /// The files of a new container.
    fn tree(&self) -> PathBuf {
        let container = self.run(&["from", "--pull-never", "lynkhook:local"]);
        self.run(&["mount", &container]).into()
    }
}

#[test]
#[ignore = "it needs buildah: make check-image"]
fn tools_the_image_is_one_small_static_program_for_an_unprivileged_user() {
    let buildah = Buildah::new();
    buildah.build();
    let config = buildah.config();
    assert_eq!(config["User"], USER);
    assert_eq!(config["Entrypoint"], serde_json::json!(["/lynkhook"]));
    assert_eq!(config["Healthcheck"]["Test"], serde_json::json!(["CMD", "/lynkhook", "health"]));

    let tree = buildah.tree();
    let lynkhook = tree.join("lynkhook");
    assert_eq!(files(&tree), std::slice::from_ref(&lynkhook), "the image holds the program alone");
    let size = fs::metadata(&lynkhook).unwrap().len();
    println!("the image's program has {size} bytes");
    assert!(size <= SIZE_MAX, "{size}");

    let readelf = |flag| output(Command::new("readelf").args([flag, "--wide"]).arg(&lynkhook));
    assert!(readelf("--program-headers").contains("LOAD"));
    assert!(!readelf("--program-headers").contains("INTERP"), "the program asks for an interpreter");
    assert!(!readelf("--dynamic").contains("NEEDED"), "the program asks for a library");
}

/// The program in the image's tree.
struct Contained {
    tree: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Contained {
    /// Adds what an engine adds to a container, such as the names of others, and the file that an operator mounts.
    fn new(tree: PathBuf, receiver: &Receiver, environment: Vec<(&'static str, String)>) -> Self {
        for folder in ["dev", "etc", "proc"] {
            fs::create_dir(tree.join(folder)).unwrap();
        }
        fs::write(tree.join("etc/hosts"), "127.0.0.1 redis\n").unwrap();
        fs::copy(receiver.ca_file(), tree.join("etc/ca.pem")).unwrap();
        // A temporary file is readable for its owner alone.
        fs::set_permissions(tree.join("etc/ca.pem"), fs::Permissions::from_mode(0o644)).unwrap();
        Self { tree, environment }
    }

    fn start(&self, args: &[&str]) -> Process {
        let mut command = tokio::process::Command::new("unshare");
        command.args(["--mount", "sh", "-c", CONTAIN, "contain"]).arg(&self.tree).args(args).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("USER", USER).envs(self.environment.iter().cloned());
        Process::spawn(command, Vec::new())
    }

    async fn run(&self, args: &[&str]) -> Output {
        self.start(args).output(SOON).await
    }
}

#[tokio::test]
#[ignore = "it needs buildah and root: make check-image"]
async fn tools_the_image_finds_redis_by_name_delivers_and_is_healthy_on_a_read_only_root() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can run the image's files as the image's user");
        return;
    }
    let buildah = Buildah::new();
    buildah.build();
    let (receiver, dns, redis) =
        (Receiver::start().await, DnsServer::start().await, RedisServer::start_with_arguments(&[]));
    dns.set("hooks.test", [Ipv4Addr::LOCALHOST.into()]);
    receiver.plan("/hook", [Answer::Status(200)]);
    let installation = Installation::on(&redis, &receiver).await;
    let probes = format!("127.0.0.1:{}", unused_port());
    let contained = Contained::new(
        buildah.tree(),
        &receiver,
        vec![
            ("LYNKHOOK_REDIS__URL", format!("redis://redis:{}/", redis.port())),
            ("LYNKHOOK_REDIS__PREFIX", installation.prefix.clone()),
            ("LYNKHOOK_SECRETS__KEY", SECRETS_KEY.to_owned()),
            ("LYNKHOOK_DNS__SERVERS", dns.address().to_string()),
            ("LYNKHOOK_EGRESS__ALLOW", "127.0.0.0/8,hooks.test".to_owned()),
            ("LYNKHOOK_EGRESS__EXTRA_CA", "/etc/ca.pem".to_owned()),
            ("LYNKHOOK_WORKER__HEALTH_BIND", probes),
        ],
    );
    assert_eq!(contained.run(&["health", "--ready"]).await.code, Some(1), "nothing runs yet");

    let mut worker = contained.start(&["worker"]);
    eventually(SOON, "a healthy worker", async || {
        (contained.run(&["health", "--ready"]).await.code == Some(0)).then_some(())
    })
    .await;
    let webhook = installation.add("acme", &receiver.url_for("hooks.test", "/hook")).await;
    installation.push("acme", TRANSCRIPT).await;
    let requests = receiver.wait_for("/hook", 1, SOON).await;
    assert_eq!(requests[0].body, TRANSCRIPT);
    assert_eq!(installation.finished(webhook).await.len(), 1);

    let status = fs::read_to_string(format!("/proc/{}/status", worker.id())).unwrap();
    assert!(status.contains("Uid:\t65532\t65532\t65532\t65532"), "{status}");
    worker.sigterm();
    assert_eq!(worker.wait().await, Some(0));
}
