//! Servers that are measured: confined to processors of their own, asked for their memory, and ended with the cluster.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use ringfence_cluster::Cluster;

/// Longer than any server takes to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The machine's processors: half of them for the server that is measured, half for the load and the cluster.
pub(crate) struct Processors {
    pub(crate) each: usize,
}

/// A server. Its processes end with the cluster, however that ends.
pub(crate) struct Server {
    name: &'static str,
    process: Child,
    log: PathBuf,
}

/// Resident memory in megabytes (10⁶ bytes).
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) now: f64,
    pub(crate) peak: f64,
}

impl Processors {
    /// Confines this process, and what it starts from now on, to its half.
    pub(crate) fn split() -> Self {
        let each = available_parallelism().unwrap().get() / 2;
        assert!(each > 0, "the load and the server need a processor each");
        let (own, pid) = (format!("{each}-{}", 2 * each - 1), std::process::id().to_string());
        let output = Command::new("taskset").args(["-apc", &own, &pid]).output().unwrap();
        assert!(output.status.success(), "taskset: {}", String::from_utf8_lossy(&output.stderr));
        Self { each }
    }

    /// A command of the cluster whose program runs on the servers' half.
    pub(crate) fn command(&self, cluster: &Cluster, program: impl Into<PathBuf>) -> Command {
        let mut command = cluster.command("taskset");
        command.args(["-c", &format!("0-{}", self.each - 1)]).arg(program.into());
        command
    }
}

impl Server {
    /// Starts a server whose output goes to a file in the cluster's folder, as a container engine would keep it.
    pub(crate) fn start(name: &'static str, cluster: &Cluster, mut command: Command) -> Self {
        let log = cluster.dir().join(format!("{name}.log"));
        let output = File::create(&log).unwrap();
        command.stdout(output.try_clone().unwrap()).stderr(output);
        Self { name, process: command.spawn().unwrap(), log }
    }

    /// Waits until a question has an answer.
    pub(crate) async fn until<T>(&mut self, mut answer: impl AsyncFnMut() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(answer) = answer().await {
                return answer;
            }
            let ended = self.process.try_wait().unwrap();
            if ended.is_some() || begin.elapsed() > PATIENCE {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                panic!("{} does not answer ({ended:?}); it said\n{log}", self.name);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Processor time that its process, and what that started, has taken until now.
    pub(crate) fn processor_time(&self) -> Duration {
        family(self.process.id()).into_iter().map(processor_time).sum()
    }

    /// The memory of its process, and of what that started.
    pub(crate) fn memory(&self) -> Memory {
        let sum =
            |key| family(self.process.id()).into_iter().map(|pid| kibibytes(pid, key)).sum::<f64>() * 1024.0 / 1e6;
        Memory { now: sum("VmRSS:"), peak: sum("VmHWM:") }
    }
}

impl Memory {
    /// That of some processes together.
    pub(crate) fn of(processes: &[u32]) -> Self {
        let sum = |key| processes.iter().map(|pid| kibibytes(*pid, key)).sum::<f64>() * 1024.0 / 1e6;
        Self { now: sum("VmRSS:"), peak: sum("VmHWM:") }
    }
}

/// A process and its descendants.
fn family(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let descendants = children.split_whitespace().flat_map(|child| family(child.parse().unwrap()));
    std::iter::once(pid).chain(descendants).collect()
}

fn kibibytes(pid: u32, key: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name, which may hold anything: utime and stime, in hundredths of a second (proc_pid_stat(5)).
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap());
    Duration::from_millis(10 * ticks.sum::<u64>())
}
