//! One server process of a cluster: its log, its signals, its end.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// A running server; dropping this ends it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command that comes from [`crate::supervisor::Supervisor::command`]; what it writes goes to its log.
    pub(crate) fn start(name: &str, mut command: Command, logs: &Path) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let output =
            File::options().create(true).append(true).open(&log).with_context(|| format!("open {}", log.display()))?;
        let errors = output.try_clone().with_context(|| format!("open {} twice", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Fails, with the end of the log, if the process has ended.
    pub(crate) fn expect_running(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => bail!("{} ended with {status}{}", self.name, self.log_end()),
            Err(error) => Err(error).with_context(|| format!("ask for the state of {}", self.name)),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.expect_running().is_err()
    }

    pub(crate) fn log(&self) -> String {
        fs::read(&self.log).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// The last lines of the log, to be appended to a message.
    pub(crate) fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n  ");
        format!("; {} ends with\n  {end}", self.log.display())
    }

    /// Stops the process in its tracks; [`Self::signal`] with `CONT` lets it go on.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.with_context(|| format!("{} has no process id", self.name))?;
        kill_process(pid, signal).with_context(|| format!("send {signal:?} to {}", self.name))
    }

    /// Lets the process go on without this one: it ends with its cluster.
    pub(crate) fn leave_to_cluster(self) {
        std::mem::forget(self);
    }

    /// Ends the process at once, as a crash would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill().and_then(|()| self.child.wait().map(|_| ())).with_context(|| format!("end {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already is just what is wanted.
        let _ = self.kill();
    }
}

/// Polls until the condition holds; gives up when the process ends or the time is over.
pub(crate) fn wait_until(
    process: &mut Process,
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let started = Instant::now();
    loop {
        if condition()? {
            return Ok(());
        }
        process.expect_running().with_context(|| format!("{what} did not happen"))?;
        if started.elapsed() > limit {
            bail!("{what} did not happen within {} s{}", limit.as_secs(), process.log_end());
        }
        thread::sleep(POLL);
    }
}

/// Runs a command to its end and gives its standard output, or what it complained about.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name =
        Path::new(command.get_program()).file_name().unwrap_or(OsStr::new("command")).to_string_lossy().into_owned();
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!("{name} is not installed"),
        Err(error) => return Err(error).with_context(|| format!("run {name}")),
    };
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

const POLL: Duration = Duration::from_millis(20);
const SHOWN_LINES: usize = 15;
