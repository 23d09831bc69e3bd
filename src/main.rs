//! The `lynkhook` program. Everything it does is in the library; see `lynkhook::cli`.

fn main() -> std::process::ExitCode {
    lynkhook::cli::main()
}
