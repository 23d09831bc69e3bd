//! `[server]`.

use url::{Host, Url};

use super::{KEY_BYTES, MESSAGE_BYTES, Read, TIME_LIMIT, WAIT};
use crate::config::{Server, error::ConfigError};

impl Read<'_> {
    /// `[server]`
    pub(super) fn server(&self) -> Result<Server, ConfigError> {
        let bytes = |key, range| Ok(usize::try_from(self.bytes(key, range)?).unwrap_or(usize::MAX));
        Ok(Server {
            bind: self
                .address("server.bind")?
                .ok_or_else(|| self.refuse("server.bind", "an IP address with a port, such as \"127.0.0.1:8080\""))?,
            public_url: self.public_url()?,
            health_bind: self.address("server.health_bind")?,
            max_connections: self.integer("server.max_connections", 1, 65_536)?,
            header_max_bytes: bytes("server.header_max_bytes", &(1 << 10..=48 << 10))?,
            header_timeout: self.duration("server.header_timeout", &TIME_LIMIT)?,
            body_max_bytes: bytes("server.body_max_bytes", &MESSAGE_BYTES)?,
            body_timeout: self.duration("server.body_timeout", &TIME_LIMIT)?,
            request_timeout: self.duration("server.request_timeout", &TIME_LIMIT)?,
            max_bytes: self.bytes("server.max_bytes", &KEY_BYTES)?,
            requests_per_second: self.integer("server.requests_per_second", 1, 1_000_000)?,
            tests_per_10s: self.integer("server.tests_per_10s", 1, 1000)?,
            trusted_proxies: self.trusted_proxies()?,
            shutdown_grace: self.duration("server.shutdown_grace", &WAIT)?,
        })
    }

    /// The entries as written. The server interprets them.
    fn trusted_proxies(&self) -> Result<Vec<String>, ConfigError> {
        const KEY: &str = "server.trusted_proxies";
        let expected = "a list of networks and addresses, such as [\"10.0.0.0/8\", \"fd00::1\"]";
        let items = self.list(KEY, expected)?.iter();
        items.map(|item| item.as_str().map(str::to_owned).ok_or_else(|| self.refuse(KEY, expected))).collect()
    }

    fn public_url(&self) -> Result<Option<String>, ConfigError> {
        const KEY: &str = "server.public_url";
        let text = self.text(KEY)?;
        if text.is_empty() {
            return Ok(None);
        }
        let is_fit = |url: &Url| {
            let is_loopback = match url.host() {
                Some(Host::Domain(name)) => name == "localhost",
                Some(Host::Ipv4(address)) => address.is_loopback(),
                Some(Host::Ipv6(address)) => address.is_loopback(),
                None => false,
            };
            let is_plain = url.username().is_empty() && url.password().is_none();
            let ends = url.query().is_none() && url.fragment().is_none();
            (url.scheme() == "https" || url.scheme() == "http" && is_loopback) && url.has_host() && is_plain && ends
        };
        match Url::parse(text) {
            Ok(url) if is_fit(&url) => Ok(Some(url.as_str().trim_end_matches('/').to_owned())),
            _ => Err(self.refuse(
                KEY,
                "an https URL without user, query and fragment, such as \"https://webhooks.example.com\"; http is \
                 accepted for loopback addresses only",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_says, from_file};

    #[test]
    fn the_api_is_for_this_machine_by_default_and_its_public_url_is_https_or_loopback() {
        for (given, read) in [
            ("https://webhooks.example.com/", "https://webhooks.example.com"),
            ("https://example.com:8443/webhooks/", "https://example.com:8443/webhooks"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            let settings = from_file(&format!("server.public_url = \"{given}\"")).unwrap();
            assert_eq!(settings.server.public_url.as_deref(), Some(read));
        }
        let defaults = from_file("").unwrap().server;
        assert_eq!((defaults.public_url, defaults.bind.to_string().as_str()), (None, "127.0.0.1:8080"));
        for refused in [
            "http://example.com",
            "webhooks.example.com",
            "https://user@example.com",
            "https://example.com/?x=1",
            "https://example.com/#x",
            "ftp://localhost",
        ] {
            assert_says(
                from_file(&format!("server.public_url = \"{refused}\"")),
                &["`server.public_url`", "https URL"],
            );
        }
        assert_says(from_file("server.bind = \"\""), &["`server.bind`", "127.0.0.1:8080"]);
    }
}
