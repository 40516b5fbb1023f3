//! A browser, as far as logging in needs one: curl, with its cookies in a file.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

/// Steps that a browser follows.
const LONGEST_WAY: usize = 10;

/// Somebody's browser.
pub struct Browser {
    roots: String,
    names: Vec<String>,
    folder: TempDir,
}

impl Browser {
    /// One that believes these roots, and knows names as `name:port:address`.
    pub fn new(roots: &str, names: &[String]) -> Self {
        Self { roots: roots.to_owned(), names: names.to_vec(), folder: tempfile::tempdir().unwrap() }
    }

    /// One with a copy of the cookies.
    pub fn copy(&self) -> Self {
        let copy = Self::new(&self.roots, &self.names);
        fs::copy(self.jar(), copy.jar()).unwrap();
        copy
    }

    /// Gives the status and the address where it ended, then what came.
    pub fn get(&self, url: &str) -> String {
        self.run(&[url])
    }

    pub fn post(&self, url: &str, content_type: &str, body: &str, headers: &[&str]) -> String {
        let kind = format!("content-type: {content_type}");
        let mut arguments = vec![url, "--header", &kind, "--data", body];
        for header in headers {
            arguments.extend(["--header", header]);
        }
        self.run(&arguments)
    }

    /// Goes to a page that leads to the issuer's, fills in the form there, and follows to where that leads.
    pub fn log_in(&self, url: &str, name: &str, password: &str) -> String {
        let page = self.get(url);
        let action = page.split_once("<form").and_then(|(_, form)| form.split_once("action=\""));
        let Some((action, _)) = action.and_then(|(_, rest)| rest.split_once('"')) else { return page };
        let action = action.replace("&amp;", "&");
        let (name, password) = (format!("username={name}"), format!("password={password}"));
        self.run(&[&action, "--data-urlencode", &name, "--data-urlencode", &password])
    }

    /// The names of a host's cookies; that of one that scripts see has an asterisk.
    pub fn cookies(&self, host: &str) -> Vec<String> {
        let jar = fs::read_to_string(self.jar()).unwrap();
        let cookies = jar.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let (domain, name) = (fields.first()?, fields.get(5)?);
            match domain.strip_prefix("#HttpOnly_") {
                Some(domain) => (domain == host).then(|| (*name).to_owned()),
                None => (*domain == host).then(|| format!("{name}*")),
            }
        });
        cookies.collect()
    }

    fn jar(&self) -> String {
        self.folder.path().join("cookies").display().to_string()
    }

    /// Follows to where an answer leads, by one run of curl for each step: one alone would read its cookies anew before each,
    /// those that were just taken away too.
    fn run(&self, arguments: &[&str]) -> String {
        let mut answer = self.step(arguments);
        for _ in 0..LONGEST_WAY {
            let Some(next) = answer.next.take() else { break };
            answer = self.step(&[&next]);
        }
        answer.told
    }

    fn step(&self, arguments: &[&str]) -> Answer {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "20", "--cacert", &self.roots]);
        curl.args(["--cookie", &self.jar(), "--cookie-jar", &self.jar()]);
        curl.args(self.names.iter().flat_map(|name| ["--resolve", name]));
        curl.args(["--write-out", "%{stderr}%{http_code} %{url}\n%{redirect_url}"]).args(arguments);
        let output = curl.output().unwrap();
        let head = String::from_utf8_lossy(&output.stderr).into_owned();
        let (line, next) = head.split_once('\n').unwrap_or((&head, ""));
        let next = Some(next.to_owned()).filter(|next| next.starts_with("https://"));
        Answer { told: format!("{line}\n{}", String::from_utf8_lossy(&output.stdout)), next }
    }
}

/// What came of one step.
struct Answer {
    told: String,
    /// Where it leads.
    next: Option<String>,
}
