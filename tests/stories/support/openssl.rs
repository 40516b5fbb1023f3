//! OpenSSL's command line, an implementation that shares nothing with ours, on files in a folder of its own.

use std::process::Command;

use tempfile::TempDir;

/// A folder with files, and OpenSSL in it.
pub struct OpenSsl(TempDir);

impl OpenSsl {
    /// With these files.
    pub fn with<'a>(files: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let this = Self(TempDir::new().unwrap());
        for (name, content) in files {
            this.file(name, content);
        }
        this
    }

    /// One more file.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.0.path().join(name), content).unwrap();
    }

    /// What is in a file, perhaps one that it wrote.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.path().join(name)).unwrap()
    }

    /// Runs it with arguments parted by spaces; what it says is the error when it fails.
    pub fn try_run(&self, arguments: &str) -> Result<String, String> {
        let mut command = Command::new("openssl");
        let output = command.args(arguments.split(' ')).current_dir(self.0.path()).output().unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stdout) + &text(&output.stderr))
        }
    }

    /// What it says beside its output; it must succeed.
    pub fn told(&self, arguments: &str) -> String {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(self.0.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "openssl {arguments}: {text}");
        text
    }

    /// Runs it; it must succeed.
    pub fn run(&self, arguments: &str) -> String {
        match self.try_run(arguments) {
            Ok(output) => output,
            Err(output) => panic!("openssl {arguments}: {output}"),
        }
    }
}
