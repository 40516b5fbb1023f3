//! The program in Go: built once, and run as a server or as a client.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The module's folder.
const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/adopt/go");

#[test]
fn the_modules_own_tests_pass() {
    for arguments in [["vet", "./..."], ["test", "./..."]] {
        let ran = go().args(arguments).output().unwrap();
        assert!(ran.status.success(), "{}{}", text(&ran.stdout), text(&ran.stderr));
    }
    let badly_formatted = Command::new("gofmt").args(["-l", MODULE]).output().unwrap();
    assert_eq!(text(&badly_formatted.stdout), "");
}

/// A running program. It ends with this value.
pub struct Program {
    child: Child,
    input: ChildStdin,
    output: UnboundedReceiver<String>,
    log: UnboundedReceiver<String>,
}

impl Program {
    /// Starts it, with the files of a pod.
    pub fn start(verb: &str, files: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(program())
            .arg(verb)
            .arg("-files")
            .arg(files)
            .args(["-every", "20ms"])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let (output, log) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        Self { child, input, output, log }
    }

    /// Gives it a line to read, and takes the next that it prints.
    pub async fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        self.output.recv().await.expect("the program answers")
    }

    /// The next line of its log that has this text.
    pub async fn logs(&mut self, wanted: &str) -> String {
        loop {
            let line = self.log.recv().await.unwrap_or_else(|| panic!("the program ended without saying {wanted}"));
            if line.contains(wanted) {
                return line;
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(from: impl std::io::Read + Send + 'static) -> UnboundedReceiver<String> {
    let (sender, receiver) = unbounded_channel();
    thread::spawn(move || BufReader::new(from).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
    receiver
}

fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("adopt");
        let built = go().args(["build", "-o"]).arg(&path).arg(".").output().unwrap();
        assert!(built.status.success(), "{}", text(&built.stderr));
        path
    })
}

/// Without a proxy for modules: the program has no dependencies.
fn go() -> Command {
    let mut go = Command::new("go");
    go.current_dir(MODULE).envs([
        ("CGO_ENABLED", "0"),
        ("GOFLAGS", "-buildvcs=false"),
        ("GOWORK", "off"),
        ("GOPROXY", "off"),
    ]);
    go
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
