//! Builds or installs a program when it is asked for and isn't there yet.
//!
//! Each program lies at `<cache>/ringfence/bin/<module>/<key>/<program>`, where the key is a digest of everything that
//! decides what comes out: the module's files, the flags and the Go version. So a second run, and a second checkout,
//! find what the first one built. Builders of the same module wait for each other.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use aws_lc_rs::digest::{Context as Digest, SHA256};

use crate::servers::{Recipe, Tool};

/// The path of a program, built first if need be (which is told on standard error).
pub fn tool(tool: Tool) -> Result<PathBuf> {
    let recipe = tool.recipe();
    once(&folder(recipe)?, recipe.binary, |output| build(recipe, output))
}

/// The path of a file or folder of a name in a folder of the cache: made, if it isn't there, at a path that is given to
/// `make`, and then moved. What is made must bear that.
pub(crate) fn once(folder: &Path, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let path = folder.join(name);
    if path.exists() {
        return Ok(path);
    }
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let _lock = lock(folder, name)?;
    if path.exists() {
        return Ok(path);
    }
    remove_leftovers(folder)?;
    tell(format_args!("building {name} ..."))?;
    let started = Instant::now();
    let unfinished = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(folder)
        .with_context(|| format!("create a folder in {}", folder.display()))?;
    let output = unfinished.path().join(name);
    make(&output).with_context(|| format!("could not build {name}"))?;
    fs::rename(&output, &path).with_context(|| format!("move {name} to the cache"))?;
    tell(format_args!("built {name} in {}", readable(started.elapsed())))?;
    Ok(path)
}

/// The folder below `servers/` that holds a program's Go module.
pub(crate) fn module_folder(recipe: Recipe) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("servers").join(recipe.module)
}

fn build(recipe: Recipe, output: &Path) -> Result<()> {
    let mut build = go();
    build.current_dir(module_folder(recipe)).arg("build").args(flags(recipe)).arg("-o").arg(output).arg(recipe.package);
    finish(&mut build)
}

/// Runs a command to its end; what it said is in the error.
pub(crate) fn finish(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("run {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{program} ended with {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim_end())
}

fn folder(recipe: Recipe) -> Result<PathBuf> {
    Ok(root()?.join("bin").join(recipe.module).join(key(recipe)?))
}

/// The folder for what is built or fetched once: `$XDG_CACHE_HOME/ringfence`, or the same below `~/.cache`.
pub(crate) fn root() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    let cache = set("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| Path::new(&home).join(".cache")))
        .context("set HOME or XDG_CACHE_HOME, so that built servers can be kept there")?;
    std::path::absolute(cache.join("ringfence")).context("find the cache folder")
}

fn key(recipe: Recipe) -> Result<String> {
    let module = module_folder(recipe);
    let go_mod = module.join("go.mod");
    let mut digest = Digest::new(&SHA256);
    digest.update(&fs::read(&go_mod).with_context(|| format!("read {}", go_mod.display()))?);
    digest.update(&[0]);
    // A module without dependencies has no go.sum.
    digest.update(&fs::read(module.join("go.sum")).unwrap_or_default());
    digest.update(&[0]);
    digest.update("CGO_ENABLED=0\n".as_bytes());
    digest.update(flags(recipe).join("\n").as_bytes());
    digest.update(&[0]);
    digest.update(go_version()?.as_bytes());
    for source in go_files(&module)? {
        digest.update(&[0]);
        digest.update(&fs::read(&source).with_context(|| format!("read {}", source.display()))?);
    }
    Ok(hex(digest))
}

/// A digest as a file's name.
pub(crate) fn hex(digest: Digest) -> String {
    digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn flags(recipe: Recipe) -> Vec<String> {
    let mut flags =
        vec!["-trimpath".to_owned(), "-buildvcs=false".to_owned(), format!("-ldflags={}", recipe.linker_flags)];
    if !recipe.tags.is_empty() {
        flags.push(format!("-tags={}", recipe.tags));
    }
    flags
}

fn go_files(module: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(module).with_context(|| format!("list {}", module.display()))? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("go")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

pub(crate) fn go() -> Command {
    let mut go = Command::new("go");
    // What the user has set for other projects must not change what comes out.
    go.env("CGO_ENABLED", "0").env("GOFLAGS", "-buildvcs=false").env("GOWORK", "off");
    go
}

fn go_version() -> Result<&'static str> {
    static VERSION: OnceLock<Result<String, String>> = OnceLock::new();
    VERSION
        .get_or_init(|| ask_go_version().map_err(|error| format!("{error:#}")))
        .as_deref()
        .map_err(|error| anyhow!("{error}"))
}

fn ask_go_version() -> Result<String> {
    let output = match go().arg("version").output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!(
                "the cluster's servers are built with Go, which is not installed: install Go 1.26 or newer and put it on PATH"
            )
        }
        Err(error) => return Err(error).context("run go version"),
    };
    if !output.status.success() {
        bail!("go version failed: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

fn lock(folder: &Path, name: &str) -> Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            tell(format_args!("waiting for {name}: another process is building it or its kin"))?;
            file.lock().with_context(|| format!("lock {}", path.display()))?;
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("lock {}", path.display()));
        }
    }
    Ok(file)
}

/// Removes what a killed builder left; the caller holds the lock, so none is at work.
fn remove_leftovers(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            fs::remove_dir_all(entry.path()).with_context(|| format!("remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

fn tell(line: std::fmt::Arguments<'_>) -> Result<()> {
    writeln!(io::stderr(), "{line}").context("write to standard error")
}

fn readable(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds / 60 {
        0 => format!("{seconds} s"),
        minutes => format!("{minutes} min {} s", seconds % 60),
    }
}

const UNFINISHED: &str = ".unfinished-";
