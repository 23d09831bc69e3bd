//! `lynkhook health`: asks a process of this machine whether it is healthy, for platforms that run a command as their
//! probe. It serves as the image's health check, because the image has no other program.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{Exit, output};
use crate::config::Settings;

/// A process that has not answered within this time is not healthy.
const WITHIN: Duration = Duration::from_secs(2);

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// The process to ask. Needed only if `worker.health_bind` and `server.health_bind` are both set. A server without
    /// the latter is asked at `server.bind`.
    process: Option<Process>,
    /// Ask whether it is ready (`/readyz`), not only whether it works (`/healthz`).
    #[arg(long)]
    ready: bool,
    /// Print the checks as JSON, as the process answered them.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Process {
    Worker,
    Server,
}

/// Asks. Exit code 1 if a check fails or no answer comes within 2 s, 2 if there is no port to ask.
pub(super) async fn run(settings: &Settings, flags: &Flags) -> anyhow::Result<Exit> {
    let address = match port(settings, flags.process) {
        Ok(address) => address,
        Err(why) => {
            output::say(format_args!("error: {why}"));
            return Ok(Exit::Usage);
        }
    };
    let path = if flags.ready { "readyz" } else { "healthz" };
    let url = format!("http://{address}/{path}");
    // If `reqwest` is built with TLS, as it is for the tests, it asks for a provider although this request needs none.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(WITHIN);
    let answer = async {
        let answer = client.build()?.get(&url).send().await?;
        Ok((answer.status(), answer.text().await?))
    };
    let (status, body) = answer.await.map_err(|error: reqwest::Error| {
        // The causes name the address again, each in its own words; the last one says why.
        let cause = anyhow::Error::from(error).root_cause().to_string();
        anyhow::anyhow!("no answer from {url} within {WITHIN:?}: {cause}")
    })?;
    if flags.json {
        output::print(&format!("{}\n", body.trim_end()))?;
    } else if status.is_success() {
        output::print(if flags.ready { "ready\n" } else { "healthy\n" })?;
    } else {
        output::say(format_args!("error: {url} answered {}{}", status.as_u16(), failed(&body)));
    }
    Ok(if status.is_success() { Exit::Success } else { Exit::Other })
}

/// The address at which the process can be asked, or what to set.
fn port(settings: &Settings, process: Option<Process>) -> Result<SocketAddr, &'static str> {
    let (worker, server) = (settings.worker.health_bind, settings.server.health_bind);
    let address = match (process, worker, server) {
        (None, Some(_), Some(_)) => {
            return Err("worker.health_bind and server.health_bind are both set: say `lynkhook health worker` or \
                        `lynkhook health server`");
        }
        (None, None, None) => {
            return Err("no port for health probes is set: set worker.health_bind (LYNKHOOK_WORKER__HEALTH_BIND) or \
                        server.health_bind (LYNKHOOK_SERVER__HEALTH_BIND) to the value that the process has");
        }
        (Some(Process::Worker), None, _) => {
            return Err("no port for health probes is set: set worker.health_bind (LYNKHOOK_WORKER__HEALTH_BIND) to \
                        the value that the worker has");
        }
        (Some(Process::Server), _, None) => settings.server.bind,
        (Some(Process::Worker) | None, Some(worker), _) => worker,
        (_, _, Some(server)) => server,
    };
    if address.port() == 0 {
        return Err("port 0 means that the process chooses a port: set a fixed one to ask there");
    }
    // A process that listens on all addresses can be asked on this machine's own.
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    Ok(SocketAddr::new(ip, address.port()))
}

/// The checks that failed, as far as the body names them.
fn failed(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let checks = body["checks"].as_array().into_iter().flatten().filter(|check| check["ok"] == false);
    checks.filter_map(|check| Some(format!("; {}: {}", check["name"].as_str()?, check["error"].as_str()?))).collect()
}
