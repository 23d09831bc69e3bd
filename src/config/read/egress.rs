//! `[egress]` and `[dns]`: the addresses that requests may go to, and the name servers.

use std::net::{IpAddr, SocketAddr};

use toml::Value;

use super::Read;
use crate::config::{Dns, Egress, Settings, error::ConfigError};

/// If `egress.max_connections` is not set, it is `worker.concurrency` plus this for each thread.
const CONNECTIONS_BESIDES: usize = 1024;
/// The port of name servers.
const DNS_PORT: u16 = 53;

impl Read<'_> {
    /// `[egress]`
    pub(super) fn egress(&self) -> Result<Egress, ConfigError> {
        Ok(Egress {
            allow: self.allow()?,
            extra_ca: self.path("egress.extra_ca")?,
            idle_connections_per_host: self.integer("egress.idle_connections_per_host", 0, 65_536)?,
            max_connections: self.integer("egress.max_connections", 0, 1_048_576)?,
        })
    }

    /// `[dns]`
    pub(super) fn dns(&self) -> Result<Dns, ConfigError> {
        Ok(Dns { servers: self.dns_servers()?, resolv_conf: self.text("dns.resolv_conf")?.into() })
    }

    /// The entries as written. The egress policy interprets them.
    fn allow(&self) -> Result<Vec<String>, ConfigError> {
        const KEY: &str = "egress.allow";
        let expected = "a list of networks and host names, such as [\"10.1.0.0/16\", \"hooks.internal\"]";
        let item = |item: &Value| item.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned);
        self.list(KEY, expected)?.iter().map(|value| item(value).ok_or_else(|| self.refuse(KEY, expected))).collect()
    }

    fn dns_servers(&self) -> Result<Vec<SocketAddr>, ConfigError> {
        const KEY: &str = "dns.servers";
        let expected = "a list of addresses, each with or without a port, such as [\"10.0.0.53\", \"[fd00::53]:5353\"]";
        let server = |item: &Value| {
            let text = item.as_str()?;
            let with_port = text.parse().ok();
            with_port.or_else(|| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, DNS_PORT)))
        };
        self.list(KEY, expected)?.iter().map(|item| server(item).ok_or_else(|| self.refuse(KEY, expected))).collect()
    }
}

/// Computes `egress.max_connections` if it is not set, and refuses a value that is too small.
pub(super) fn check_connections(settings: &mut Settings) -> Result<(), ConfigError> {
    let (concurrency, needed) = (settings.worker.concurrency, settings.connections_needed());
    let threads = settings.threads();
    let most = &mut settings.egress.max_connections;
    if *most == 0 {
        *most = concurrency + CONNECTIONS_BESIDES * threads;
    }
    if *most < needed {
        return Err(ConfigError::TooFewConnections { most: *most, needed, concurrency });
    }
    Ok(())
}
