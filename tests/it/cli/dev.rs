//! `lynkhook dev`, on a machine with only `redis-server` installed.

use tokio::process::Command;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_demonstration_in_an_empty_folder_tells_its_story_and_ends_with_0() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lynkhook"));
    command.args(["dev", "--once"]).current_dir(&folder).env_clear();
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    let output = Process::spawn(command, Vec::new()).output(SOON * 2).await;
    assert_eq!(output.code, Some(0), "{output:#?}");
    for words in ["transcript.created", "https://localhost:", "503", "404", "Identifiers"] {
        assert!(output.stdout.contains(words), "{words}: {}", output.stdout);
    }
    let made: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(made, [".lynkhook"], "it keeps to its folder");
}
