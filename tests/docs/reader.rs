//! Someone who does what a page says, in a shell, from the first block to the last.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ringfence_cluster::{Cluster, Tool, tool};
use tempfile::TempDir;

use crate::page::{Block, Page};
use crate::shown::is_shown;

/// Longer than any page takes on a busy machine, in seconds.
const PATIENCE: &str = "420";

/// Begins the line that tells how a step ended.
const MARK: char = '\u{1e}';

/// One thing to do.
struct Step<'a> {
    command: &'a str,
    /// What it prints; nothing where the page does not say.
    shown: Option<&'a str>,
}

impl Step<'_> {
    fn fails(&self) -> bool {
        let is_error = |line: &str| line.starts_with("Error") || line.starts_with("error:");
        self.shown.is_some_and(|shown| shown.lines().any(is_error))
    }
}

/// Does what a page says on a cluster, as its administrator, with the root of the repository around.
pub fn follow(cluster: &Cluster, page: &Page) {
    let started = Instant::now();
    let desk = desk();
    let steps = steps(page, desk.path());
    let script = desk.path().join(".script");
    fs::write(&script, in_shell(&steps)).unwrap();
    let path = format!("{}:{}", desk.path().join(".bin").display(), std::env::var("PATH").unwrap());
    let mut shell = cluster.command("timeout");
    shell.args([PATIENCE, "bash", "--norc"]).arg(&script).current_dir(desk.path());
    shell.env("HOME", desk.path()).env("PATH", path).env("KUBECONFIG", cluster.kubeconfig()).env("TZ", "UTC");
    for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        shell.env(home, desk.path().join(".helm"));
    }
    let output = shell.output().unwrap();
    let mut rest = String::from_utf8(output.stdout).unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    for (number, step) in steps.iter().enumerate() {
        let (file, command) = (&page.file, step.command);
        let Some((printed, after)) = rest.split_once(&format!("\n{MARK}{number} ")) else {
            panic!("docs/{file} was left in the middle of\n\n{command}\n\nwhich printed\n\n{rest}");
        };
        let (status, after) = after.split_once('\n').unwrap();
        assert!(
            (status != "0") == step.fails(),
            "docs/{file}: this ended with {status}\n\n{command}\n\nand printed\n\n{printed}"
        );
        if let Some(shown) = step.shown {
            assert!(
                is_shown(shown, printed),
                "docs/{file} shows of\n\n{command}\n\nthis\n\n{shown}\nand it printed\n\n{printed}"
            );
        }
        rest = after.to_owned();
    }
    eprintln!("docs/{}: {} steps in {:?}", page.file, steps.len(), started.elapsed());
}

/// A folder like the root of a clone, as far as pages speak of it, and the tools.
fn desk() -> TempDir {
    let desk = tempfile::tempdir().unwrap();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["charts", "examples"] {
        symlink(repository.join(folder), desk.path().join(folder)).unwrap();
    }
    let tools = desk.path().join(".bin");
    fs::create_dir(&tools).unwrap();
    let ringfence = PathBuf::from(env!("CARGO_BIN_EXE_ringfence"));
    let (kubectl, helm) = (tool(Tool::Kubectl).unwrap(), tool(Tool::Helm).unwrap());
    for (name, program) in [("ringfence", ringfence), ("kubectl", kubectl), ("helm", helm)] {
        symlink(program, tools.join(name)).unwrap();
    }
    desk
}

/// What there is to do, with the page's files laid out: files that a page changes have a name for each version.
fn steps<'a>(page: &'a Page, desk: &Path) -> Vec<Step<'a>> {
    let (mut steps, mut files) = (Vec::<Step<'_>>::new(), Vec::new());
    for block in &page.blocks {
        match block {
            Block::File { name, content } => {
                files.push(name);
                let path = desk.join(name);
                assert!(!path.exists(), "docs/{} has {name} twice: call one of them otherwise", page.file);
                fs::write(path, content).unwrap();
            }
            Block::Script(script) => steps.push(Step { command: script, shown: None }),
            Block::Dialogue(dialogue) => {
                let step = |(command, shown): &'a (String, String)| Step { command, shown: Some(shown) };
                steps.extend(dialogue.iter().map(step));
            }
            Block::NotRun(_) => {}
        }
    }
    let unused = files.into_iter().find(|name| !steps.iter().any(|step| step.command.contains(*name)));
    assert_eq!(unused, None, "docs/{} has a file that no command takes", page.file);
    steps
}

/// One shell does it all, so that a page may set a variable and use it later. It ends where something goes wrong.
fn in_shell(steps: &[Step<'_>]) -> String {
    let mut script = "exec 2>&1\n".to_owned();
    for (number, step) in steps.iter().enumerate() {
        let (strict, lenient) = if step.shown.is_none() { ("set -e\n", "set +e\n") } else { ("", "") };
        let wrong = if step.fails() { "-ne" } else { "-eq" };
        script += &format!(
            "{strict}{}\n{lenient}status=$?\nprintf '\\n{MARK}{number} %s\\n' $status\n[ $status {wrong} 0 ] || exit\n",
            step.command.trim_end()
        );
    }
    script
}
