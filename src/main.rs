//! The `lynkhook` program. Everything it does is in the library; see `lynkhook::cli`.

/// A delivery allocates and frees a few dozen small things; the system's allocator took a sixth of a worker's time for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    lynkhook::cli::main()
}
