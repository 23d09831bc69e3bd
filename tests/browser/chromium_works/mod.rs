//! The browser notices what it should: a fault that goes unseen, or a setting that does nothing, would let every test
//! of a page pass.

mod faults;
mod leftovers;
mod looks;
mod seen;
mod sites;

/// Runs a test of its own, and answers the message with which it fails.
async fn outcome<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let thread = std::thread::Builder::new().name("a-test-of-its-own".to_owned());
    let thread = thread.spawn(move || runtime.block_on(test())).unwrap();
    let ended = tokio::task::spawn_blocking(|| thread.join()).await.unwrap();
    ended.map_err(|panic| match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast::<&str>().unwrap().to_string(),
    })
}
