//! The servers: programs, files, command lines, and the signal with which an operator reloads each.
//!
//! In files and command lines, `@PORT@` is the server's port, `@APP@` the port of the app behind it, `@DIR@` the
//! server's working directory, and `@MORE@` the row's addition.

/// How to run a server.
pub struct Recipe {
    /// The row's server program. If it is not installed, the row is skipped.
    pub program: &'static str,
    /// The arguments with which the program prints its version.
    pub version: &'static str,
    pub files: &'static [(&'static str, &'static str)],
    pub command: &'static [&'static str],
    /// The signal that makes the server replace its processes.
    pub renew: &'static str,
    /// Whether the server needs [`APP`] behind it.
    pub is_front: bool,
}

/// `nginx -s reload` checks the configuration and sends SIGHUP.
pub const NGINX: Recipe = Recipe {
    program: "nginx",
    version: "-v",
    files: &[("nginx.conf", include_str!("servers/nginx.conf"))],
    command: &["nginx", "-p", "@DIR@", "-e", "stderr", "-c", "nginx.conf"],
    renew: "HUP",
    is_front: true,
};

/// `apache2 -k graceful` checks the configuration and sends SIGUSR1. For about a second after it, Apache answers no
/// requests. Then it has more connections than threads and closes idle ones, which is hard on every client.
pub const APACHE: Recipe = Recipe {
    program: "apache2",
    version: "-v",
    files: &[("apache.conf", include_str!("servers/apache.conf"))],
    command: &["apache2", "-d", "@DIR@", "-f", "apache.conf", "-DFOREGROUND"],
    renew: "USR1",
    is_front: true,
};

/// `systemctl reload haproxy` sends SIGUSR2 to the master, which starts its new worker with `-sf` and the old one's id.
pub const HAPROXY: Recipe = Recipe {
    program: "haproxy",
    version: "-v",
    files: &[("haproxy.cfg", include_str!("servers/haproxy.cfg"))],
    command: &["haproxy", "-W", "-f", "haproxy.cfg"],
    renew: "USR2",
    is_front: true,
};

pub const NODE: Recipe = Recipe {
    program: "node",
    version: "--version",
    files: &[("cluster.mjs", include_str!("servers/cluster.mjs"))],
    command: &["node", "cluster.mjs", "@PORT@"],
    renew: "HUP",
    is_front: false,
};

pub const NODE_EARLY: Recipe = Recipe {
    files: &[("early.mjs", include_str!("servers/early.mjs"))],
    command: &["node", "early.mjs", "@PORT@", "@MORE@"],
    ..NODE
};

pub const UVICORN: Recipe = Recipe {
    program: "uvicorn",
    version: "--version",
    files: &[("app.py", include_str!("servers/app.py")), ("supervise.py", include_str!("servers/supervise.py"))],
    command: &["python3", "-u", "supervise.py", "@PORT@"],
    renew: "HUP",
    is_front: false,
};

/// Its default workers, which take one request at a time and close the connection after each answer.
pub const GUNICORN: Recipe = Recipe {
    program: "gunicorn",
    version: "--version",
    files: &[
        ("gunicorn.conf.py", include_str!("servers/gunicorn.conf.py")),
        ("app.py", include_str!("servers/app.py")),
    ],
    command: &["gunicorn", "--bind=127.0.0.1:@PORT@", "--workers=4", "app:wsgi"],
    renew: "HUP",
    is_front: false,
};

/// Threads are the simplest of its workers that keep connections open.
pub const GUNICORN_THREADS: Recipe =
    Recipe { command: &["gunicorn", "--bind=127.0.0.1:@PORT@", "--workers=2", "--threads=8", "app:wsgi"], ..GUNICORN };

/// The app behind the fronts, without TLS; `@MORE@` is its delay in ms.
pub const APP: Recipe = Recipe {
    files: &[("app.mjs", include_str!("servers/app.mjs"))],
    command: &["node", "app.mjs", "@PORT@", "@MORE@"],
    ..NODE
};
