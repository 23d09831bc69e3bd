//! A backend that depends only on the library reaches a real Redis.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    thread,
};

/// A `redis-server` that ends when this is dropped.
struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A backend whose Redis is at this URL.
fn producer(url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lynkhook-producer"));
    command.env_clear().env("REDIS_URL", url);
    command
}

#[test]
fn a_producer_without_the_program_enqueues_an_event() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let mut redis = Redis(
        Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket", "s"])
            .current_dir(&directory)
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server is installed"),
    );
    let mut log = BufReader::new(redis.0.stdout.take().unwrap()).lines();
    assert!(log.any(|line| line.unwrap().contains("eady to accept connections")), "Redis does not start");

    let output = producer(&format!("redis+unix://{}", socket.display())).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{stderr}");

    let mut connection = UnixStream::connect(socket).unwrap();
    connection.write_all(b"XRANGE lynkhook:{0}:queue - +\r\nQUIT\r\n").unwrap();
    let mut queue = String::new();
    connection.read_to_string(&mut queue).unwrap();
    for part in
        [stdout.trim_end(), "\r\nacme\r\n", r#"{"event":"transcript.created","timestamp":"#, r#""messageId":"m1""#]
    {
        assert!(queue.contains(part), "{part} is not in {queue}");
    }
}

#[test]
fn a_producer_without_the_program_speaks_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let greeting = thread::spawn(move || {
        let mut hello = [0; 6];
        listener.accept().unwrap().0.read_exact(&mut hello).map(|()| hello)
    });
    let output = producer(&format!("rediss://{address}")).output().unwrap();
    // If the producer does not connect, this connection ends the wait.
    drop(TcpStream::connect(address));
    let hello = greeting.join().unwrap().unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    // A TLS handshake record that contains the ClientHello (RFC 8446, 5.1 and 4).
    assert_eq!((hello[0], hello[5]), (22, 1), "{hello:?}");
}
