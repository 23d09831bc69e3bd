//! The `lynkhook` program. All its code is in the library; see `lynkhook::cli`.

/// A delivery allocates and frees a few dozen small objects. With the system's allocator, that took a sixth of a
/// worker's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    lynkhook::cli::main()
}
