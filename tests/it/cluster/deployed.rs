//! A cluster with the settings, users and secrets of `deploy`, made by the steps of `deploy/README.md`.

use std::{fs, path::PathBuf, process::Command};

use lynkhook::{config::Settings, secrets::Vault, store::Store, webhooks::Webhooks};
use redis::{FromRedisValue, RedisResult, aio::MultiplexedConnection};
use tempfile::TempDir;

use crate::{
    deploy::{deployed, files::path_of},
    readme,
    support::*,
};

const PAGE: &str = include_str!("../../../deploy/README.md");

/// The prefix of the keys to which the users' rights are limited.
pub(crate) const PREFIX: &str = "lynkhook";

/// Servers with the files of `deploy`, one of them or a cluster.
pub(crate) struct DeployedCluster {
    pub(crate) nodes: Vec<RedisServer>,
    pub(crate) receiver: Receiver,
    /// The folder in which an operator runs the steps.
    folder: TempDir,
}

impl DeployedCluster {
    /// Three masters, each with this many replicas.
    pub(crate) async fn start(replicas_each: usize) -> Self {
        let mut cluster = Self::prepare().await;
        for _ in 0..3 * (1 + replicas_each) {
            cluster.add_node();
        }
        let steps = block_of("### A new cluster", "sh");
        let steps = steps.replace("--cluster-replicas 1", &format!("--cluster-replicas {replicas_each}"));
        cluster.run(&steps);
        cluster.ready().await;
        cluster
    }

    /// The secrets of a deployment whose Redis is at this machine, and no server yet.
    pub(crate) async fn prepare() -> Self {
        let folder = tempfile::Builder::new().prefix("lynkhook-cluster-").tempdir().unwrap();
        let deploy = folder.path().join("deploy");
        fs::create_dir_all(deploy.join("redis")).unwrap();
        for file in ["secrets.sh", "redis/redis.conf", "redis/cluster.conf", "redis/users.acl"] {
            fs::copy(path_of(file), deploy.join(file)).unwrap();
        }
        let cluster = Self { nodes: Vec::new(), receiver: Receiver::start().await, folder };
        cluster.run("sh deploy/secrets.sh 127.0.0.1");
        cluster
    }

    /// Starts a server that is in no cluster yet.
    pub(crate) fn add_node(&mut self) {
        let arguments = self.arguments();
        let arguments = arguments.each_ref().map(String::as_str);
        self.nodes.push(RedisServer::start_configured_node(&path_of("redis/redis.conf"), &self.users(), &arguments));
    }

    /// Starts a single Redis, and writes its port into the URLs of the roles.
    pub(crate) fn add_single(&mut self) {
        let single = RedisServer::start_configured(&path_of("redis/redis.conf"), &self.users());
        self.run(&format!("sed -i 's|:6379/|:{}/|' deploy/secrets/*.env", single.port()));
        self.nodes.push(single);
    }

    /// Stops a single Redis, and starts it on its data as a node.
    pub(crate) fn restart_as_a_node(&mut self) {
        let arguments = self.arguments();
        self.nodes[0].stop();
        self.nodes[0].restart_as_a_node(&arguments.each_ref().map(String::as_str));
    }

    /// A node's arguments, with a time after which no test waits long for a replica.
    fn arguments(&self) -> [String; 4] {
        let file = self.secret("cluster.conf").to_str().unwrap().to_owned();
        ["--include".to_owned(), file, "--cluster-node-timeout".to_owned(), "2000".to_owned()]
    }

    fn secret(&self, name: &str) -> PathBuf {
        self.folder.path().join("deploy/secrets").join(name)
    }

    fn users(&self) -> String {
        fs::read_to_string(self.secret("users.acl")).unwrap()
    }

    /// Runs steps of the page in its folder. Its addresses stand for those of the nodes.
    pub(crate) fn run(&self, steps: &str) {
        let steps = self.with_addresses(steps);
        let output = Command::new("bash").args(["-exuo", "pipefail", "-c", &steps]).current_dir(&self.folder).output();
        let output = output.unwrap();
        let [printed, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        assert!(output.status.success(), "{steps}\n--- printed\n{printed}\n--- and on standard error\n{errors}");
    }

    /// A text of the page with the addresses of the nodes, without those of replicas that a test does without.
    /// `redis-cli --cluster` is told a node's second port as well, because here it is not the first plus 10000.
    pub(crate) fn with_addresses(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (node, number) in self.nodes.iter().zip(1..) {
            let (page, port) = (format!("10.0.0.{number}"), node.port());
            text = text.replace(&format!(" {page}:6379"), &format!(" {}", node.address_in_cluster()));
            text = text.replace(&format!("{page}:6379"), &format!("127.0.0.1:{port}"));
            text = text.replace(&format!("\"{page}\", 6379"), &format!("\"127.0.0.1\", {port}"));
        }
        text.split(' ').filter(|word| !word.starts_with("10.0.0.")).collect::<Vec<_>>().join(" ")
    }

    /// Waits until all nodes say that the cluster is well.
    pub(crate) async fn ready(&self) {
        for node in 0..self.nodes.len() {
            eventually(SOON, "a cluster that is well", async || {
                let info: String = self.ask(node, "CLUSTER INFO").await.unwrap();
                info.contains("cluster_state:ok").then_some(())
            })
            .await;
        }
    }

    /// Sends a command to a node, as a user who may do everything.
    pub(crate) async fn ask<T: FromRedisValue>(&self, node: usize, command: &str) -> RedisResult<T> {
        ask(&mut self.nodes[node].connection().await, command).await
    }

    /// The node that is the master of a key, and its answer to a command.
    pub(crate) async fn ask_master<T: FromRedisValue>(&self, command: &str) -> (usize, T) {
        let mut answers = Vec::new();
        for node in 0..self.nodes.len() {
            match self.ask(node, command).await {
                Ok(answer) => answers.push((node, answer)),
                Err(error) => assert_eq!(error.code(), Some("MOVED"), "{command}: {error}"),
            }
        }
        assert_eq!(answers.len(), 1, "{command}: one node is the master");
        answers.remove(0)
    }

    pub(crate) fn url_of(&self, role: &str) -> String {
        let line = fs::read_to_string(self.secret(&format!("{role}.env"))).unwrap();
        line.trim_end().strip_prefix("LYNKHOOK_REDIS__URL=").unwrap().to_owned()
    }

    pub(crate) fn password_of(&self, user: &str) -> String {
        let text = fs::read_to_string(self.secret(&format!("{user}.env"))).unwrap();
        let of_a_url = || text.split_once(&format!("://{user}:"))?.1.split_once('@').map(|(password, _)| password);
        let password = text.lines().find_map(|line| line.strip_prefix("password=")).or_else(of_a_url);
        password.unwrap().to_owned()
    }

    pub(crate) fn program_of(&self, role: &str) -> Program {
        let program = Program::new(&self.nodes[0], PREFIX).trusting(&self.receiver);
        program.env("LYNKHOOK_QUEUE__PARTITIONS", "16").env("LYNKHOOK_REDIS__URL", self.url_of(role))
    }

    /// The library with the rights of a server.
    pub(crate) async fn webhooks(&self) -> (Store, Webhooks) {
        let variables = [
            ("LYNKHOOK_REDIS__URL", self.url_of("server")),
            ("LYNKHOOK_REDIS__PREFIX", PREFIX.to_owned()),
            ("LYNKHOOK_QUEUE__PARTITIONS", "16".to_owned()),
            ("LYNKHOOK_WEBHOOKS__LIMIT_PER_ACCOUNT", "10".to_owned()),
            ("LYNKHOOK_EGRESS__ALLOW", "localhost".to_owned()),
            ("LYNKHOOK_SECRETS__KEY", SECRETS_KEY.to_owned()),
        ];
        let settings = Settings::load(None, variables).unwrap();
        let store = Store::open(&settings).await.unwrap();
        let vault = Vault::new(settings.secrets.key.as_ref()).unwrap();
        let webhooks = Webhooks::new(&settings, store.clone(), vault).unwrap();
        (store, webhooks)
    }

    /// Each refusal that a node has noted.
    pub(crate) async fn refusals(&self) -> Vec<String> {
        let mut refusals = Vec::new();
        for node in &self.nodes {
            refusals.extend(deployed::refusals_of(&mut node.connection().await).await);
        }
        refusals
    }
}

/// The only block of a language in a section of the page.
pub(crate) fn block_of(heading: &str, language: &str) -> String {
    let (_, section) = PAGE.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let section = section.split("\n##").next().unwrap();
    let mut blocks = readme::blocks(section).into_iter().filter(|(of, _)| *of == language);
    let (_, block) = blocks.next().unwrap_or_else(|| panic!("no block of {language} in {heading}"));
    assert!(blocks.next().is_none(), "one block of {language} in {heading}");
    block.to_owned()
}

/// Sends a command as typed into `redis-cli`.
pub(crate) async fn ask<T: FromRedisValue>(redis: &mut MultiplexedConnection, command: &str) -> RedisResult<T> {
    let words: Vec<&str> = command.split_whitespace().collect();
    redis::cmd(words[0]).arg(&words[1..]).query_async(redis).await
}
