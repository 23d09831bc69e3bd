//! TLS to a real Redis: `redis.ca`, `redis.client_cert`, `redis.client_key`, and faulty certificates.

use lynkhook::{config::Settings, store::Store};

use super::*;

/// A Redis that serves TLS with this certificate on a second port.
struct Secure {
    redis: RedisServer,
    port: u16,
    ca: NamedTempFile,
    certificate: NamedTempFile,
}

impl Secure {
    fn start(pem: (String, String), wants_certificates: bool) -> Self {
        Self::start_with(pem, wants_certificates, &[])
    }

    fn start_with((certificate, key): (String, String), wants_certificates: bool, more: &[&str]) -> Self {
        let (certificate, key, ca) = (file(&certificate), file(&key), file(&Authority::shared().pem()));
        let (port, wants) = (unused_port(), if wants_certificates { "yes" } else { "no" });
        let arguments = [
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            path(&certificate),
            "--tls-key-file",
            path(&key),
            "--tls-ca-cert-file",
            path(&ca),
            "--tls-auth-clients",
            wants,
        ];
        let redis = RedisServer::start_with_arguments(&[&arguments, more].concat());
        Self { redis, port, ca, certificate }
    }

    fn program(&self) -> Program {
        let url = format!("rediss://localhost:{}/", self.port);
        Program::new(&self.redis, "tls").env("LYNKHOOK_REDIS__URL", url)
    }

    fn believed(&self) -> Program {
        self.program().env("LYNKHOOK_REDIS__CA", path(&self.ca))
    }
}

/// Each kind of command ends with this code and these words; so does `doctor`, if the settings are valid.
async fn assert_refused_with(program: &Program, code: i32, says: &[&str]) {
    let event = file(TRANSCRIPT);
    for words in
        [vec!["worker"], vec!["enqueue", "--account", "acme", "--file", path(&event)], webhook("acme", &["list"])]
    {
        assert_refused(&format!("{words:?}"), &program.run(&words).await, code, says);
    }
    let output = program.run(["doctor"]).await;
    assert_eq!(output.code, Some(code), "{output:#?}");
    for words in says {
        assert!(format!("{} {}", output.stdout, output.stderr).contains(words), "{words} in {output:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_programs_and_the_library_trust_the_authority_in_redis_ca_without_a_system_variable() {
    let secure = Secure::start(trusted_pem(), false);
    assert_eq!(secure.believed().json(["queue", "status"]).await["depth"], 0);
    let marked = file(&format!("\u{feff}{}", Authority::shared().pem()));
    let behind_a_mark = secure.program().env("LYNKHOOK_REDIS__CA", path(&marked));
    assert_eq!(behind_a_mark.json(["queue", "status"]).await["depth"], 0);
    let url = format!("rediss://localhost:{}/", secure.port);
    let variables = [("LYNKHOOK_REDIS__URL", url.as_str()), ("LYNKHOOK_REDIS__CA", path(&secure.ca))];
    Store::open(&Settings::load(None, variables).unwrap()).await.unwrap().now(0).await.unwrap();
    let in_capitals = secure.believed().env("LYNKHOOK_REDIS__URL", url.replace("rediss", "REDISS"));
    assert_eq!(in_capitals.json(["queue", "status"]).await["depth"], 0);
    let worker = secure.believed().worker([]);
    worker.wait_for_line("worker started").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_system_authorities_affect_only_connections_that_need_them() {
    let secure = Secure::start(trusted_pem(), false);
    let folder = tempfile::tempdir().unwrap();
    let malformed = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    std::fs::write(folder.path().join("0a775a30.0"), malformed).unwrap();
    std::fs::write(folder.path().join("0a775a30.1"), Authority::shared().pem()).unwrap();
    let folder = folder.path().to_str().unwrap();
    for (name, value) in [("SSL_CERT_FILE", "/nowhere.pem"), ("SSL_CERT_DIR", folder)] {
        let believed = secure.believed().env(name, value);
        assert_eq!(believed.json(["queue", "status"]).await["depth"], 0, "{name}");
    }
    let of_the_system = secure.program().env("SSL_CERT_DIR", folder);
    assert_eq!(
        of_the_system.json(["queue", "status"]).await["depth"],
        0,
        "the valid authority next to a malformed one"
    );
    let without = secure.program().env("SSL_CERT_FILE", "/nowhere.pem");
    assert_refused_with(&without, 5, &["UnknownIssuer", "set redis.ca"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authoritys_own_certificate_is_5_and_advises_one_that_it_signed() {
    let secure = Secure::start(authority_pem_for(&["localhost"]), false);
    let believed = secure.program().env("LYNKHOOK_REDIS__CA", path(&secure.certificate));
    assert_refused_with(&believed, 5, &["give Redis one signed by it, and name the authority in redis.ca"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_not_known_is_5_and_advises_redis_ca() {
    let says = ["UnknownIssuer", "set redis.ca"];
    assert_refused_with(&Secure::start(trusted_pem(), false).program(), 5, &says).await;
    let other = Secure::start(pem_for(&["localhost"], false), false);
    assert_refused_with(&other.believed(), 5, &says).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_is_5_and_advises_the_name() {
    let secure = Secure::start(pem_for(&["elsewhere.test"], true), false);
    assert_refused_with(&secure.believed(), 5, &["a name in redis.url that the certificate of Redis has"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_that_redis_requires_is_asked_for_and_accepted() {
    let secure = Secure::start(trusted_pem(), true);
    assert_refused_with(&secure.believed(), 5, &["redis.client_cert and redis.client_key"]).await;
    let (certificate, key) = pem_for(&["worker"], true);
    let (certificate, key) = (file(&certificate), file(&key));
    let shown = secure.believed().env("LYNKHOOK_REDIS__CLIENT_CERT", path(&certificate));
    let good = shown.clone().env("LYNKHOOK_REDIS__CLIENT_KEY", path(&key));
    assert_eq!(good.json(["queue", "status"]).await["depth"], 0);
    good.worker([]).wait_for_line("worker started").await;

    let (strange, its_key) = pem_for(&["worker"], false);
    let (strange, its_key) = (file(&strange), file(&its_key));
    let unknown = secure.believed().env("LYNKHOOK_REDIS__CLIENT_CERT", path(&strange));
    let unknown = unknown.env("LYNKHOOK_REDIS__CLIENT_KEY", path(&its_key));
    assert_refused_with(&unknown, 5, &["to one that its authority signed"]).await;

    assert_refused_with(&shown, 2, &["redis.client_key", "belongs to redis.client_cert"]).await;
    let others = file(&trusted_pem().1);
    let mixed = shown.clone().env("LYNKHOOK_REDIS__CLIENT_KEY", path(&others));
    assert_refused_with(&mixed, 5, &["redis.client_key is the key of redis.client_cert"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_useless_file_is_2() {
    let secure = Secure::start(trusted_pem(), false);
    let empty = file("nothing");
    let hollow = |what| file(&format!("-----BEGIN {what}-----\nbm90aGluZw==\n-----END {what}-----\n"));
    let (hollow, hollow_key) = (hollow("CERTIFICATE"), hollow("PRIVATE KEY"));
    let second = file(&format!("{}{}", Authority::shared().pem(), std::fs::read_to_string(&hollow).unwrap()));
    let utf16 = file(&Authority::shared().pem().replace('-', "-\0").replace("BEGIN", "B\0E\0G\0I\0N\0"));
    for (name, value, says) in [
        ("LYNKHOOK_REDIS__CA", "/nowhere.pem", ["redis.ca", "/nowhere.pem", "No such file"]),
        ("LYNKHOOK_REDIS__CA", path(&empty), ["redis.ca", "no usable certificate", "PEM"]),
        ("LYNKHOOK_REDIS__CA", path(&utf16), ["redis.ca", "it is UTF-16", "save it as UTF-8"]),
        ("LYNKHOOK_REDIS__CA", path(&hollow), ["redis.ca", path(&hollow), "no usable certificate"]),
        ("LYNKHOOK_REDIS__CA", path(&second), ["redis.ca", path(&second), "no usable certificate"]),
        ("LYNKHOOK_REDIS__CLIENT_CERT", path(&hollow), ["redis.client_cert", path(&hollow), "no usable certificate"]),
        ("LYNKHOOK_REDIS__CLIENT_CERT", path(&second), ["redis.client_cert", path(&second), "no usable certificate"]),
        ("LYNKHOOK_REDIS__CLIENT_KEY", path(&empty), ["redis.client_key", "no usable private key", "PEM"]),
        (
            "LYNKHOOK_REDIS__CLIENT_KEY",
            path(&hollow_key),
            ["redis.client_key", path(&hollow_key), "no usable private key"],
        ),
    ] {
        assert_refused_with(&secure.program().env(name, value), 2, &says).await;
    }
    let plain = secure.believed().env("LYNKHOOK_REDIS__URL", secure.redis.url());
    assert_refused_with(&plain, 2, &["redis.ca", "begins with rediss://"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_without_tls_is_5_and_the_scheme_is_named() {
    let url = RedisServer::shared().url().replace("redis://", "rediss://");
    let program = Program::new(RedisServer::shared(), "tls").env("LYNKHOOK_REDIS__URL", url);
    let hasty = program.env("LYNKHOOK_REDIS__CONNECT_TIMEOUT", "300ms");
    assert_refused_with(&hasty, 5, &["timed out while connecting with TLS", "needs redis://"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_certificates_have_names_is_advised_to_announce_names_and_then_serves() {
    let bus_port = unused_port().to_string();
    // Redis names its TLS port to clients only if its nodes, too, speak TLS with each other.
    let bus = ["--tls-cluster", "yes", "--cluster-port", &bus_port];
    let cluster = [&["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"], &bus[..]].concat();
    let looked = async |announced: &[&str]| {
        let secure = Secure::start_with(pem_for(&["localhost"], true), false, &[&cluster[..], announced].concat());
        let mut own = redis::cmd("CLUSTER");
        own.arg("ADDSLOTSRANGE").arg(0).arg(16_383);
        let () = own.query_async(&mut secure.redis.connection().await).await.unwrap();
        let url = format!("rediss+cluster://localhost:{}", secure.port);
        secure.believed().env("LYNKHOOK_REDIS__URL", url).run(["doctor"]).await
    };
    let output = looked(&[]).await;
    let says = ["127.0.0.1", "cluster-announce-hostname", "cluster-preferred-endpoint-type hostname"];
    assert_eq!(output.code, Some(5), "{output:#?}");
    assert!(says.iter().all(|words| output.stdout.contains(words)), "{output:#?}");
    let names = ["--cluster-announce-hostname", "localhost", "--cluster-preferred-endpoint-type", "hostname"];
    let output = looked(&names).await;
    assert!(output.stdout.contains("all 1 answer"), "{output:#?}");
}
