//! The CPU time of a process by area: `perf` samples the process every half a millisecond, and each sample counts for
//! an area.
//!
//! An instruction counts for the crate that contains its code, inlined or not, according to the debug information,
//! which everything that ships has. An inlined function of the standard library or of a container crate counts for its
//! caller. Code without debug information (C, assembler) is assigned by the name of its function.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use addr2line::Loader;
use serde::Serialize;
use tempfile::NamedTempFile;

/// Samples per second: a prime, so that they do not fall into step with anything periodic.
const PER_SECOND: &str = "1999";

const STARTS_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    Kernel,
    Tls,
    Http,
    RedisClient,
    Runtime,
    Json,
    Memory,
    Standard,
    Own,
    Rest,
}

impl Area {
    pub const ALL: [Self; 10] = [
        Self::Kernel,
        Self::Tls,
        Self::Http,
        Self::RedisClient,
        Self::Runtime,
        Self::Json,
        Self::Memory,
        Self::Standard,
        Self::Own,
        Self::Rest,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Tls => "TLS, signatures",
            Self::Http => "HTTP client",
            Self::RedisClient => "Redis client",
            Self::Runtime => "runtime",
            Self::Json => "JSON",
            Self::Memory => "memory, C library",
            Self::Standard => "standard library",
            Self::Own => "its own code",
            Self::Rest => "anything else",
        }
    }

    fn of_crate(name: &str) -> Self {
        match name {
            "hyper" | "hyper-util" | "http" | "http-body" | "http-body-util" | "httparse" | "tower-service" => {
                Self::Http
            }
            "rustls" | "tokio-rustls" | "hyper-rustls" | AWS_LC | "aws-lc-rs" | "rustls-pki-types" => Self::Tls,
            "redis" | "combine" => Self::RedisClient,
            "serde" | "serde_core" | "serde_json" | "itoa" | "zmij" | "ryu" => Self::Json,
            "mimalloc" | "libmimalloc-sys" => Self::Memory,
            _ if name.starts_with("tokio") || name.starts_with("futures") || name == "mio" => Self::Runtime,
            _ => Self::Rest,
        }
    }

    /// The area of code without debug information: by its address, its file and its name.
    fn of_symbol(address: u64, name: &str, file: &str) -> Self {
        match file {
            // The upper half of all addresses belongs to the kernel.
            _ if address >> 63 == 1 => Self::Kernel,
            _ if file.contains("/libc.so") || file.contains("jemalloc") || file == "[vdso]" => Self::Memory,
            _ if ["mi_", "_mi_", "je_"].iter().any(|allocator| name.starts_with(allocator)) => Self::Memory,
            _ if name.starts_with("aws_lc_") => Self::Tls,
            // No debug information and not one of the libraries: Redis, Lua included.
            _ => Self::Own,
        }
    }
}

/// The crate with the cryptography of the TLS provider; the paths of its source files do not name it.
const AWS_LC: &str = "aws-lc-sys";

/// Container crates. Their code counts for its caller, like the standard library's.
const LENT: [&str; 12] = [
    "bytes",
    "hashbrown",
    "indexmap",
    "memchr",
    "once_cell",
    "parking_lot",
    "parking_lot_core",
    "pin-project-lite",
    "slab",
    "smallvec",
    "lock_api",
    "scopeguard",
];

/// Samples a process until it ends.
pub struct Sampler {
    perf: std::process::Child,
    samples: NamedTempFile,
    program: PathBuf,
    /// The address at which the program begins in the process's memory.
    base: u64,
}

impl Sampler {
    pub async fn attach(process: u32) -> Self {
        let program = fs::read_link(format!("/proc/{process}/exe")).expect("the process runs");
        let maps = fs::read_to_string(format!("/proc/{process}/maps")).expect("the process runs");
        let first = maps.lines().find(|line| line.ends_with(&*program.to_string_lossy())).expect("it maps its program");
        let base = first.split_once('-').and_then(|(base, _)| u64::from_str_radix(base, 16).ok()).expect("an address");
        let samples = NamedTempFile::new().expect("a file");
        let mut perf = Command::new("perf");
        perf.args(["record", "--quiet", "--event", "cpu-clock", "--freq", PER_SECOND, "--pid", &process.to_string()]);
        perf.arg("--output").arg(samples.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let perf = perf.spawn().expect("perf can be started: make bench-profile installs it");
        // perf is running once it has written something.
        let started = Instant::now();
        while samples.path().metadata().expect("a file").len() == 0 {
            assert!(started.elapsed() < STARTS_WITHIN, "perf does not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self { perf, samples, program, base }
    }

    /// The share of each area, once the process has ended.
    pub fn shares(mut self) -> BTreeMap<Area, f64> {
        assert!(
            self.perf.wait().expect("it is our child").success(),
            "perf failed: check that it is permitted (perf_event_paranoid)"
        );
        let mut script = Command::new("perf");
        script.args(["script", "--fields", "ip,sym,dso", "--input"]).arg(self.samples.path()).stderr(Stdio::null());
        let script = script.output().expect("perf can be started");
        let program = Loader::new(&self.program).expect("a program");
        let mut known = HashMap::new();
        let mut counts = BTreeMap::new();
        let mut all = 0.0;
        for line in String::from_utf8_lossy(&script.stdout).lines() {
            let Some((address, symbol)) = line.trim().split_once(' ') else { continue };
            let area = *known.entry(address.to_owned()).or_insert_with(|| self.area(&program, address, symbol));
            *counts.entry(area).or_insert(0.0) += 1.0;
            all += 1.0;
        }
        assert!(counts.contains_key(&Area::Kernel), "perf saw nothing of the kernel: run as root, or permit it");
        counts.into_iter().map(|(area, count): (_, f64)| (area, count / all)).collect()
    }

    fn area(&self, program: &Loader, address: &str, symbol: &str) -> Area {
        // name (file)
        let (name, file) = symbol.trim_end_matches(')').rsplit_once(" (").unwrap_or((symbol, ""));
        let address = u64::from_str_radix(address, 16).unwrap_or(0);
        let within = (file == self.program.to_string_lossy()).then(|| address.wrapping_sub(self.base));
        let area = within.and_then(|address| of_debug_information(program, address));
        area.unwrap_or_else(|| Area::of_symbol(address, name, file))
    }
}

/// From the innermost inlined function outwards.
fn of_debug_information(program: &Loader, address: u64) -> Option<Area> {
    let mut frames = program.find_frames(address).ok()?;
    let mut standard = None;
    while let Ok(Some(frame)) = frames.next() {
        match frame.location.and_then(|location| location.file).map(crate_of) {
            Some(Some("")) => return Some(Area::Own),
            Some(Some(name)) if !LENT.contains(&name) => return Some(Area::of_crate(name)),
            Some(_) => standard = Some(Area::Standard),
            None => {}
        }
    }
    standard
}

/// The crate that a source file belongs to; empty for this package, `None` for the standard library and C's.
fn crate_of(file: &str) -> Option<&str> {
    if file.starts_with(env!("CARGO_MANIFEST_DIR")) && !file.contains("/registry/src/") {
        return Some("");
    }
    if file.starts_with("/aws-lc/") {
        return Some(AWS_LC);
    }
    // The registry, then the crate: its name and version.
    let (_, inside) = file.split_once("/registry/src/")?;
    let folder = inside.split('/').nth(1)?;
    folder.rsplit_once('-').map(|(name, _)| name)
}
