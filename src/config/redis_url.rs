//! The forms that `redis.url` may have. The rules are stricter than the client library's, which ignores parts that it
//! does not know: with a database given as a parameter it would use database 0, and it would not send the name of a
//! user without a password.
//!
//! No refusal may quote a part that could hold a password. In a malformed URL, that is every part but the scheme.

use secrecy::SecretString;
use url::Url;

const EXAMPLE: &str = "such as \"redis://127.0.0.1:6379/\"";
const CLUSTER_EXAMPLE: &str = "such as \"redis+cluster://10.0.0.1:6379,10.0.0.2:6379\"";
/// Redis keeps the number of databases as an `int`.
const DATABASE_MAX: u32 = i32::MAX as u32;

/// The reason why a URL is refused.
pub(super) enum Refusal {
    /// The expected form.
    Expected(String),
    /// A way to reach Redis that is planned but not supported yet.
    NotYet(&'static str),
}

impl From<&str> for Refusal {
    fn from(expected: &str) -> Self {
        Self::Expected(expected.to_owned())
    }
}

/// The servers that a URL names.
pub(super) struct Servers {
    /// A URL for each server. There are several only for a cluster.
    pub(super) urls: Vec<SecretString>,
    /// Whether they are nodes of a cluster, which may have others.
    pub(super) are_of_a_cluster: bool,
    /// Whether they use TLS.
    pub(super) speak_tls: bool,
}

/// Checks a URL and reads it. A scheme may be written in capitals.
pub(super) fn servers(text: &str) -> Result<Servers, Refusal> {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let scheme = scheme.to_ascii_lowercase();
    let Some(scheme) = scheme.strip_suffix("+cluster") else {
        check(text)?;
        let urls = vec![SecretString::from(text)];
        return Ok(Servers { urls, are_of_a_cluster: false, speak_tls: scheme == "rediss" });
    };
    let urls = of_each(scheme, rest)?.into_iter().map(|url| check(&url).map(|()| SecretString::from(url)));
    Ok(Servers { urls: urls.collect::<Result<_, _>>()?, are_of_a_cluster: true, speak_tls: scheme == "rediss" })
}

/// The URLs of nodes of a cluster, which are written as one: `[user:password@]host[:port],host[:port]…`.
fn of_each(scheme: &str, rest: &str) -> Result<Vec<String>, Refusal> {
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, hosts) = authority.rfind('@').map_or(("", authority), |at| authority.split_at(at + 1));
    if hosts.split(',').any(str::is_empty) {
        return Err(format!("hosts with one comma between them, {CLUSTER_EXAMPLE}").as_str().into());
    }
    if let Some(database) = tail.strip_prefix('/')
        && !["", "0"].contains(&database)
        && !database.contains(['?', '#'])
    {
        return Err(
            "nothing after the hosts, because a cluster has only database 0; in a password, write / as %2F".into()
        );
    }
    Ok(hosts.split(',').map(|host| format!("{scheme}://{user}{host}{tail}")).collect())
}

/// Checks the URL of one server.
fn check(text: &str) -> Result<(), Refusal> {
    // The parser would drop these characters, even from a password.
    if text.chars().any(char::is_control) {
        return Err(
            "a URL without line ends, tabs and other control characters; in a password, encode them, such as %0A"
                .into(),
        );
    }
    let malformed = "a URL such as \"redis://127.0.0.1:6379/\"; in a password, write / # ? @ % as %2F %23 %3F %40 %25";
    let url = Url::parse(text).map_err(|_| malformed)?;
    match url.scheme() {
        "redis" | "rediss" | "redis+unix" => {}
        "redis+sentinel" => return Err(Refusal::NotYet("redis+sentinel")),
        "unix" | "valkey+unix" => {
            return Err(
                "a socket written as redis+unix:// and its full path, such as \"redis+unix:///run/redis.sock\"".into(),
            );
        }
        "valkey" => return Err("redis:// in place of valkey://".into()),
        "redis-cluster" | "rediss-cluster" | "valkey+cluster" | "cluster" => {
            return Err(format!("redis+cluster:// or rediss+cluster:// for a cluster, {CLUSTER_EXAMPLE}")
                .as_str()
                .into());
        }
        "valkeys" | "redis+ssl" | "redis+tls" => return Err("rediss:// for TLS".into()),
        _ => return Err(format!("a redis://, rediss:// or redis+unix:// URL, {EXAMPLE}").as_str().into()),
    }
    let on_a_socket = url.scheme() == "redis+unix";
    if on_a_socket {
        check_socket(&url)?;
    } else {
        check_host(&url)?;
        check_user(&url)?;
        check_database(url.path())?;
    }
    if url.fragment().is_some() {
        return Err("nothing after #: certificates are always verified; in a password, write # as %23".into());
    }
    url.query().map_or(Ok(()), |query| Err(Refusal::Expected(of_query(query, on_a_socket))))
}

fn check_socket(url: &Url) -> Result<(), Refusal> {
    if url.host_str().is_some_and(|host| !host.is_empty()) || !url.path().starts_with('/') || url.path() == "/" {
        return Err("the socket's full path after three slashes, such as \"redis+unix:///run/redis.sock\"".into());
    }
    Ok(())
}

fn check_host(url: &Url) -> Result<(), Refusal> {
    match url.host_str() {
        None | Some("") => return Err(format!("a URL with a host, {EXAMPLE}").as_str().into()),
        Some("0.0.0.0" | "[::]") => {
            return Err(format!("the address of one Redis, {EXAMPLE}: servers listen on 0.0.0.0 and ::")
                .as_str()
                .into());
        }
        Some(host) if host.contains(',') => {
            return Err(format!("one host, or redis+cluster:// for a cluster, {CLUSTER_EXAMPLE}").as_str().into());
        }
        Some(_) => {}
    }
    if url.port() == Some(0) {
        return Err("a port from 1 to 65535".into());
    }
    Ok(())
}

fn check_user(url: &Url) -> Result<(), Refusal> {
    let password = url.password().unwrap_or_default();
    if password.is_empty() && !url.username().is_empty() {
        return Err("user:password@ before the host, or :password@ without a user name; if the user has no password, \
                    write any"
            .into());
    }
    if [url.username(), password].into_iter().all(is_encoded) {
        return Ok(());
    }
    Err("valid percent-encoding of UTF-8 in user name and password; write % as %25".into())
}

/// Whether each `%` stands before two hexadecimal digits, and all of it is UTF-8.
fn is_encoded(part: &str) -> bool {
    let mut parts = part.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let Some((code, rest)) = part.split_at_checked(2) else { return false };
        let byte = u8::from_str_radix(code, 16).ok().filter(|_| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let Some(byte) = byte else { return false };
        bytes.push(byte);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).is_ok()
}

fn check_database(path: &str) -> Result<(), Refusal> {
    let digits = path.strip_prefix('/').unwrap_or(path);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    if digits.is_empty() || is_number && digits.parse::<u32>().is_ok_and(|number| number <= DATABASE_MAX) {
        return Ok(());
    }
    Err("nothing but the database's number after the host, such as \"redis://127.0.0.1:6379/3\"; in a password, write \
         / as %2F"
        .into())
}

/// The advice for a URL with parameters. Only known names are shown.
fn of_query(query: &str, on_a_socket: bool) -> String {
    let (name, value) = url::form_urlencoded::parse(query.as_bytes()).next().unwrap_or_default();
    let instead = match name.to_lowercase().as_str() {
        "db" | "database" | "user" | "username" | "pass" | "password" if on_a_socket => {
            "only the path of a socket: use redis://host:port for a user, a password or a database"
        }
        "db" | "database" if value.parse::<u32>().is_ok_and(|number| number <= DATABASE_MAX) => {
            return format!("no ?db=…: write /{value} at the end");
        }
        "db" | "database" => "no ?db=…: write the database's number at the end, such as /3",
        "user" | "username" | "pass" | "password" | "auth" => "no ?password=…: write user:password@ before the host",
        "ssl" | "tls" if matches!(value.to_lowercase().as_str(), "false" | "0" | "no" | "off") => {
            "no ?ssl=…: leave it out, because redis:// does not use TLS"
        }
        "ssl" | "tls" | "sslmode" | "ssl_cert_reqs" => {
            "no ?ssl=…: write rediss:// for TLS; certificates are always verified"
        }
        "protocol" => "no ?protocol=…: leave it out, Lynkhook chooses the protocol itself",
        "timeout" | "connect_timeout" | "socket_timeout" | "socket_connect_timeout" => {
            "no ?timeout=…: set redis.connect_timeout and redis.response_timeout"
        }
        _ => "nothing after ?: there are no parameters; in a password, write ? as %3F",
    };
    instead.to_owned()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn each_documented_form_is_accepted() {
        for url in [
            "redis://host",
            "redis://host/",
            "redis://127.0.0.1:6379/0",
            "redis://[::1]:6379/15",
            "redis://[::1]",
            "redis://host:/3",
            "redis://:a:b@host",
            "redis://:p%2Fw@host",
            "rediss://u:p%C3%A9%25@host:6380/2147483647",
            "redis+unix:///run/redis.sock",
        ] {
            assert!(check(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn the_url_of_a_cluster_names_several_servers_with_one_user() {
        for (url, all) in [
            ("redis+cluster://a", vec!["redis://a"]),
            ("redis+cluster://u:p%40@a:1,b/", vec!["redis://u:p%40@a:1/", "redis://u:p%40@b/"]),
            ("REDISS+Cluster://:p@[::1]:7000,10.0.0.2/0", vec!["rediss://:p@[::1]:7000/0", "rediss://:p@10.0.0.2/0"]),
        ] {
            let Ok(found) = servers(url) else { panic!("{url} is refused") };
            let urls: Vec<&str> = found.urls.iter().map(ExposeSecret::expose_secret).collect();
            assert_eq!((urls, found.are_of_a_cluster), (all.clone(), true), "{url}");
            assert_eq!(found.speak_tls, all[0].starts_with("rediss"), "{url}");
        }
    }

    #[test]
    fn tls_is_used_if_the_scheme_says_so_in_small_letters_or_capitals() {
        for (url, speaks) in [("rediss://host", true), ("REDISS://host", true), ("Redis://host", false)] {
            let found = servers(url).ok().expect(url);
            assert_eq!((found.speak_tls, found.are_of_a_cluster), (speaks, false), "{url}");
        }
    }

    #[test]
    fn a_part_that_would_be_ignored_or_misread_is_refused_with_the_right_form_and_never_quoted() {
        for (url, words) in [
            ("redis://:hunter2@host?db=3", "write /3 at the end"),
            ("redis://:hunter2@host/?database=7", "write /7 at the end"),
            ("redis://:hunter2@host?db=hunter2", "such as /3"),
            ("redis://host?ssl=true", "write rediss://"),
            ("redis://host/0?ssl_cert_reqs=none", "write rediss://"),
            ("redis://host?ssl=false", "leave it out"),
            ("redis://host?protocol=resp3", "chooses the protocol itself"),
            ("redis://host?password=hunter2", "user:password@"),
            ("redis://host?timeout=5", "redis.connect_timeout"),
            ("redis://host?", "nothing after ?"),
            ("redis://hun?ter2@host", "%3F"),
            ("rediss://:hunter2@host#insecure", "always verified"),
            ("redis://host/#", "%23"),
            ("redis://host/3/", "the database's number"),
            ("redis://host/+3", "the database's number"),
            ("redis://host/-1", "the database's number"),
            ("redis://host/2147483648", "the database's number"),
            ("redis://hun/ter2@host", "%2F"),
            ("redis://hunter2@host", "user:password@"),
            ("redis://hunter2:@host", "user:password@"),
            ("redis://:hunter2%@host", "%25"),
            ("redis://:hunter2%+1@host", "%25"),
            ("redis://:hunter2%ff@host", "UTF-8"),
            ("redis://:hun\tter2@host", "control characters"),
            ("redis://host\n", "control characters"),
            ("redis://0.0.0.0:6379", "one Redis"),
            ("redis://[::]", "one Redis"),
            ("redis://host:0", "1 to 65535"),
            ("redis://host:65536", "a URL such as"),
            ("redis+unix:///run/redis.sock?db=3", "redis://host:port"),
            ("redis+unix:///run/redis.sock?pass=hunter2", "redis://host:port"),
            ("redis+unix://run/redis.sock", "three slashes"),
            ("redis+unix:///run/redis.sock#x", "nothing after #"),
            ("unix:///run/redis.sock", "redis+unix:///run/redis.sock"),
            ("unix://:hunter2@/run/redis.sock?db=1", "a URL such as"),
            ("redis+unix://hunter2/run/redis.sock", "three slashes"),
            ("valkey://:hunter2@host", "redis://"),
            ("valkeys://:hunter2@host", "rediss://"),
            ("redis://::1:6379", "a URL such as"),
            ("redis://:hunter2@", "a URL such as"),
            ("redis://:hunter2@:6379", "a URL such as"),
            ("redis://:hunter2@host/zero", "the database's number"),
            ("redis://:hunter2@host/%33", "the database's number"),
            ("redis://:hunter2%2@host", "%25"),
            ("hunter2:x@host", "a redis://"),
            ("localhost:6379", "a redis://"),
            ("127.0.0.1:6379", "a URL such as"),
            ("redis://:hunter2@a,b", "redis+cluster://"),
            ("redis-cluster://:hunter2@a", "redis+cluster://"),
            ("redis+cluster://:hunter2@a,,b", "one comma"),
            ("redis+cluster://:hunter2@", "one comma"),
            ("redis+cluster://:hunter2@a,b/1", "only database 0"),
            ("redis+cluster://hunter2@a,b", "user:password@"),
            ("redis+cluster://a:hunter2@a,b:0", "1 to 65535"),
            ("redis+cluster://a,b?password=hunter2", "user:password@"),
            ("redis+cluster://a,0.0.0.0", "one Redis"),
            ("redis+cluster://:hunter2%@a", "%25"),
        ] {
            let Err(Refusal::Expected(expected)) = servers(url) else { panic!("{url:?} is accepted") };
            assert!(expected.contains(words) && !expected.contains("hunter2"), "{url:?}: {expected}");
        }
    }
}
